"""What training leaves: a bundle with half-precision weights, a card with measured figures, and the loss curve."""
# pyright: reportUnknownMemberType=false
# torch is partly untyped.

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from html import escape
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from schemas.bundles import Card, ClassCodes, ModelBundle
from segworkers.evaluation.intervals import LEAST_UNITS, percentiles, resampled, wilson
from segworkers.segmenters.bundles import OpenBundle, weights_file, write_bundle
from segworkers.training.matching import THRESHOLDS, Agreement
from segworkers.training.recipes import Planned
from segworkers.training.run import Check
from segworkers.whole_files import write_whole

WEIGHTS, CURVE, PICTURE = "weights.safetensors", "training.csv", "training.svg"
"""Files of the bundle; the last two are not part of the model."""


@dataclass(frozen=True, slots=True)
class Figures:
    """How the finished model did on the validation samples."""

    samples: tuple[Agreement, ...]
    """One for each sample."""

    @property
    def total(self) -> Agreement:
        """All samples together."""
        return sum(self.samples[1:], self.samples[0])

    def text(self) -> str:
        """For the card: F1, precision and recall at IoU 0.5 with 95 % intervals, and F1 at the other thresholds."""
        total, hits = self.total, self.total.matched[0]
        others = ", ".join(f"{value:.3f} at {iou}" for iou, value in zip(THRESHOLDS[1:], total.f1[1:], strict=True))
        return (
            f"F1 at IoU 0.5 {total.f1[0]:.3f}{self._interval()}, precision {_share(hits, total.predicted)}, recall "
            f"{_share(hits, total.annotated)}; F1 {others}; {total.predicted} objects found for {total.annotated} "
            "annotated"
        )

    def _interval(self) -> str:
        """Of F1, by bootstrap over samples; nothing where there are too few."""
        if len(self.samples) < LEAST_UNITS:
            return ""
        hits, objects = np.array(
            [[each.matched[0], each.predicted + each.annotated] for each in self.samples], np.float64
        ).T
        drawn = np.concatenate([2 * (w @ hits) / np.maximum(w @ objects, 1) for w in resampled(len(self.samples))])
        return _span(*percentiles(drawn))


def _share(hits: int, trials: int) -> str:
    return f"{hits / trials:.3f}{_span(*wilson(hits, trials))}" if trials else "not defined"


def _span(low: float, high: float) -> str:
    return f" ({low:.3f}–{high:.3f})" if low == low else ""  # noqa: PLR0124 (NaN: cannot be said)


def halved(network: nn.Module) -> dict[str, Tensor]:
    """The state dict as it is stored: half precision, whole numbers as they are."""
    return {
        name: (value.detach().cpu().half() if value.is_floating_point() else value.detach().cpu()).contiguous()
        for name, value in network.state_dict().items()
    }


def write_product(
    folder: Path,
    planned: Planned,
    network: nn.Module,
    card: Card,
    history: Sequence[Check],
    codes: Mapping[str, ClassCodes] | None = None,
) -> ModelBundle:
    """Write the bundle and the curve; `model.json` last, so that a folder which has one is whole.

    codes: of classes, where they are known.
    """
    from safetensors.torch import save

    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / WEIGHTS, save(halved(network)))
    write_whole(folder / CURVE, curve_csv(history).encode())
    write_whole(folder / PICTURE, curve_svg(history).encode())
    bundle = ModelBundle(
        name=planned.manifest.name,
        family=planned.recipe.bundle_family,
        manifest=planned.manifest,
        card=card,
        weights=(weights_file(folder, WEIGHTS),),
        parameters=plain(planned.parameters),
        codes=dict(codes or {}),
    )
    write_bundle(bundle, folder)
    return bundle


def plain(value: Any) -> Any:
    """As JSON has it: mappings for dataclasses, lists for tuples."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(name): plain(entry) for name, entry in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in cast("Sequence[Any]", value)]
    return value


def curve_csv(history: Sequence[Check]) -> str:
    """A line for each validation."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["step", "loss", *(f"f1_{iou}" for iou in THRESHOLDS), "predicted", "annotated"])
    for check in history:
        said = check.agreement
        f1 = (f"{value:.4f}" for value in said.f1)
        writer.writerow([check.step, f"{check.loss:.5f}", *f1, said.predicted, said.annotated])
    return text.getvalue()


def curve_svg(history: Sequence[Check]) -> str:
    """Loss and F1 at IoU 0.5 over the steps, each scaled to its own axis."""
    width, height, edge = 480, 220, 36
    steps = [check.step for check in history] or [1]
    losses = [check.loss for check in history]
    top = max([*losses, 1e-9])

    def line(values: Sequence[float], most: float, colour: str) -> str:
        across, up = (width - 2 * edge) / steps[-1], (height - 2 * edge) / most
        places = " ".join(
            f"{edge + across * step:.1f},{height - edge - up * value:.1f}"
            for step, value in zip(steps, values, strict=False)
        )
        return f'<polyline points="{places}" fill="none" stroke="{colour}" stroke-width="1.5"/>'

    def words(x: float, y: float, text: str, colour: str) -> str:
        return f'<text x="{x}" y="{y}" font-family="sans-serif" font-size="11" fill="{colour}">{escape(text)}</text>'

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<path d="M{edge} {edge}V{height - edge}H{width - edge}" fill="none" stroke="#888"/>',
        line(losses, top, "#b2182b"),
        line([check.agreement.f1[0] for check in history], 1.0, "#2166ac"),
        words(edge, 22, f"training loss (top {top:.3g})", "#b2182b"),
        words(width / 2, 22, "validation F1 at IoU 0.5 (top 1)", "#2166ac"),
        words(width - edge - 60, height - 12, f"{steps[-1]} steps", "#444"),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def load_start(bundle: OpenBundle) -> dict[str, Tensor]:
    """Weights of a bundle in float32, to be trained on; fetched where they must be. Raises SpecError as loading it."""
    from segworkers.segmenters.bundle_weights import weights_folder
    from segworkers.segmenters.families import weights_path
    from segworkers.segmenters.torch_state import read_state

    path = weights_path(weights_folder(bundle), bundle.definition.parameters)
    return {
        name: value.to(torch.float32) if value.is_floating_point() else value
        for name, value in read_state(path).items()
    }

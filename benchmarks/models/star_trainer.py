"""What the trainers of the package's star-convex U-Nets share: their command line, their clock and their bundles."""

# safetensors is partly untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

from safetensors.torch import save_file

from schemas.bundles import Card, ClassCodes, ModelBundle
from schemas.models import ModelManifest
from segworkers.segmenters.bundles import open_bundle, weights_file, write_bundle
from segworkers.segmenters.star_decoding import StarSettings
from segworkers.segmenters.star_options import StarShape
from segworkers.training.families import TrainingFamily
from segworkers.training.loop import Options, Result
from segworkers.training.product import halved, load_start
from segworkers.training.recipes import WarmFamily


@dataclass(frozen=True, slots=True, kw_only=True)
class StarBundle:
    """The bundle of one model, but for its weights."""

    manifest: ModelManifest
    shape: StarShape
    settings: StarSettings
    card: Card
    codes: Mapping[str, ClassCodes] = field(default_factory=dict[str, ClassCodes])
    notice: Callable[[], str] | None = None
    """Text of NOTICE.txt, where there is one."""
    half: bool = True
    """Whether weights are stored in half precision, else in float32."""

    @property
    def weights(self) -> str:
        """Name of the file."""
        return f"{self.manifest.name}.safetensors"

    def save(self, result: Result, folder: Path) -> None:
        """The weights, and all that describes them."""
        folder.mkdir(parents=True, exist_ok=True)
        whole = {name: value.contiguous() for name, value in result.weights.items()}
        save_file(halved(result.network) if self.half else whole, str(folder / self.weights))
        (folder / self.weights).chmod(0o644)
        self.describe(folder)

    def describe(self, folder: Path) -> None:
        """`model.json` and NOTICE.txt anew, for the weights that are there."""
        if self.notice is not None:
            (folder / "NOTICE.txt").write_text(self.notice(), encoding="utf-8")
        shape = asdict(self.shape) | {"widths": list(self.shape.widths)}
        bundle = ModelBundle(
            name=self.manifest.name,
            family="star-unet",
            manifest=self.manifest,
            codes=self.codes,
            weights=(weights_file(folder, self.weights),),
            parameters={"weights": self.weights, "shape": shape, **asdict(self.settings)},
            card=self.card,
        )
        write_bundle(bundle, folder)


def trainer_arguments(description: str | None, usual: Options) -> argparse.ArgumentParser:
    """What every trainer takes."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder of the bundle")
    parser.add_argument("--reduced", action="store_true", help="only to try it out")
    parser.add_argument("--describe", action="store_true", help="write model.json only, for weights that are there")
    parser.add_argument("--checkpoint", type=Path, help="file that an interrupted run goes on from")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=usual.steps)
    parser.add_argument("--seed", type=int, default=usual.seed)
    return parser


def clock() -> Callable[[str], None]:
    """Prints lines with the seconds and CPU seconds since this call."""
    began, spent = time.perf_counter(), time.process_time()

    def progress(line: str) -> None:
        print(f"{time.perf_counter() - began:6.0f} s, CPU {time.process_time() - spent:6.0f} s: {line}", flush=True)

    return progress


def warmed(family: TrainingFamily, start: Path | None) -> TrainingFamily:
    """The family, beginning with the weights of the bundle `start` where one is given."""
    if start is None:
        return family
    return cast("Any", WarmFamily(family, load_start(open_bundle(str(start.absolute()))), str(start)))

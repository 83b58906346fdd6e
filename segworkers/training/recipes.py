"""What `segworkers train` needs to know of a family: its network, the manifest of its models, how it is trained."""

# scipy.ndimage has no complete types.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn

from schemas.boxes import Zyx
from schemas.errors import SpecError
from schemas.models import ModelKind, ModelManifest, Normalisation
from segworkers.segmenters.compact_options import CompactShape, compact_parameters
from segworkers.segmenters.star_options import StarShape, star_parameters
from segworkers.segmenters.unet_options import UNetShape, unet_shape
from segworkers.training.augment import Augmentation
from segworkers.training.families import TrainingFamily
from segworkers.training.samples import Sample


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How models of one family are made."""

    summary: str
    bundle_family: str
    """Key of `segworkers.segmenters.families.FAMILIES`."""
    kind: ModelKind
    batch: int
    learning_rate: float
    shape: Callable[[str, int, Sizes], dict[str, Any]]
    """The network's sizes for `tiny`, `small` or `usual`, a number of bands and the objects."""
    family: Callable[[ModelManifest, Mapping[str, Any], int], TrainingFamily]
    """Of manifest, parameters and the side of crops."""
    most_classes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Diameters in px of circles with the objects' areas."""

    small: float
    """10th percentile."""
    large: float
    """95th percentile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A family ready to be trained."""

    family: TrainingFamily
    manifest: ModelManifest
    parameters: Mapping[str, Any]
    """For `model.json`."""
    augmentation: Augmentation
    recipe: Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """How images are shown to the network."""

    classes: tuple[str, ...]
    channels: int
    bands: tuple[int, ...] | None
    normalise: Normalisation


@dataclass(frozen=True, slots=True)
class WarmFamily:
    """A family whose networks begin with given weights, as far as names and shapes fit. Else as the family."""

    family: TrainingFamily
    start: Mapping[str, Tensor] = field(repr=False)
    origin: str
    """What the weights are known by."""

    def build(self) -> nn.Module:
        """The network with the weights in it. Raises SpecError where none fits."""
        network = self.family.build()
        own = network.state_dict()
        fitting = {name: value for name, value in self.start.items() if name in own and own[name].shape == value.shape}
        if len(fitting) < len(own) / 2:
            raise SpecError(
                f"--from {self.origin}: {len(fitting)} of the network's {len(own)} tensors fit, expected most"
            )
        network.load_state_dict({**own, **fitting})
        return network

    def __getattr__(self, name: str) -> Any:
        return getattr(self.family, name)


def sizes_of(samples: Sequence[Sample]) -> Sizes:
    """Of all objects of the samples; what a piece's border cuts counts as it is."""
    areas = np.concatenate([np.bincount(sample.labels.ravel())[1:] for sample in samples])
    diameters = 2 * np.sqrt(areas[areas > 0] / math.pi)
    small, large = np.percentile(diameters, (10, 95)) if len(diameters) else (16.0, 32.0)
    return Sizes(small=float(small), large=float(large))


def plan_training(
    family: str,
    name: str,
    shown: Shown,
    samples: Sequence[Sample],
    *,
    window: int | None = None,
    size: str = "usual",
    start: tuple[ModelManifest, Mapping[str, Any]] | None = None,
) -> Planned:
    """Decide what the data decides: overlap, anchors, sides of crops.

    window: px of the model's sides. start: manifest and parameters of a model that is trained on.
    Raises SpecError where the family cannot learn these classes.
    """
    recipe = recipe_of(family)
    if recipe.most_classes is not None and len(shown.classes) > recipe.most_classes:
        raise SpecError(
            f"--family {family}: knows one class, the annotations have {len(shown.classes)} "
            f"({', '.join(shown.classes)}); train maskrcnn or unet, or give one class"
        )
    sizes = sizes_of(samples)
    sides = start[0].window if start and window is None else (1, window or 512, window or 512)
    manifest = _manifest(recipe, name, shown, sides, sizes)
    fresh = {"shape": recipe.shape(size, shown.channels, sizes)}
    # the file of its weights has another name here
    parameters = {name: value for name, value in start[1].items() if name != "weights"} if start else fresh
    sees = parameters.get("shape", {}).get("bands", 1)
    if sees != shown.channels:
        raise SpecError(f"--from: the model sees {sees} bands, the images have {shown.channels}; choose with --bands")
    side = min(sides[1], max(192, 64 * math.ceil(4 * sizes.large / 64)), 384) // 32 * 32
    if side < 32:
        raise SpecError(f"--window: expected at least 32 px, found {sides[1]}")
    zero_to_one = shown.normalise in ("unit", "percentile")
    return Planned(
        family=recipe.family(manifest, parameters, side),
        manifest=manifest,
        parameters=parameters,
        augmentation=Augmentation(side=side, clip=zero_to_one),
        recipe=recipe,
    )


def recipe_of(family: str) -> Recipe:
    """Raises SpecError where there is none."""
    if family not in RECIPES:
        raise SpecError(f"--family: expected one of {', '.join(RECIPES)}, found {family!r}")
    return RECIPES[family]


def recipe_for_bundle(bundle_family: str) -> str | None:
    """The name of the recipe that makes bundles of a family; None where none does."""
    return next((name for name, recipe in RECIPES.items() if recipe.bundle_family == bundle_family), None)


def _manifest(recipe: Recipe, name: str, shown: Shown, window: Zyx, sizes: Sizes) -> ModelManifest:
    """With an overlap that shows most objects whole, at most half the window."""
    wanted = 16 * math.ceil(1.5 * sizes.large / 16)
    overlap = min(max(wanted, 32), min(window[1:]) // 2)
    return ModelManifest(
        name=name,
        kind=recipe.kind,
        window=window,
        overlap=(0, overlap, overlap),
        classes=shown.classes,
        bands=shown.bands,
        normalise=shown.normalise,
        object_size=round(sizes.large, 1),
    )


def as_components(sample: Sample) -> Sample:
    """The sample as a dense model can say it at best: what touches within a class is one object."""
    kinds = np.zeros(int(sample.labels.max(initial=0)), np.int64) if sample.classes is None else sample.classes
    values = np.concatenate([[0], kinds + 1])[sample.labels]
    labels, classes = np.zeros(sample.labels.shape, np.int32), list[int]()
    for value in np.unique(values[values > 0]).tolist():
        parts, count = cast("tuple[NDArray[np.int32], int]", ndimage.label(values == value, np.ones((3, 3))))
        labels = np.where(parts > 0, parts + len(classes), labels).astype(np.int32)
        classes += [value - 1] * count
    return replace(sample, labels=labels, classes=np.array(classes, np.int64))


def _star_shape(size: str, bands: int, _: Sizes) -> dict[str, Any]:
    widths = {"tiny": (8, 16, 32), "small": (16, 24, 32, 48)}.get(size, StarShape().widths)
    return asdict(StarShape(bands=bands, widths=widths))


def _star(manifest: ModelManifest, parameters: Mapping[str, Any], _side: int) -> TrainingFamily:
    from segworkers.training.star_unet import StarFamily

    shape, settings = star_parameters(manifest, parameters)
    return StarFamily(shape=shape, settings=settings)


def _compact_shape(size: str, bands: int, sizes: Sizes) -> dict[str, Any]:
    finest = float(min(max(2 ** round(math.log2(max(sizes.small, 1.0))), 8), 64))
    anchors = (finest, 2 * finest, 4 * finest, 8 * finest)
    usual = CompactShape(bands=bands, anchors=anchors, mask_layers=2)
    if size == "tiny":
        tiny = {"widths": (8, 16, 24, 32, 32), "blocks": (1, 1, 1, 1), "features": 24, "hidden": 64, "mask_layers": 1}
        return asdict(replace(usual, **tiny))
    return asdict(replace(usual, widths=(24, 32, 64, 96, 128), features=48) if size == "small" else usual)


def _compact(manifest: ModelManifest, parameters: Mapping[str, Any], side: int) -> TrainingFamily:
    from segworkers.training.maskrcnn import MaskRcnnFamily

    shape, _ = compact_parameters(manifest, parameters)
    options = {name: value for name, value in parameters.items() if name not in ("shape", "weights")}
    return MaskRcnnFamily(manifest=manifest, shape=shape, parameters=options, side=side)


def _unet_shape(size: str, bands: int, _: Sizes) -> dict[str, Any]:
    widths = {"tiny": (8, 16, 32), "small": (12, 24, 48, 64)}.get(size, UNetShape().widths)
    return asdict(UNetShape(bands=bands, widths=widths))


def _unet(manifest: ModelManifest, parameters: Mapping[str, Any], _side: int) -> TrainingFamily:
    from segworkers.training.unet import UNetFamily

    return UNetFamily(manifest=manifest, shape=unet_shape(manifest, parameters))


RECIPES: dict[str, Recipe] = {
    "star-unet": Recipe(
        summary="many small, roundish objects of one class",
        bundle_family="star-unet",
        kind="instance",
        batch=8,
        learning_rate=2e-3,
        shape=_star_shape,
        family=_star,
        most_classes=1,
    ),
    "maskrcnn": Recipe(
        summary="objects of several classes, of any shape, which may overlap",
        bundle_family="maskrcnn-compact",
        kind="instance",
        batch=6,
        learning_rate=1e-3,
        shape=_compact_shape,
        family=_compact,
    ),
    "unet": Recipe(
        summary="a class for each pixel; objects that touch are one",
        bundle_family="unet",
        kind="dense",
        batch=8,
        learning_rate=2e-3,
        shape=_unet_shape,
        family=_unet,
    ),
}
"""By the name that the user gives."""

"""ModelManifest: what the pipeline must know about a model to cut windows for it and to merge what it says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from schemas.boxes import Zyx

ModelKind = Literal["dense", "instance"]
"""`dense`: a class for each pixel, objects are connected components. `instance`: masks with labels and scores."""

Normalisation = Literal["none", "unit", "percentile", "zscore", "otsu"]
"""`none`: the image's own dtype and values. The others give float32, with statistics taken once per image:
`unit`: integers divided by the maximum of their type, floats as they are; `percentile`: the 1st..99th percentile of
each band to 0..1, clipped; `zscore`: mean 0, standard deviation 1 for each band; `otsu`: affine, each band's 1st
percentile to 0 and its Otsu level to exactly 0.5, not clipped."""

_AXES = ("LR", "PA", "SI")
"""Letters of the patient's axes, in the order x, y, z of the world; the first of each is where it increases in LPS."""

Blend = Literal["none", "gaussian"]
"""Dense models, where windows overlap. `none`: a pixel's class is what the window says whose cell it is in.
`gaussian`: the class whose probability, averaged over all windows that show the pixel with Gaussian weights, is largest
(`segworkers.blending`); the model must give probabilities."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelManifest:
    """The declared properties of a model. Checks itself; raises ValueError with the offending numbers."""

    name: str
    kind: ModelKind
    window: Zyx
    """What the model sees, in pixels (z, y, x)."""
    overlap: Zyx
    """Pixels that neighbouring windows share; at most half a window."""
    classes: tuple[str, ...]
    """Names of the classes without background; dense value k and instance label k - 1 mean `classes[k - 1]`."""
    stuff: tuple[str, ...] = ()
    """Classes of `classes` that are measured, not counted (water, tissue): in a panoptic raster they carry no instance
    (Kirillov et al., Panoptic Segmentation, CVPR 2019). Their connected parts are rows like any other."""
    bands: tuple[str | int, ...] | None = None
    """Bands by name or 0-based index in the order the model wants; None: all bands but alpha."""
    channels: tuple[int, ...] = ()
    """Numbers of bands that the network takes: images with others are refused before any work. () where not known."""
    normalise: Normalisation = "none"
    context: Zyx = (0, 0, 0)
    """Pixels (z, y, x) that the model is shown beyond its window on every side, for networks that answer for less than
    they see (valid convolutions): it is given window + 2 · context and answers for the window."""
    resolution: float | None = None
    """Metres per pixel that the model was made for; None: the image's own grid."""
    enlarge: float = 1.0
    """With `resolution`: how many times finer than an image's own pixels the model's may be, where those are coarser
    than it wants; 1: images are reduced only."""
    spacing: tuple[float, float, float] | None = None
    """Volumes: millimetres between voxels (z, y, x) that the model was made for; None: the series' own grid."""
    orientation: str | None = None
    """Volumes: where x, y and z of a window must point in the patient, such as `LPS` or `RAS`, x first as DICOM writes
    it; None: as the slices are stored. Windows are flipped to it, never turned."""
    modalities: tuple[str, ...] = ()
    """Volumes: the modalities that the model is for, such as CT; () for any."""
    connectivity: Literal[4, 8, 6, 18, 26] = 8
    """Dense models: which neighbours belong together (4 and 8 in the plane, 6, 18 and 26 in space)."""
    blend: Blend = "none"
    """Dense models: how a pixel that several windows show gets its class."""
    batch: Zyx = (1, 1, 1)
    """Windows (z, y, x) of the lattice group that forms one batch; constant, so that batches never depend on tiles."""
    object_size: float | None = None
    """Length in pixels of the larger objects, where it is known; used for warnings only."""
    digest: str = ""
    """Hash of code and weights: part of every shard's identity."""

    def __post_init__(self) -> None:
        if any(size < 1 for size in self.window) or any(n < 1 for n in self.batch):
            raise ValueError(
                f"{self.name}: window and batch must be at least 1 in z, y, x, got {self.window}, {self.batch}"
            )
        if any(o < 0 or 2 * o > w for o, w in zip(self.overlap, self.window, strict=True)):
            raise ValueError(
                f"{self.name}: overlap must lie between 0 and half the window in z, y and x, "
                f"got overlap={self.overlap} for window={self.window}"
            )
        _require_classes(self)
        if self.blend not in ("none", "gaussian"):
            raise ValueError(f"{self.name}: blend must be none or gaussian, got {self.blend!r}")
        if self.blend != "none" and self.kind != "dense":
            raise ValueError(
                f"{self.name}: blend={self.blend} averages the class probabilities of dense models, "
                f"this one's kind is {self.kind}; leave blend out"
            )
        if len(set(self.channels)) != len(self.channels) or any(n < 1 for n in self.channels):
            raise ValueError(
                f"{self.name}: channels must be distinct numbers of bands of at least 1, got {self.channels}"
            )
        if any(c < 0 for c in self.context):
            raise ValueError(f"{self.name}: context must be at least 0 in z, y and x, got {self.context}")
        if self.spacing is not None and min(self.spacing) <= 0:
            raise ValueError(f"{self.name}: spacing must be millimetres above 0 in z, y and x, got {self.spacing}")
        if self.orientation is not None and not _is_orientation(self.orientation):
            raise ValueError(
                f"{self.name}: orientation must be one of L R, one of P A and one of S I, in this order, such as LPS, "
                f"got {self.orientation!r}"
            )
        if not 1 <= self.enlarge <= 8:
            raise ValueError(f"{self.name}: enlarge must be a factor of 1 to 8, got {self.enlarge}")
        if self.resolution is not None and self.resolution <= 0:
            raise ValueError(f"{self.name}: resolution must be metres per pixel above 0, got {self.resolution}")

    @property
    def stride(self) -> Zyx:
        """Distance between window origins (z, y, x)."""
        z, y, x = (w - o for w, o in zip(self.window, self.overlap, strict=True))
        return (z, y, x)

    @property
    def shown(self) -> Zyx:
        """What the model is given (z, y, x): the window with its context."""
        z, y, x = (w + 2 * c for w, c in zip(self.window, self.context, strict=True))
        return (z, y, x)


def _require_classes(manifest: ModelManifest) -> None:
    name, classes, stuff = manifest.name, manifest.classes, manifest.stuff
    if not classes or len(set(classes)) != len(classes):
        raise ValueError(f"{name}: classes must be distinct and at least one, got {classes}")
    if not set(stuff) <= set(classes):
        raise ValueError(f"{name}: stuff must be among the classes {classes}, got {stuff}")


def _is_orientation(text: str) -> bool:
    return len(text) == len(_AXES) and all(letter in pair for letter, pair in zip(text, _AXES, strict=True))

"""VolumeGeometry: where the voxels of a volume lie in the patient. VolumeFacts: what else a header tells of it.

SeriesFacts is what a volume and a whole-slide image have in common: what they belong to.

Positions are of voxel **centres** in DICOM's patient coordinates, LPS millimetres (x to the patient's left, y to the
back, z to the head; PS3.3 C.7.6.2.1.1), in world order (x, y, z). Voxel indices are (z, y, x): slice, row, column.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from schemas.boxes import Zyx

Xyz = tuple[float, float, float]
"""A position or a step in LPS millimetres."""

StackKind = Literal["regular", "sheared", "variable"]
"""`regular`: slices at equal steps along their normal; `sheared`: at equal steps that are not along the normal (gantry
tilt); `variable`: steps differ, each slice has a position of its own."""

Plane = Literal["axial", "coronal", "sagittal", "oblique"]
"""The plane of the slices, by the direction cosines of their normal; oblique from 20 degrees off every axis."""

OBLIQUE_COSINE = 0.9396926207859084
"""cos 20°: how close to an axis of the patient the normal of a plane with a name must be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeGeometry:
    """Voxel centres of a stack of slices. Checks itself; raises ValueError with the offending numbers."""

    shape: Zyx
    origin: Xyz
    """Centre of voxel (0, 0, 0)."""
    slice_step: Xyz
    """From voxel (z, y, x) to (z + 1, y, x); where steps vary, their mean."""
    row_step: Xyz
    """From voxel (z, y, x) to (z, y + 1, x): down a column, from one row to the next."""
    column_step: Xyz
    """From voxel (z, y, x) to (z, y, x + 1): along a row, from one column to the next."""
    slice_origins: tuple[Xyz, ...] = ()
    """Centre of voxel (z, 0, 0) of each slice where steps vary; () where they are equal."""
    gaps: tuple[int, ...] = ()
    """Slices z between which and z + 1 slices are missing, ascending."""

    def __post_init__(self) -> None:
        if any(extent < 1 for extent in self.shape):
            raise ValueError(f"a volume needs at least one voxel in z, y and x, got shape={self.shape}")
        if not np.isfinite([self.origin, self.slice_step, self.row_step, self.column_step]).all():
            raise ValueError("origin and steps must be finite")
        if abs(self.determinant) < 1e-9:
            raise ValueError(f"slice, row and column steps span no volume: {self.steps().tolist()}")
        if self.slice_origins and len(self.slice_origins) != self.shape[0]:
            raise ValueError(f"expected {self.shape[0]} slice origins, got {len(self.slice_origins)}")

    def steps(self) -> NDArray[np.float64]:
        """(3, 3): columns are the steps along z, y and x, rows the world's x, y and z."""
        return np.array([self.slice_step, self.row_step, self.column_step], np.float64).T

    @property
    def determinant(self) -> float:
        """Signed volume of a voxel, cubic millimetres; positive where (z, y, x) is a right-handed order."""
        return float(np.linalg.det(self.steps()))

    @property
    def voxel_volume_mm3(self) -> float:
        """|det| of the affine, true under shear too; the mean where steps vary."""
        return abs(self.determinant)

    @property
    def normal(self) -> NDArray[np.float64]:
        """(3,) unit normal of the slices: along a row × down a column (PS3.3 C.7.6.2.1.1)."""
        normal = np.cross(self.column_step, self.row_step)
        return normal / np.linalg.norm(normal)

    @property
    def pixel_spacing_mm(self) -> tuple[float, float]:
        """Distance between the centres of neighbouring (rows, columns), as PixelSpacing orders them."""
        return float(np.linalg.norm(self.row_step)), float(np.linalg.norm(self.column_step))

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Spacing along (z, y, x), z measured along the slices' normal."""
        return abs(float(self.normal @ np.array(self.slice_step))), *self.pixel_spacing_mm

    @property
    def kind(self) -> StackKind:
        """See `StackKind`."""
        if self.slice_origins:
            return "variable"
        step = np.array(self.slice_step)
        along = abs(float(self.normal @ step)) / float(np.linalg.norm(step))
        return "sheared" if along < 1 - 1e-3 else "regular"

    @property
    def plane(self) -> Plane:
        """See `Plane`."""
        cosines = np.abs(self.normal)
        names: tuple[Plane, Plane, Plane] = ("sagittal", "coronal", "axial")
        axis = int(np.argmax(cosines))
        return names[axis] if cosines[axis] >= OBLIQUE_COSINE else "oblique"

    def origins(self) -> NDArray[np.float64]:
        """(z, 3) centre of voxel (z, 0, 0) of each slice."""
        if self.slice_origins:
            return np.array(self.slice_origins, np.float64)
        return np.array(self.origin) + np.arange(self.shape[0], dtype=np.float64)[:, None] * np.array(self.slice_step)

    def thicknesses_mm(self) -> NDArray[np.float64]:
        """(z,) along the normal: half the way to either neighbour, at the ends twice the half to the only one."""
        if not self.slice_origins:
            return np.full(self.shape[0], self.spacing_mm[0])
        place = self.origins() @ self.normal
        if len(place) == 1:
            return np.full(1, self.spacing_mm[0])
        way = np.abs(np.diff(place))
        return (np.r_[way[:1], way] + np.r_[way, way[-1:]]) / 2

    def positions(self, indices: NDArray[np.number[Any]]) -> NDArray[np.float64]:
        """(n, 3) LPS millimetres of (n, 3) voxel indices (z, y, x), integers are centres; linear between slices."""
        at = np.asarray(indices, np.float64).reshape(-1, 3)
        in_plane = at[:, 1:2] * np.array(self.row_step) + at[:, 2:3] * np.array(self.column_step)
        if not self.slice_origins:
            return np.array(self.origin) + at[:, :1] * np.array(self.slice_step) + in_plane
        origins, z = self.origins(), np.arange(self.shape[0])
        return np.stack([np.interp(at[:, 0], z, origins[:, k]) for k in range(3)], axis=1) + in_plane

    def affine(self) -> NDArray[np.float64]:
        """(4, 4): from (z, y, x, 1) to LPS millimetres. Raises ValueError where steps vary: no matrix says that."""
        if self.slice_origins:
            raise ValueError("the slices are not at equal steps: use `positions`")
        matrix = np.eye(4)
        matrix[:3, :3] = self.steps()
        matrix[:3, 3] = self.origin
        return matrix


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesFacts:
    """What a volume or a slide belongs to. Identities are pseudonyms; no patient attribute."""

    series_id: str
    """Pseudonym of the stack or slide: of its SeriesInstanceUID and its place among those of that series."""
    study_id: str
    subject_id: str
    frame_of_reference_id: str
    modality: str
    """CT, MR, PT, SM …"""


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeFacts(SeriesFacts):
    """What the pipeline must know of a volume beside its pixels."""

    geometry: VolumeGeometry
    unit: str | None = None
    """Of the calibrated values: `HU`, `BQML`, …; None where unknown."""
    suv_factor: float | None = None
    """SUVbw is the calibrated value times this; None where it cannot be known, or the modality has none."""
    notes: tuple[str, ...] = ()
    """Reason codes of what was repaired or noticed, such as `missing_slices`; see `docs/dicom.md`."""

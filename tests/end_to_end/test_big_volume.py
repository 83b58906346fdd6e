"""A CT of 512 x 512 x 1000 voxels is segmented and measured in bounded memory."""

from __future__ import annotations

import logging
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import runs
from tests.dicom_files import Layout, Pixels, add_pixels, ct_series, ds, save, uid
from tests.end_to_end.test_big_raster import watch

_log = logging.getLogger(__name__)

SHAPE = (1000, 512, 512)
MEMORY_LIMIT = 3_000_000_000
BODY, LESION, AIR = 40, 140, -1000
SPHERES = 60


def write_big_volume(folder: Path) -> dict[str, int]:
    """A body from the first slice to the last with spheres in it, a slice at a time; voxels of each class."""
    layout = Layout(shape=SHAPE, spacing=(1.0, 0.7, 0.7))
    rng, pixels = np.random.default_rng(1), Pixels()
    centres = np.stack([rng.integers(30, 970, SPHERES), *rng.integers(180, 332, (2, SPHERES))], axis=1)
    radii = rng.integers(3, 12, SPHERES)
    y, x = np.indices(SHAPE[1:])
    body = ((y - 255) / 150) ** 2 + ((x - 255) / 220) ** 2 <= 1
    (first,) = ct_series(Layout(shape=(1, 1, 1)), np.zeros((1, 1, 1)))
    counts = {"level_1": 0, "level_2": 0}
    for k, origin in enumerate(layout.origins()):
        values = np.where(body, BODY, AIR)
        for (z, row, column), radius in zip(centres.tolist(), radii.tolist(), strict=True):
            if abs(z - k) <= radius:
                values[(y - row) ** 2 + (x - column) ** 2 + (z - k) ** 2 <= radius**2] = LESION
        counts["level_1"] += int((values == BODY).sum())
        counts["level_2"] += int((values == LESION).sum())
        one = deepcopy(first)
        one.SOPInstanceUID = one.file_meta.MediaStorageSOPInstanceUID = uid("big", k)
        one.ImagePositionPatient, one.PixelSpacing = [ds(v) for v in origin], [ds(0.7)] * 2
        add_pixels(one, pixels.stored(values.astype(np.float64)), pixels)
        save([one], folder, [f"{k:04d}"])
    return counts


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("window", [[1, 512, 512], [64, 128, 128]])
def test_a_big_volume_is_measured_exactly_in_little_memory(window: list[int], tmp_path: Path) -> None:
    counts = write_big_volume(tmp_path / "in")
    options: dict[str, Any] = {"value": [-200, 100], "window": window}
    command = runs.command([tmp_path / "in"], tmp_path / "out", "threshold", options)
    cost = watch(command, tmp_path / "log.txt")
    _log.info("windows of %s: %.0f s, %s", window, cost.seconds, cost.peak_bytes)
    assert max(cost.peak_bytes.values()) <= MEMORY_LIMIT
    rows = runs.rows(tmp_path / "out", "instances")
    found = {label: sum(row["voxel_count"] for row in rows if row["label"] == label) for label in counts}
    assert found == counts
    assert sum(row["label"] == "level_1" for row in rows) == 1
    for row in rows:
        assert row["volume_mm3"] == pytest.approx(row["voxel_count"] * 0.49)
        assert row["value_mean"] == (BODY if row["label"] == "level_1" else LESION)

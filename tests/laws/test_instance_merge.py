"""Law 3 for models that disagree with themselves: work tiles, tasks and order are nothing to the rows of an image.

Each example is merged once as a single work tile, where everything is decided at once, and then in small tiles, where
most of it is decided by link and resolve tasks. The rows must be the same, byte for byte, and the counts of pixels too.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from schemas.boxes import Zyx
from segworkers.lattice import Lattice
from tests import runs, worlds
from tests.answers import Noise, lattice_in_plane, lattice_in_space, noisy, soup, tessellation
from tests.merges import Case, Mask, grown, mask, merged, whole_image
from tests.segworkers.readers.rasters import write_raster

many = settings(max_examples=200 if settings.default.max_examples > 100 else 6)
"""Each of the laws below in a nightly run; a quick one tries a few."""

seeds = st.integers(0, 2**32 - 1)


def check(case: Case, rng: np.random.Generator) -> None:
    """The law, for single windows as work tiles, and for groups of one to three."""
    whole = merged(case, whole_image(case))
    rows, counts = whole.rows, whole.counts
    for most in (1, 3):
        group = grown(_group(rng, most), case.batch)
        how = {"tiles_per_task": int(rng.integers(1, 5)), "parts_per_task": int(rng.choice([1, 7, 100_000]))}
        other = merged(case, group, seed=int(rng.integers(1 << 30)), **how)
        assert other.counts == counts, f"group {group}, {how}"
        assert other.rows == rows, f"group {group}, {how}: {len(other.objects)} and {len(whole.objects)} objects"


def _group(rng: np.random.Generator, most: int) -> Zyx:
    z, y, x = (int(g) for g in rng.integers(1, most + 1, 3))
    return z, y, x


def _batch(rng: np.random.Generator) -> Zyx:
    z, y, x = (int(b) for b in rng.choice([1, 1, 2], 3))
    return z, y, x


@many
@given(seed=seeds)
@example(seed=17)
def test_whatever_the_windows_of_a_plane_say(seed: int) -> None:
    rng = np.random.default_rng(seed)
    check(soup(rng, lattice_in_plane(rng), _batch(rng)), rng)


@many
@given(seed=seeds)
def test_whatever_the_windows_of_a_volume_say(seed: int) -> None:
    rng = np.random.default_rng(seed)
    check(soup(rng, lattice_in_space(rng), _batch(rng)), rng)


noises = st.builds(
    Noise,
    jitter=st.integers(0, 2),
    miss=st.sampled_from([0.0, 0.1, 0.3]),
    glue=st.sampled_from([0.0, 0.2]),
    short=st.integers(0, 8),
)


@many
@given(seed=seeds, noise=noises, flat=st.booleans(), density=st.sampled_from([0.3, 0.9, 1.0]))
def test_whatever_a_noisy_model_says_of_objects_that_touch(seed: int, noise: Noise, flat: bool, density: float) -> None:
    rng = np.random.default_rng(seed)
    lattice = lattice_in_plane(rng) if flat else lattice_in_space(rng)
    check(noisy(rng, lattice, tessellation(rng, lattice.extent, density), noise, _batch(rng)), rng)


FIRST, SECOND, THIRD = (0, 0, 0), (0, 0, 1), (0, 0, 2)
COLUMN = mask((4, 15, 8, 16))
"""What window 0 (x 0..16) says: the column at its border."""
EARLY = mask((4, 8, 8, 9))
"""What window 1 (x 8..24) says: the column at its border."""
WIDE, CORNER = mask((0, 10, 16, 18)), mask((0, 16, 2, 18))
"""What windows 1 and 2 (x 16..32) say of one object."""


@pytest.mark.parametrize(
    ("said", "objects"),
    [
        pytest.param({FIRST: [COLUMN], SECOND: [mask((0, 17, 16, 24))]}, 1, id="at reach"),
        pytest.param({FIRST: [COLUMN], SECOND: [mask((0, 18, 16, 24))]}, 2, id="out of reach"),
        pytest.param({SECOND: [mask((4, 23, 8, 24))], THIRD: [mask((0, 25, 16, 32))]}, 1, id="at reach in the middle"),
        pytest.param({FIRST: [mask((0, 0, 16, 7))], SECOND: [EARLY]}, 1, id="at reach on the other side"),
        pytest.param({FIRST: [mask((0, 0, 16, 6))], SECOND: [EARLY]}, 2, id="out of reach on the other side"),
        pytest.param({FIRST: [COLUMN], THIRD: [mask((0, 16, 16, 30))]}, 2, id="where its own window ends"),
        pytest.param(
            {FIRST: [COLUMN], SECOND: [mask((0, 17, 16, 24))], THIRD: [mask((0, 17, 16, 30))]}, 1, id="a linked cover"
        ),
        pytest.param(
            {FIRST: [COLUMN], SECOND: [mask((5, 15, 7, 24))], THIRD: [mask((0, 16, 16, 30))]},
            1,
            id="linked to what lies in the next",
        ),
        pytest.param({SECOND: [WIDE], THIRD: [CORNER, mask((5, 18, 7, 19))]}, 1, id="away from its cover's partner"),
        pytest.param({SECOND: [WIDE], THIRD: [CORNER, mask((3, 18, 5, 19))]}, 2, id="beside its cover's partner"),
    ],
)
def test_slivers_of_what_lies_outside_their_windows(said: dict[Zyx, list[Mask]], objects: int) -> None:
    """Windows of 16 px with 8 in common, so tolerance is 2; cells meet at 12, 20 and 28."""
    case = Case(Lattice((1, 16, 16), (0, 8, 8), (1, 16, 40)), said)
    whole = merged(case, whole_image(case))
    assert len(whole.objects) == objects
    for group in (1, 2, 3):
        assert merged(case, (1, 1, group)).rows == whole.rows


@settings(max_examples=40 if settings.default.max_examples > 100 else 2)
@given(seed=seeds, side=st.integers(24, 60), share=st.floats(0.1, 0.5), tiles=st.permutations([1, 70, 130, 4096]))
def test_published_files_of_a_noisy_model_are_the_same_for_every_tile_size(
    seed: int, side: int, share: float, tiles: list[int]
) -> None:
    rng = np.random.default_rng(seed)
    truth = worlds.touching_cells(rng, 150)[:, : rng.integers(30, 150)]
    options = {"side": side, "overlap": int(side * share), "classes": 2, "batch": int(rng.integers(1, 3))}
    outcomes = []
    with TemporaryDirectory() as folder:
        path = Path(folder) / "a.tif"
        write_raster(path, truth.astype(np.uint16)[None])
        for tile in tiles[:2]:
            out = Path(folder) / str(tile)
            model = f"python:{runs.USER_MODELS.with_name('noisy.py')}:Noisy"
            runs.run([path], out, model, options, tiling__tile=tile)
            outcomes.append(runs.files(out))
    assert outcomes[0] == outcomes[1]

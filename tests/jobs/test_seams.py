"""What people read about seams: verdicts that say how sure they are, and advice that can be followed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from jobs.seams import SourceSeams, run_verdict, seam_warnings, verdict_line
from schemas.models import ModelManifest
from segworkers.receipts import CellCounts
from segworkers.seam_test import SeamVerdict
from segworkers.seam_totals import ObjectSizes, SeamTotals
from tests.fakes import ArrayReader, TruthMasks
from tests.pipeline import plan_for

MODEL = ModelManifest(name="squares", kind="instance", window=(1, 128, 128), overlap=(0, 32, 32), classes=("car",))
NO_BORDERS = SeamVerdict(verdict="no borders")
EXCESS = SeamVerdict(verdict="excess near borders", ratio=1.5, low=1.4, high=1.6)


def source(side: int, lengths: dict[int, int]) -> SourceSeams:
    """One with so many objects of each length, of which one was assembled."""
    image = np.zeros((1, side, side), np.uint8)
    plan = plan_for(ArrayReader(image), TruthMasks((1, 128, 128), (0, 32, 32)), (1, 4, 4))
    totals = SeamTotals.of(plan.seams)
    totals.sizes["car"] = ObjectSizes(lengths, 1)
    return SourceSeams.of(plan, CellCounts(), totals)


def size_warning(side: int, lengths: dict[int, int]) -> str:
    (text,) = seam_warnings(NO_BORDERS, [source(side, lengths)], MODEL)
    return text


@pytest.mark.parametrize(
    ("verdict", "begins"),
    [
        (SeamVerdict(verdict="flat", ratio=1.0, low=0.9, high=1.1), "no seam: as many"),
        (SeamVerdict(verdict="flat", ratio=1.1, low=1.01, high=1.2), "no clear sign of a seam"),
        (SeamVerdict(verdict="flat", ratio=0.9, low=0.8, high=0.99), "no clear sign of a seam"),
        (SeamVerdict(verdict="too few objects"), "too few objects to tell"),
        (SeamVerdict(verdict="cannot tell", ratio=1.0, low=0.9, high=1.1), "cannot tell whether there is a seam"),
        (NO_BORDERS, "no seam to look for: no source took more than one window"),
    ],
)  # fmt: skip
def test_only_an_interval_that_holds_1_is_no_seam(verdict: SeamVerdict, begins: str) -> None:
    assert verdict_line(verdict).startswith(begins)
    assert ("interval" in verdict_line(verdict)) == (verdict.ratio is not None)
    assert seam_warnings(verdict, [], MODEL) == []


def test_what_to_do_about_a_seam_suits_the_model() -> None:
    (instance,) = seam_warnings(EXCESS, [], MODEL)
    assert "--doubtful" in instance and "larger model.overlap" in instance
    (widest,) = seam_warnings(EXCESS, [], replace(MODEL, overlap=(0, 64, 64)))
    assert "larger model.overlap" not in widest
    (dense,) = seam_warnings(EXCESS, [], replace(MODEL, kind="dense"))
    assert "--doubtful" not in dense and "tables `seams` and `images`" in dense


def test_of_a_few_objects_their_number_is_told_and_of_many_the_share() -> None:
    assert size_warning(1000, {10: 5, 40: 1}).startswith("car: 1 of 6 objects is 40 pixels long or longer, the overlap")
    assert size_warning(1000, {40: 2, 50: 1}).startswith("car: 1 of 3 objects is 50 pixels long or longer")
    assert size_warning(1000, {40: 19}).startswith("car: 19 of 19 objects are 40 pixels long or longer")
    assert size_warning(1000, {10: 90, 40: 10}).startswith("car: one in 20 objects is 40 pixels long or longer")


def test_without_an_overlap_nothing_was_assembled() -> None:
    (text,) = seam_warnings(NO_BORDERS, [source(1000, {40: 19})], replace(MODEL, overlap=(0, 0, 0)))
    assert "left as windows cut them" in text and "assembled" not in text


@pytest.mark.parametrize(
    ("side", "length", "advice"),
    [
        (1000, 40, "set model.overlap to 48 or more"),
        (1000, 100, "take windows of 224 pixels or more with model.overlap 112, or coarser pixels"),
        (200, 100, "take one window over the whole image, or coarser pixels"),
        (1000, 1000, "take one window over the whole image, or coarser pixels"),
    ],
)
def test_no_advice_goes_beyond_the_image(side: int, length: int, advice: str) -> None:
    assert size_warning(side, {length: 30}).endswith(advice)


def test_rows_tell_the_strips_from_the_rest_and_where_they_are() -> None:
    rows = source(1000, {10: 1}).rows()
    zones = [(row["zone"], row["distance_min_px"], row["distance_max_px"]) for row in rows]
    assert zones[0] == ("near", -16, -8) and zones[4:6] == [("near", -1, 0), ("far", 0, 1)]
    assert zones[-1] == ("margin", None, None)
    assert run_verdict([source(1000, {10: 1})]).verdict == "too few objects"

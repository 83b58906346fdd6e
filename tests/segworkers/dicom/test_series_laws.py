"""Laws of the decisions, on headers without files."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segworkers.dicom.header import Header
from segworkers.dicom.series import decide
from segworkers.pseudonyms import Pseudonyms
from tests.dicom_decisions import NAMES, header_series, reasons, volumes
from tests.dicom_files import CORONAL, OBLIQUE, Layout


def by_uid(header: Header) -> str:
    """Pixels differ where SOPInstanceUIDs do."""
    return header.sop_uid


def decisions(headers):
    return decide(headers, NAMES, by_uid)


def told(found):
    """All but where the files lie; errors compare by identity, their texts are in the rows."""
    return [(d.series_id, d.fingerprint, d.facts, d.row, d.originals) for d in found]


def archive() -> list[Header]:
    """Several series: phases, a scout, copies, a broken one, a report."""
    plain = header_series()
    phases = header_series(series_uid="2.999.1.3", sop_uid=[f"2.999.3.{k}" for k in range(24)], temporal_position=1)
    late = [replace(h, sop_uid=f"{h.sop_uid}.2", temporal_position=2, place=h.place + "b") for h in phases]
    scout = replace(plain[3], sop_uid="2.999.7", image_type=("ORIGINAL", "PRIMARY", "LOCALIZER"), iop=CORONAL)
    broken = header_series(series_uid="2.999.1.4", sop_uid=[f"2.999.4.{k}" for k in range(24)])
    broken[5] = replace(broken[5], ipp=None)
    clash = header_series(series_uid="2.999.1.6", sop_uid=[f"2.999.6.{k}" for k in range(24)])
    clash.append(replace(clash[5], sop_uid="2.999.6.99", place="/archive/other"))
    report = Header(
        place="/archive/sr", series_uid="2.999.1.5", study_uid="2.999.1", sop_uid="2.999.5", sop_class="1.2.3"
    )
    return [*plain, replace(plain[4], place="/copy/4"), scout, *phases, *late, *broken, *clash, report]


@given(st.randoms(use_true_random=False))
@settings(max_examples=20, deadline=None)
def test_the_order_of_headers_changes_nothing(random):
    headers = archive()
    expected = decisions(headers)
    random.shuffle(headers)
    found = decisions(headers)
    assert told(found) == told(expected)
    assert [d.stack for d in found] == [d.stack for d in expected]
    assert len(volumes(found)) == 3
    assert reasons(found) == {
        "localizer": 1, "missing_position": 24, "duplicate_positions": 25, "not_an_image_volume": 1
    }  # fmt: skip


def test_moving_the_archive_keeps_identities_and_facts():
    before = decisions(archive())
    after = decisions([replace(h, place=f"s3://elsewhere/{hash(h.place)}") for h in archive()])
    assert told(before) == told(after)


def test_another_key_names_everything_anew():
    other = decide(archive(), Pseudonyms(b"another key of thirty-two bytes!"), by_uid)
    here = decisions(archive())
    assert not {d.series_id for d in other} & {d.series_id for d in here}
    assert len({d.series_id for d in here}) == len(here)


def test_the_other_series_of_an_archive_do_not_change_a_decision():
    alone = decisions(header_series())[0]
    together = decisions([*header_series(), *(h for h in archive() if h.series_uid != "2.999.1.2")])
    assert told([alone])[0] in told(together)


def test_a_changed_file_changes_the_fingerprint_and_not_the_identity():
    before, after = header_series(), header_series()
    after[7] = replace(after[7], size=17)
    assert decisions(before)[0].series_id == decisions(after)[0].series_id
    assert decisions(before)[0].fingerprint != decisions(after)[0].fingerprint


@given(
    spacing=st.tuples(*(st.floats(0.2, 8.0) for _ in range(3))),
    tilt=st.floats(-35, 35),
    iop=st.sampled_from([(1.0, 0.0, 0.0, 0.0, 1.0, 0.0), CORONAL, OBLIQUE]),
    count=st.integers(2, 40),
)
@settings(max_examples=50, deadline=None)
def test_geometry_is_that_of_the_slices(spacing, tilt, iop, count):
    layout = Layout(shape=(count, 7, 9), spacing=spacing, tilt_deg=tilt, iop=iop)
    geometry = decisions(header_series(layout))[0].facts.geometry
    indices = np.argwhere(np.ones((count, 7, 9), bool))
    np.testing.assert_allclose(geometry.positions(indices), layout.positions().reshape(-1, 3), atol=1e-6)
    assert geometry.voxel_volume_mm3 == pytest.approx(np.prod(spacing) * np.cos(np.radians(tilt)))
    assert geometry.kind == ("sheared" if np.cos(np.radians(tilt)) < 1 - 1e-3 else "regular")


@given(missing=st.sets(st.integers(1, 28), max_size=8), decimals=st.sampled_from([2, 3, 6]))
@settings(max_examples=50, deadline=None)
def test_missing_slices_are_counted(missing, decimals):
    places = tuple(k for k in range(30) if k not in missing)
    headers = header_series(Layout(shape=(len(places), 8, 8), spacing=(1.25, 1.0, 1.0), at=places))
    headers = [replace(h, ipp=tuple(round(v, decimals) for v in h.ipp)) for h in headers]
    decision = decisions(headers)[0]
    gaps = tuple(int(k) for k in np.flatnonzero(np.diff(places) > 1))
    assert decision.row["missing_slices"] == len(missing)
    assert decision.facts.geometry.gaps == gaps
    assert decision.facts.notes == (("missing_slices",) if missing else ())


@given(st.lists(st.floats(-0.4, 0.4), min_size=8, max_size=30))
@settings(max_examples=50, deadline=None)
def test_uneven_slices_keep_their_positions(shifts):
    places = tuple(np.arange(len(shifts)) + np.array(shifts))
    geometry = decisions(header_series(Layout(shape=(len(places), 8, 8), at=places)))[0].facts.geometry
    truth = Layout(shape=(len(places), 8, 8), at=places).origins()
    assert np.abs(geometry.origins() - truth).max() <= 0.1 * 2.5
    ways = np.diff(places)
    if np.abs(ways - np.median(ways)).max() > 0.05:
        np.testing.assert_allclose(geometry.origins(), truth)
        assert geometry.kind == "variable"


def test_a_slow_drift_of_steps_is_not_taken_for_equal_steps():
    steps = np.r_[np.full(200, 1.0), np.full(200, 1.009)]
    places = tuple(np.r_[0.0, np.cumsum(steps)])
    geometry = decisions(header_series(Layout(shape=(401, 8, 8), spacing=(1.0, 1, 1), at=places)))[0].facts.geometry
    assert geometry.kind == "variable"

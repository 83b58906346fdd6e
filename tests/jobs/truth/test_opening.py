from __future__ import annotations

import json
from pathlib import Path

import pytest

from jobs import bootstrap
from jobs.truth.base import Target
from jobs.truth.classes import OTHER, Classes
from jobs.truth.files import TruthFile, about, kind_of
from jobs.truth.opening import TruthOptions, open_truth
from schemas.errors import SpecError


def targets(*uris: str) -> list[Target]:
    return [Target(source_id=uri, uri=uri, shape=(1, 9, 9)) for uri in uris]


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("plot.geojson", "/a/plot.tif"),
        ("plot_labels.tif", "/a/plot.tif"),
        ("plot_7.png", "/a/plot_7.tif"),
        ("plot_7-mask.png", "/a/plot_7.tif"),
        ("plots.geojson", None),
        ("labels_plot.tif", None),
    ],
)
def test_files_are_about_the_longest_name_that_they_begin_with(name: str, source: str | None):
    found = about(TruthFile.plain(Path(name)), targets("/a/plot.tif", "/a/plot_7.tif", "/b/other.tif"))
    assert (found and found.uri) == source


def test_a_name_that_fits_several_sources_is_refused():
    with pytest.raises(SpecError, match="CSV"):
        about(TruthFile.plain(Path("plot.png")), targets("/a/plot.tif", "/b/plot.tif"))


def test_formats_are_told_by_content(tmp_path: Path):
    (tmp_path / "a.json").write_text(json.dumps({"images": [], "annotations": []}))
    (tmp_path / "b.json").write_text(json.dumps({"type": "FeatureCollection", "features": []}))
    (tmp_path / "c").write_bytes(bytes(128) + b"DICM")
    (tmp_path / "d.tif").write_bytes(b"II*\0")
    (tmp_path / "e.gpkg").write_bytes(b"SQLite format 3\0")
    found = [kind_of(TruthFile.plain(path)) for path in sorted(tmp_path.iterdir())]
    assert found == ["coco", "vector", "dicom", "raster", "vector"]
    (tmp_path / "f.txt").write_text("masks")
    (tmp_path / "g.json").write_text("{")
    for name in ("f.txt", "g.json", "absent"):
        with pytest.raises(SpecError):
            kind_of(TruthFile.plain(tmp_path / name))


def test_files_beside_the_truth_that_are_none_are_listed(tmp_path: Path):
    (tmp_path / "plot.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": []}))
    for name in ("README", "LICENSE", ".hidden"):
        (tmp_path / name).write_text("no truth")
    images = targets("/a/plot.tif", "/a/other.tif")
    truths = open_truth([tmp_path], images, bootstrap.reader(), TruthOptions())
    assert truths.unused == ["LICENSE", "README"] and list(truths.openers) == ["/a/plot.tif"]
    volume = Target(source_id="v", uri="dicom:v", shape=(9, 9, 9), series_id="s")
    patients = open_truth([tmp_path], [*images, volume], bootstrap.reader(), TruthOptions())
    assert patients.unused == ["file 1 of the truth", "file 2 of the truth"], "names of files may be patients'"
    with pytest.raises(SpecError, match="expected COCO JSON"):
        open_truth([tmp_path / "README"], images, bootstrap.reader(), TruthOptions())


def test_classes_have_one_name_however_it_is_written():
    classes = Classes(["liver_lesion", "Organ"], {"tumour": "liver lesion"})
    assert classes.all == ("liver_lesion", "Organ", OTHER)
    assert [classes.of_truth(name) for name in ("Liver-Lesion", "organ", "Tumour", "vessel")] == [0, 1, 0, 2]
    classes.check()
    assert list(classes.notes()) == ["classes of the truth that the run does not have, counted as misses: vessel (1)"]


def test_truth_without_classes_needs_a_run_of_one():
    assert Classes(["tree"], {}).of_truth(None) == 0
    assert Classes(["tree", "car"], {}, any_class=True).of_truth("whatever") == 0
    with pytest.raises(SpecError, match="--class-field"):
        Classes(["tree", "car"], {}).of_truth(None)
    with pytest.raises(SpecError, match="--class"):
        Classes(["tree", "car"], {"x": "bus"})

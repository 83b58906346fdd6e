"""Whole-slide DICOM: levels, tiles, and what is never looked at."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from contextlib import suppress
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from schemas.boxes import Box
from schemas.errors import InputError, StoreError
from schemas.sources import Source
from segworkers.dicom.crosswalk import Crosswalk
from segworkers.dicom.decoding import PixelFile
from segworkers.dicom.places import Places
from segworkers.dicom.reader import DicomReader
from segworkers.dicom.slide import Level, Slide, choose_level
from segworkers.dicom.slides import SlidePart, read_part, slide_source, slides_of
from segworkers.pseudonyms import Pseudonyms
from tests.dicom_files import save, uid
from tests.dicom_slides import Tiling, level, picture, pyramid, unreadable

SERIES = "51" * 16


def part_of(place: str | Path) -> SlidePart:
    places = Places()
    return read_part(io.BytesIO(places.read(str(place))), str(place), places.state(str(place)))


def slide_of(made: list[Dataset], folder: Path) -> Slide:
    files = save(made, folder / "in").files
    return slides_of([part_of(file) for file in files], SERIES)


def open_slide(slide: Slide, folder: Path, wanted_um: float | None = None) -> tuple[DicomReader, Source]:
    crosswalk = Crosswalk.open(str(folder / "crosswalk"))
    source = slide_source(slide, choose_level(slide, wanted_um), crosswalk.pseudonyms())
    crosswalk.put_slide(slide, source.fingerprint)
    return DicomReader(crosswalk), source


def read_all(reader: DicomReader, source: Source) -> tuple[np.ndarray, np.ndarray]:
    """(rows, columns, 3) and (rows, columns)."""
    block = reader.read(source, Box.of_shape(source.grid.shape), tuple(range(len(source.bands))))
    return np.moveaxis(block.pixels[:, 0], 0, -1), block.valid[0]


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("jpeg", [False, True])
def test_a_level_is_the_picture(sparse, jpeg, tmp_path):
    reader, source = open_slide(slide_of([level(picture(), Tiling(sparse=sparse, jpeg=jpeg))], tmp_path), tmp_path)
    pixels, valid = read_all(reader, source)
    assert source.bands == ("red", "green", "blue") and source.dtype == "uint8" and source.block == (16, 24)
    assert source.pixel_um == (0.5, 0.5) and source.volume is None
    assert valid.all()
    assert np.abs(pixels.astype(int) - picture()).max() <= (48 if jpeg else 0)
    assert np.abs(pixels.astype(int) - picture()).mean() <= (2.5 if jpeg else 0)


@pytest.fixture(scope="module")
def sparse_slide(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sparse")
    return open_slide(slide_of([level(picture(), Tiling(sparse=True, absent={0, 7, 13, 24}))], folder), folder)


def sparse_truth() -> tuple[np.ndarray, np.ndarray]:
    """What the sparse slide shows, and where."""
    pixels, valid = picture().copy(), np.ones((70, 100), np.bool_)
    for number in (0, 7, 13, 24):
        y, x = number // 5 * 16, number % 5 * 24
        valid[y : y + 16, x : x + 24] = False
    pixels[~valid] = 255
    return pixels, valid


@given(st.data())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_box_is_a_part_of_the_slide_and_absent_tiles_are_not_valid(sparse_slide, data):
    reader, source = sparse_slide
    start = [data.draw(st.integers(0, n - 1)) for n in (70, 100)]
    stop = [data.draw(st.integers(a + 1, n)) for a, n in zip(start, (70, 100), strict=True)]
    bands = data.draw(st.sampled_from([(0, 1, 2), (2,), (1, 1), ()]))
    box = Box((0, *start), (1, *stop))
    block = reader.read(source, box, bands)
    pixels, valid = sparse_truth()
    _, ys, xs = box.within((0, 0, 0))
    np.testing.assert_array_equal(block.valid[0], valid[ys, xs])
    np.testing.assert_array_equal(np.moveaxis(block.pixels[:, 0], 0, -1), pixels[ys, xs][..., list(bands)])


def test_only_the_tiles_of_the_box_are_decoded_and_once(tmp_path, monkeypatch):
    reader, source = open_slide(slide_of([level(picture())], tmp_path), tmp_path)
    decoded: list[int] = []
    real = PixelFile.colours
    monkeypatch.setattr(PixelFile, "colours", lambda self, frame: (decoded.append(frame), real(self, frame))[1])
    reader.read(source, Box((0, 20, 30), (1, 40, 60)), (0,))
    assert sorted(decoded) == [6, 7, 11, 12]
    reader.read(source, Box((0, 20, 30), (1, 40, 75)), (0,))
    assert sorted(decoded) == [6, 7, 8, 11, 12, 13]


LEVELS = [
    Tiling(pixel_um=(0.25, 0.25)),
    Tiling(pixel_um=(0.5, 0.5), sparse=True),
    Tiling(pixel_um=(1.0, 1.0), jpeg=True),
]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [(None, 0.25), (0.25, 0.25), (0.246, 0.25), (0.492, 0.5), (0.45, 0.25), (0.6, 0.5), (9, 1.0)],
)
def test_the_level_nearest_at_or_below_the_wanted_resolution(wanted, found, tmp_path):
    slide = slide_of(pyramid(LEVELS)[::-1], tmp_path)
    assert [each.pixel_um[0] for each in slide.levels] == [0.25, 0.5, 1.0]
    chosen = choose_level(slide, wanted)
    assert chosen.pixel_um == (found, found)
    assert slide_source(slide, chosen, Pseudonyms(bytes(32))).overviews == {0.25: (2, 4), 0.5: (2,), 1.0: ()}[found]


def test_a_slide_is_never_enlarged(tmp_path):
    slide = slide_of(pyramid(LEVELS), tmp_path)
    with pytest.raises(InputError, match=r"the finest are of 0\.25 µm") as caught:
        choose_level(slide, 0.2)
    assert caught.value.reason == "too_coarse"


def test_levels_are_read_at_their_own_size(tmp_path):
    slide = slide_of(pyramid(LEVELS), tmp_path)
    reader, source = open_slide(slide, tmp_path, 0.5)
    assert source.grid.shape == (1, 35, 50)
    np.testing.assert_array_equal(read_all(reader, source)[0], picture()[::2, ::2])


class Guarded(io.BytesIO):
    """A file that may not be read beyond a place."""

    end = 0

    def read(self, size: int | None = -1, /) -> bytes:
        size = -1 if size is None else size
        assert size >= 0 and self.tell() + size <= self.end, "pixels were touched"
        return super().read(size)


@pytest.mark.parametrize("flavour", ["LABEL", "OVERVIEW", "THUMBNAIL"])
def test_labels_and_overviews_are_no_levels_and_their_pixels_are_not_touched(flavour, tmp_path):
    file = save([unreadable(flavour, flavour)], tmp_path).files[0]
    data = file.read_bytes()
    guarded = Guarded(data)
    guarded.end = data.index(b"\xe0\x7f\x10\x00OB") + 12
    with pytest.raises(InputError) as caught:
        read_part(guarded, str(file), Places().state(str(file)))
    assert caught.value.reason == "not_a_slide_level"


def test_a_slide_with_label_and_overview_reads_as_without_them(tmp_path):
    made = [unreadable("LABEL", "label"), *pyramid(LEVELS[:2]), unreadable("OVERVIEW", "overview")]
    parts: list[SlidePart] = []
    for file in save(made, tmp_path / "in").files:
        with suppress(InputError):
            parts.append(part_of(file))
    slide = slides_of(parts, SERIES)
    assert len(slide.levels) == 2
    reader, source = open_slide(slide, tmp_path)
    np.testing.assert_array_equal(read_all(reader, source)[0], picture())
    with pytest.raises(InputError) as caught:
        slides_of([], SERIES)
    assert caught.value.reason == "slide_without_levels"


@pytest.mark.parametrize("sparse", [False, True])
def test_the_first_optical_path_and_focal_plane_are_read_and_that_is_told(sparse, tmp_path):
    made = level(picture(), Tiling(sparse=sparse, planes=2, paths=3))
    reader, source = open_slide(slide_of([made], tmp_path), tmp_path)
    np.testing.assert_array_equal(read_all(reader, source)[0], picture())
    notes = "\n".join(source.warnings)
    for word in ("optical_paths: 3", "focal_planes: 2", "icc_profile"):
        assert word in notes


def test_several_images_of_one_size_give_the_first(tmp_path):
    made = [level(255 - picture(), name="b", number=2), level(picture(), name="a", number=1)]
    reader, source = open_slide(slide_of(made, tmp_path), tmp_path)
    np.testing.assert_array_equal(read_all(reader, source)[0], picture())
    assert "images: 2 of this size, the first is read" in source.warnings


def concatenated(parts: int) -> list[Dataset]:
    """The picture's frames in several files."""
    whole = level(picture())
    frame = 16 * 24 * 3
    made: list[Dataset] = []
    start = 0
    for k, numbers in enumerate(np.array_split(np.arange(25), parts)):
        one = deepcopy(whole)
        one.SOPInstanceUID = one.file_meta.MediaStorageSOPInstanceUID = uid("part", k)
        one.ConcatenationUID, one.ConcatenationFrameOffsetNumber = uid("concatenation"), start
        one.NumberOfFrames = len(numbers)
        one.PixelData = whole.PixelData[start * frame : (start + len(numbers)) * frame]
        start += len(numbers)
        made.append(one)
    return made


def test_a_concatenation_is_one_level(tmp_path):
    slide = slide_of(concatenated(3)[::-1], tmp_path)
    reader, source = open_slide(slide, tmp_path)
    np.testing.assert_array_equal(read_all(reader, source)[0], picture())
    assert len(set(reader.instance_ids(source))) == 3
    assert "images" not in "".join(source.warnings)


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_a_part_of_a_concatenation_that_is_missing_is_noticed(lost, tmp_path):
    made = concatenated(3)
    del made[lost]
    with pytest.raises(InputError) as caught:
        slide_of(made, tmp_path)
    assert caught.value.reason == "slide_tiles_inconsistent"


def test_positions_in_sequences_of_undefined_length(tmp_path):
    made = level(picture(), Tiling(sparse=True, absent={4}))
    made["PerFrameFunctionalGroupsSequence"].is_undefined_length = True
    for groups in made.PerFrameFunctionalGroupsSequence:
        groups["PlanePositionSlideSequence"].is_undefined_length = True
        del groups["OpticalPathIdentificationSequence"]
    reader, source = open_slide(slide_of([made], tmp_path), tmp_path)
    pixels, valid = read_all(reader, source)
    assert (~valid).sum() == 16 * 4
    np.testing.assert_array_equal(pixels[valid], picture()[valid])


def test_a_frame_without_a_place_is_refused(tmp_path):
    made = level(picture(), Tiling(sparse=True))
    del made.PerFrameFunctionalGroupsSequence[7].PlanePositionSlideSequence[0].RowPositionInTotalImagePixelMatrix
    with pytest.raises(InputError, match="frame 8 has no place") as caught:
        slide_of([made], tmp_path)
    assert caught.value.reason == "slide_tiles_inconsistent"


def test_grey_and_sixteen_bits(tmp_path):
    image = (np.arange(70 * 100).reshape(70, 100) * 9 % 65521).astype(np.uint16)
    reader, source = open_slide(slide_of([level(image, Tiling(sparse=True, absent={3}))], tmp_path), tmp_path)
    assert source.bands == ("gray",) and source.dtype == "uint16" and source.bytes_per_pixel == 2
    pixels, valid = read_all(reader, source)
    assert (pixels[~valid] == 0).all()
    np.testing.assert_array_equal(pixels[valid, 0], image[valid])


def test_size_from_the_imaged_volume_where_there_is_no_spacing(tmp_path):
    made = level(picture())
    del made.SharedFunctionalGroupsSequence
    made.ImagedVolumeWidth, made.ImagedVolumeHeight = 0.1, 0.14
    assert slide_of([made], tmp_path).levels[0].pixel_um == pytest.approx((2.0, 1.0))
    del made.ImagedVolumeWidth
    with pytest.raises(InputError) as caught:
        slide_of([made], tmp_path)
    assert caught.value.reason == "slide_spacing_missing"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"PhotometricInterpretation": "PALETTE COLOR", "SamplesPerPixel": 1}, "slide_pixels_unsupported"),
        ({"PixelRepresentation": 1}, "slide_pixels_unsupported"),
        ({"TotalPixelMatrixRows": None}, "read_failed"),
        ({"TotalPixelMatrixRows": 0}, "slide_tiles_inconsistent"),
        ({"TotalPixelMatrixRows": 97}, "slide_tiles_inconsistent"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}, "not_a_slide_level"),
    ],
)
def test_headers_that_are_refused(change, reason, tmp_path):
    made = level(picture())
    for keyword, value in change.items():
        setattr(made, keyword, value)
    with pytest.raises(InputError) as caught:
        slide_of([made], tmp_path)
    assert caught.value.reason == reason


def test_thumbnails_come_from_a_small_level(tmp_path, monkeypatch):
    reader, source = open_slide(slide_of(pyramid([Tiling(), Tiling(), Tiling()]), tmp_path), tmp_path)
    decoded: list[int] = []
    real = PixelFile.colours
    monkeypatch.setattr(PixelFile, "colours", lambda self, frame: (decoded.append(frame), real(self, frame))[1])
    block = reader.thumbnail(source, (0, 1, 2), 25)
    np.testing.assert_array_equal(np.moveaxis(block.pixels[:, 0], 0, -1), picture()[::4, ::4])
    assert len(decoded) == 4
    odd = reader.thumbnail(source, (1,), 7)
    assert max(odd.box.shape) <= 7 and odd.valid.all()
    np.testing.assert_array_equal(odd.pixels[0, 0], picture()[::16, ::16, 1])


def test_slides_survive_the_crosswalk_and_pickling(tmp_path):
    slide = slide_of(pyramid(LEVELS), tmp_path)
    assert Slide.from_bytes(slide.to_bytes()) == slide
    reader, source = open_slide(slide, tmp_path)
    copy = pickle.loads(pickle.dumps(reader))
    np.testing.assert_array_equal(read_all(copy, source)[0], picture())
    with pytest.raises(StoreError, match="this version of series"):
        copy.read(replace(source, fingerprint="other"), Box((0, 0, 0), (1, 1, 1)), (0,))
    with pytest.raises(ValueError, match="inside the slide"):
        copy.read(source, Box((0, 0, 0), (1, 71, 1)), (0,))


def test_a_slide_in_a_zip(tmp_path):
    file = save([level(picture(), Tiling(jpeg=True))], tmp_path / "in").files[0]
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(file, "x/y.dcm")
    slide = slides_of([part_of(f"{tmp_path}/a.zip!x/y.dcm")], SERIES)
    reader, source = open_slide(slide, tmp_path)
    assert np.abs(read_all(reader, source)[0].astype(int) - picture()).mean() < 2.5


def test_errors_name_series_and_frame_only(tmp_path):
    made = level(picture(), Tiling(jpeg=True))
    slide = slide_of([made], tmp_path / "ZZPHI")
    reader, source = open_slide(slide, tmp_path)
    os.utime(slide.levels[0].files[0].place, ns=(1, 1))
    with pytest.raises(InputError, match=rf"^series {SERIES}, frame 1 of 25: the file is no longer") as caught:
        read_all(reader, source)
    assert caught.value.reason == "changed"
    assert caught.value.__cause__ is None and caught.value.__context__ is None


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 9), st.integers(1, 9), st.data())
@settings(max_examples=60)
def test_full_tiles_partition_the_matrix(rows, columns, height, width, data):
    full = Level(rows=rows, columns=columns, tile=(height, width), pixel_um=(1, 1), samples=1, dtype="uint8", files=())
    top, left = data.draw(st.integers(0, rows - 1)), data.draw(st.integers(0, columns - 1))
    bottom, right = data.draw(st.integers(top + 1, rows)), data.draw(st.integers(left + 1, columns))
    count = np.zeros((rows + height, columns + width), int)
    everything = full.tiles((0, 0), (rows, columns))
    assert [frame for *_, frame in everything] == list(range(len(everything)))
    for row, column, _ in full.tiles((top, left), (bottom, right)):
        count[row : row + height, column : column + width] += 1
    assert (count[top:bottom, left:right] == 1).all()
    sparse = replace(full, positions=tuple(everything))
    assert sparse.tiles((top, left), (bottom, right)) == full.tiles((top, left), (bottom, right))

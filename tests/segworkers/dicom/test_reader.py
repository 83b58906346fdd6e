"""DicomReader: calibrated blocks of stacks, whatever the files, and errors that name nobody."""

from __future__ import annotations

import os
import pickle
import traceback
import zipfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from schemas.boxes import Box
from schemas.errors import InputError
from segworkers.dicom import reader as reader_module
from segworkers.dicom.decoding import PixelFile
from segworkers.dicom.planes import Kept
from segworkers.dicom.reader import THUMBNAIL_SLICES
from tests.dicom_files import SENTINEL, Layout, Phantom, Pixels, ct_series, save, stored_of
from tests.dicom_multiframe import enhanced
from tests.dicom_stacks import SERIES, open_files, open_stack, slice_of
from tests.dicom_variants import TRANSFER_SYNTAXES, in_transfer_syntax, make

SHAPE = (6, 32, 40)
LAYOUT = Layout(shape=SHAPE)


def ramp() -> np.ndarray:
    """(z, y, x) whole values, all different."""
    return np.arange(np.prod(SHAPE), dtype=float).reshape(SHAPE) - 1000


def series() -> list[Dataset]:
    """CT slices of `ramp`."""
    return ct_series(LAYOUT, ramp(), pixels=Pixels(bits=14))


def whole(shape=SHAPE) -> Box:
    return Box.of_shape(shape)


@pytest.fixture(scope="module")
def volume(tmp_path_factory):
    """A reader and a source of six CT slices of `ramp`, with small memory for slices."""
    folder = tmp_path_factory.mktemp("volume")
    slices = series()
    reader, source = open_files(save(slices, folder / "in").files, slices, folder)
    return reader, source


@pytest.mark.parametrize("syntax", TRANSFER_SYNTAXES)
def test_the_same_volume_in_any_syntax_gives_bit_equal_blocks(syntax, tmp_path):
    slices = in_transfer_syntax(series(), syntax)
    reader, source = open_files(save(slices, tmp_path / "in").files, slices, tmp_path)
    block = reader.read(source, whole(), (0,))
    assert block.pixels.dtype == np.int16
    np.testing.assert_array_equal(block.pixels[0], ramp())
    assert block.valid.all()


@given(st.data())
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_box_is_a_part_of_the_volume(volume, data):
    reader, source = volume
    start = [data.draw(st.integers(0, n - 1)) for n in SHAPE]
    stop = [data.draw(st.integers(a + 1, n)) for a, n in zip(start, SHAPE, strict=True)]
    box = Box(tuple(start), tuple(stop))
    block = reader.read(source, box, (0,))
    np.testing.assert_array_equal(block.pixels[0], ramp()[box.within((0, 0, 0))])
    block.pixels[...] = 7  # the caller owns the arrays: what is kept is not touched
    block.valid[...] = False


def test_each_slice_has_its_own_slope_and_the_first_does_not_decide_the_dtype(tmp_path):
    """Pitfalls 8 and 9: PET slopes vary, and the first slice is empty."""
    values = np.random.default_rng(1).uniform(0, 30000, SHAPE)
    values[0] = 0
    each = [Pixels(slope=0.25 * (k + 1) / 7, intercept=0.0, bits=16, signed=True) for k in range(SHAPE[0])]
    slices = ct_series(LAYOUT, np.minimum(values, 900 * np.arange(SHAPE[0])[:, None, None]), pixels=each)
    reader, source = open_files(save(slices, tmp_path / "in").files, slices, tmp_path, dtype="float32")
    block = reader.read(source, whole(), (0,))
    assert block.pixels.dtype == np.float32
    for z, one in enumerate(slices):
        want = stored_of(one)[0] * np.float64(one.RescaleSlope) + np.float64(one.RescaleIntercept)
        np.testing.assert_array_equal(block.pixels[0, z], want.astype(np.float32))


@pytest.mark.parametrize(
    ("slope", "intercept", "bits", "signed"),
    [(1, -1024, 12, False), (2, 5, 14, True), (1, 0, 8, False), (-1, 3, 12, True)],
)
def test_whole_values_are_exact_in_int16(slope, intercept, bits, signed, tmp_path):
    low = -(1 << bits - 1) if signed else 0
    stored = np.random.default_rng(2).integers(low, low + (1 << bits), SHAPE)
    pixels = Pixels(slope=slope, intercept=intercept, bits=bits, signed=signed)
    slices = ct_series(LAYOUT, stored * slope + intercept + 0.0, pixels=pixels)
    reader, source = open_files(save(slices, tmp_path / "in").files, slices, tmp_path)
    np.testing.assert_array_equal(reader.read(source, whole(), (0,)).pixels[0], stored * slope + intercept)


def test_a_fractional_slope_is_refused_where_the_plan_says_int16(tmp_path):
    slices = ct_series(LAYOUT, ramp(), pixels=Pixels(slope=0.5, bits=16))
    reader, source = open_files(save(slices, tmp_path / "in").files, slices, tmp_path, dtype="int16")
    with pytest.raises(InputError, match="fractional slope") as caught:
        reader.read(source, whole(), (0,))
    assert caught.value.reason == "read_failed"


@pytest.mark.parametrize(("name", "low", "high"), [("padding", -2000, -2000), ("padding_range", -2000, -1990)])
def test_padding_is_not_valid_by_its_stored_value(name, low, high, tmp_path):
    """Pitfall 12: compared before calibration, and nothing else is invalid."""
    made, variant = make(name, tmp_path / "in")
    reader, source = open_files(made.files, variant.slices, tmp_path)
    block = reader.read(source, whole(source.grid.shape), (0,))
    stored = np.stack([stored_of(one)[0] for one in variant.slices])
    np.testing.assert_array_equal(block.valid, (stored < low) | (stored > high))
    assert 0 < (~block.valid).sum() < block.valid.size / 2
    np.testing.assert_array_equal(block.pixels[0], stored - 1024)


def test_monochrome1_values_stay_as_they_are(tmp_path):
    """Pitfall 13."""
    made, variant = make("monochrome1", tmp_path / "in")
    reader, source = open_files(made.files, variant.slices, tmp_path)
    want = Phantom().values(variant.layout.positions())
    np.testing.assert_array_equal(reader.read(source, whole(source.grid.shape), (0,)).pixels[0], want)


def test_frames_of_one_file_in_any_order_are_opened_once(tmp_path, monkeypatch):
    slices = series()
    order = [3, 0, 5, 1, 4, 2]
    many = enhanced(slices, order)
    file = save([many], tmp_path / "in").files[0]
    places = [slice_of(file, many, order.index(z), slope=1.0, intercept=-1024.0) for z in range(SHAPE[0])]
    reader, source = open_stack(places, _technical(many, slices[0]), tmp_path)
    opened = Counter[str]()
    real = reader_module.opened
    monkeypatch.setattr(reader_module, "opened", lambda p, place, v: (opened.update([place]), real(p, place, v))[1])
    np.testing.assert_array_equal(reader.read(source, whole(), (0,)).pixels[0], ramp())
    assert set(opened.values()) == {1}


def _technical(many: Dataset, one: Dataset) -> Dataset:
    many.StudyInstanceUID, many.SeriesInstanceUID = one.StudyInstanceUID, one.SeriesInstanceUID
    return many


def test_slices_are_decoded_once_while_they_are_kept(tmp_path, monkeypatch):
    slices = series()
    reader, source = open_files(save(slices, tmp_path / "in").files, slices, tmp_path)
    decoded: list[int] = []
    real = PixelFile.stored
    monkeypatch.setattr(PixelFile, "stored", lambda self, frame: (decoded.append(frame), real(self, frame))[1])
    for start in (0, 2, 3):
        reader.read(source, Box((start, 0, 0), (start + 3, 32, 40)), (0,))
    assert len(decoded) == SHAPE[0]
    forgetful = reader_module.DicomReader(reader.crosswalk, cache_mb=0)
    forgetful.read(source, whole(), (0,))
    forgetful.read(source, whole(), (0,))
    assert len(decoded) == 3 * SHAPE[0]


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 40)), max_size=40))
def test_what_is_kept_stays_within_its_limit_and_the_last_used_stay(steps):
    kept = Kept[np.ndarray](64)
    for key, size in steps:
        item = np.zeros(size, np.uint8)
        kept.put(key, item)
        assert kept.get(key) is item
        assert kept.nbytes <= 64
        assert kept.nbytes == sum(each.nbytes for k in range(7) if (each := kept.get(k)) is not None)
    kept.put(1, np.zeros(65, np.uint8))
    assert kept.get(1) is None


def test_threads_and_copies_in_other_processes_read_the_same(volume):
    reader, source = volume
    copy = pickle.loads(pickle.dumps(reader))
    boxes = [Box((z, y, 0), (z + 2, y + 9, 40)) for z in range(5) for y in range(0, 23, 2)]
    with ThreadPoolExecutor(6) as pool:
        for box, block in zip(boxes, pool.map(lambda box: copy.read(source, box, (0,)), boxes), strict=True):
            np.testing.assert_array_equal(block.pixels[0], ramp()[box.within((0, 0, 0))])


def test_bands(volume):
    reader, source = volume
    assert reader.read(source, whole(), (0, 0, 0)).pixels.shape == (3, *SHAPE)
    assert reader.read(source, whole(), ()).pixels.shape == (0, *SHAPE)
    with pytest.raises(ValueError, match="band 0 only"):
        reader.read(source, whole(), (1,))


def test_a_box_outside_is_refused(volume):
    reader, source = volume
    with pytest.raises(ValueError, match="inside the volume"):
        reader.read(source, Box((0, 0, 0), (7, 1, 1)), (0,))


def test_thumbnails_take_every_kth_pixel_and_few_slices(tmp_path):
    shape = (150, 9, 10)
    values = np.arange(np.prod(shape), dtype=float).reshape(shape) % 3000
    slices = ct_series(Layout(shape=shape), values)
    reader, source = open_files(save(slices, tmp_path / "in").files, slices, tmp_path)
    block = reader.thumbnail(source, (0,), 2048)
    assert block.pixels.shape == (1, 50, 9, 10)
    assert len(block.pixels[0]) <= THUMBNAIL_SLICES
    np.testing.assert_array_equal(block.pixels[0], values[1::3])
    small = reader.thumbnail(source, (0,), 4)
    assert max(small.box.shape) <= 4
    np.testing.assert_array_equal(small.pixels[0], values[19::38, 1::3, 1::3])


def test_instances_are_pseudonyms(volume):
    reader, source = volume
    names = reader.instance_ids(source)
    assert len(set(names)) == SHAPE[0]
    assert names[2] == reader.crosswalk.pseudonyms().of("instance", reader.crosswalk.stack(SERIES, "f").slices[2].uid)


def test_members_of_a_zip(tmp_path):
    slices = series()
    made = save(slices, tmp_path / "in")
    with zipfile.ZipFile(tmp_path / "all.ZIP", "w", zipfile.ZIP_DEFLATED) as archive:
        for file in made.files:
            archive.write(file, f"a/{file.name}")
    places = [f"{tmp_path}/all.ZIP!a/{file.name}" for file in made.files]
    reader, source = open_files(places, slices, tmp_path)
    np.testing.assert_array_equal(reader.read(source, whole(), (0,)).pixels[0], ramp())


def test_describe_points_to_the_catalog(volume):
    reader, source = volume
    with pytest.raises(InputError) as caught:
        reader.describe(source.uri)
    assert caught.value.reason == "not_in_catalog"


def test_another_volume_under_the_same_name_is_a_change(volume):
    from dataclasses import replace

    reader, source = volume
    with pytest.raises(InputError) as caught:
        reader.read(replace(source, dtype="float32"), whole(), (0,))
    assert caught.value.reason == "changed"


def _touch(file: Path) -> None:
    os.utime(file, ns=(1, 1))


def _cut(file: Path) -> None:
    state = file.stat()
    file.write_bytes(file.read_bytes()[:-100])
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))


def _swap_matrix(file: Path) -> None:
    other = ct_series(Layout(shape=(1, 40, 32)))[0]
    save([other], file.parent, [file.name])


@pytest.mark.parametrize(
    ("damage", "replan", "reason"),
    [
        (_touch, False, "changed"),
        (_cut, False, "changed"),
        (_cut, True, "read_failed"),
        (Path.unlink, False, "missing_file"),
        (_swap_matrix, True, "read_failed"),
        (lambda file: file.write_bytes(b"no dicom at all"), True, "read_failed"),
    ],
)
def test_errors_say_series_and_slice_and_nothing_else(damage, replan, reason, tmp_path):
    slices = series()
    made = save(slices, tmp_path / f"{SENTINEL}^folder", word=SENTINEL)
    if replan:
        damage(made.files[3])
    reader, source = open_files(made.files, slices, tmp_path)
    if not replan:
        damage(made.files[3])
    assert reader.read(source, Box((0, 0, 0), (3, 32, 40)), (0,)).valid.all()
    with pytest.raises(InputError) as caught:
        reader.read(source, whole(), (0,))
    error = caught.value
    assert error.reason == reason
    assert str(error).startswith(f"series {SERIES}, slice 4 of 6: ")
    assert SENTINEL not in "".join(traceback.format_exception(error))
    assert error.__cause__ is None and error.__context__ is None
    assert pickle.loads(pickle.dumps(error)).reason == reason

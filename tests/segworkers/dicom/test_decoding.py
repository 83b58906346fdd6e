"""From files to stored values: syntaxes, bits and signs, fragments, damage."""

from __future__ import annotations

import base64
import io
import struct
import subprocess
import sys
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pydicom import dcmread, dcmwrite, uid
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, encapsulate_extended

from schemas.errors import InputError
from segworkers.dicom import decoding
from segworkers.dicom.decoding import PixelFile, available_syntaxes, plugin_for, to_stored
from tests.dicom_files import Layout, Pixels, ct_series, stored_of
from tests.dicom_multiframe import enhanced
from tests.dicom_variants import TRANSFER_SYNTAXES, in_transfer_syntax, make


def open_bytes(one: Dataset) -> PixelFile:
    """A dataset as a file in memory, opened."""
    buffer = io.BytesIO()
    one.save_as(
        buffer, enforce_file_format=True, implicit_vr=one.file_meta.TransferSyntaxUID == uid.ImplicitVRLittleEndian
    )
    buffer.seek(0)
    return PixelFile(buffer)


def noisy(bits: int = 16, signed: bool = True, slices: int = 1) -> list[Dataset]:
    """CT slices whose stored values use all bits."""
    low = -(1 << bits - 1) if signed else 0
    cube = np.random.default_rng(5).integers(low, low + (1 << bits), (24, 40, 48)).astype(float)
    return ct_series(values=cube, pixels=Pixels(bits=bits, signed=signed, intercept=0.0))[:slices]


@pytest.mark.parametrize("syntax", TRANSFER_SYNTAXES)
@pytest.mark.parametrize(("bits", "signed"), [(16, True), (16, False), (12, False), (12, True)])
def test_every_lossless_syntax_gives_the_same_stored_values(syntax, bits, signed):
    made = noisy(bits, signed)
    if syntax == "jpeg_2000" and (bits, signed) == (16, True):
        pytest.importorskip("openjpeg")
    for one, want in zip(in_transfer_syntax(made, syntax), made, strict=True):
        got = open_bytes(one).stored(0)
        assert got.dtype == np.dtype("i2" if signed else "u2")
        np.testing.assert_array_equal(got, stored_of(want)[0])


def test_rubbish_above_bits_stored_is_dropped_and_the_sign_extended(tmp_path):
    made, variant = make("signed_12_bits", tmp_path)
    want = ct_series(variant.layout, variant.phantom, pixels=Pixels(bits=12, signed=True, intercept=0.0))
    for file, one in zip(made.files, want, strict=True):
        np.testing.assert_array_equal(PixelFile(io.BytesIO(file.read_bytes())).stored(0), stored_of(one)[0])


@given(
    hnp.arrays(np.uint16, (3, 5)), st.integers(1, 16), st.integers(0, 15), st.booleans(), st.integers(0, (1 << 16) - 1)
)
def test_to_stored_takes_the_bits_up_to_high_bit_whatever_lies_around_them(values, bits, spare, signed, rubbish):
    high = min(15, bits - 1 + spare)
    shift = high + 1 - bits
    mask = ((1 << bits) - 1) << shift
    low_bits = (values & ((1 << bits) - 1)).astype(np.int64)
    want = np.where(signed & (low_bits >> (bits - 1) == 1), low_bits - (1 << bits), low_bits)
    packed = ((low_bits << shift) & mask | (rubbish & ~mask & 0xFFFF)).astype(np.uint16)
    got = to_stored(packed.view(np.int16) if signed else packed, bits, high)
    np.testing.assert_array_equal(got, want)


def test_bits_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="BitsStored 12 up to HighBit 10"):
        to_stored(np.zeros((2, 2), np.uint16), 12, 10)


def test_high_bit_above_bits_stored_is_honoured_where_bytes_are_stored_as_they_are():
    one = noisy(12, False)[0]
    want = stored_of(one)[0].copy()
    one.PixelData, one.HighBit = (want << 4).astype("<u2").tobytes(), 15
    np.testing.assert_array_equal(open_bytes(one).stored(0), want)
    np.testing.assert_array_equal(open_bytes(in_transfer_syntax([one], "rle")[0]).stored(0), want)


def test_the_codestreams_sign_does_not_matter(tmp_path):
    made, variant = make("j2k_sign_mismatch", tmp_path)
    want = ct_series(variant.layout, variant.phantom, pixels=Pixels(bits=16, signed=True, intercept=0.0))
    for file, one in zip(made.files[:3], want[:3], strict=True):
        np.testing.assert_array_equal(PixelFile(io.BytesIO(file.read_bytes())).stored(0), stored_of(one)[0])


def test_monochrome1_is_not_inverted():
    one = noisy()[0]
    want = stored_of(one)[0].copy()
    one.PhotometricInterpretation = "MONOCHROME1"
    np.testing.assert_array_equal(open_bytes(one).stored(0), want)


def test_colours_are_no_volume():
    one = noisy(8, False)[0]
    one.SamplesPerPixel, one.PhotometricInterpretation, one.PlanarConfiguration = 3, "RGB", 0
    one.BitsAllocated, one.BitsStored, one.HighBit = 8, 8, 7
    one.PixelData = bytes(40 * 48 * 3)
    pixels = open_bytes(one)
    assert not pixels.is_monochrome
    assert pixels.colours(0).shape == (40, 48, 3)
    with pytest.raises(InputError, match="one grey sample"):
        pixels.stored(0)


@pytest.mark.parametrize("kind", ["basic", "none", "extended", "fragmented", "fragmented frames without a table"])
def test_frames_are_found_by_any_table_and_without_one(kind):
    slices = noisy(slices=5)
    packed = in_transfer_syntax(slices, "jpeg_ls")
    frames = [_frame_bytes(one) for one in packed]
    many = enhanced(slices)
    many.file_meta.TransferSyntaxUID = uid.JPEGLSLossless
    many["PixelData"].VR = "OB"
    if kind == "extended":
        many.PixelData, many.ExtendedOffsetTable, many.ExtendedOffsetTableLengths = encapsulate_extended(frames)
    else:
        fragments = 3 if "fragmented" in kind else 1
        many.PixelData = encapsulate(frames, fragments_per_frame=fragments, has_bot=kind in ("basic", "fragmented"))
    many["PixelData"].is_undefined_length = True
    pixels = open_bytes(many)
    assert pixels.frames == 5
    for k in (4, 0, 2, 3, 1):
        np.testing.assert_array_equal(pixels.stored(k), stored_of(slices[k])[0])
    with pytest.raises(InputError, match="expected a frame 6, found 5"):
        pixels.stored(5)


def _frame_bytes(one: Dataset) -> bytes:
    from pydicom.encaps import get_frame

    return get_frame(one.PixelData, 0, number_of_frames=1)


def test_one_frame_in_many_fragments():
    one = noisy()[0]
    want = stored_of(one)[0].copy()
    packed = in_transfer_syntax([one], "jpeg_ls")[0]
    packed.PixelData = encapsulate([_frame_bytes(packed)], fragments_per_frame=4, has_bot=False)
    np.testing.assert_array_equal(open_bytes(packed).stored(0), want)


def test_native_frames_of_a_file_of_many():
    slices = noisy(slices=4)
    pixels = open_bytes(enhanced(slices))
    np.testing.assert_array_equal(pixels.stored(2), stored_of(slices[2])[0])


def test_a_file_without_preamble(tmp_path):
    made, variant = make("no_preamble", tmp_path)
    want = list(variant.slices)
    for file, one in zip(made.files[:2], want[:2], strict=True):
        np.testing.assert_array_equal(PixelFile(io.BytesIO(file.read_bytes())).stored(0), stored_of(one)[0])


def test_big_endian():
    one = noisy()[0]
    want = stored_of(one)[0].copy()
    one.file_meta.TransferSyntaxUID = uid.ExplicitVRBigEndian
    one.PixelData = want.astype(">i2").tobytes()
    buffer = io.BytesIO()
    dcmwrite(buffer, one, enforce_file_format=True, little_endian=False, implicit_vr=False)
    buffer.seek(0)
    got = PixelFile(buffer).stored(0)
    assert got.dtype.isnative
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("syntax", TRANSFER_SYNTAXES)
def test_a_file_cut_anywhere_is_refused_never_made_up(syntax):
    one = in_transfer_syntax(noisy(), syntax)[0]
    buffer = io.BytesIO()
    one.save_as(buffer, enforce_file_format=True, implicit_vr=syntax == "implicit")
    whole = buffer.getvalue()
    for part in (0.0, 0.05, 0.3, 0.6, 0.9, 0.995):
        with pytest.raises(InputError) as caught:
            PixelFile(io.BytesIO(whole[: int(len(whole) * part)])).stored(0)
        assert caught.value.reason == "read_failed"
        assert caught.value.__cause__ is None and caught.value.__context__ is None


@pytest.mark.parametrize("syntax", ["rle", "jpeg_ls", "jpeg_2000"])
def test_damaged_codestreams_fail_in_our_words_only(syntax):
    one = in_transfer_syntax(noisy(), syntax)[0]
    frame = bytearray(_frame_bytes(one))
    frame[: len(frame) // 2] = b"\x55" * (len(frame) // 2)
    one.PixelData = encapsulate([bytes(frame)])
    with pytest.raises(InputError, match="pixel data cannot be decoded") as caught:
        open_bytes(one).stored(0)
    assert caught.value.reason == "read_failed"
    assert caught.value.__cause__ is None and caught.value.__context__ is None


def test_files_that_are_no_dicom_are_refused():
    for data in (b"", b"hello", b"\0" * 4096, b"\xff" * 300, b"II*\0" + bytes(500)):
        with pytest.raises(InputError) as caught:
            PixelFile(io.BytesIO(data)).stored(0)
        assert caught.value.reason == "read_failed"


def test_a_missing_decoder_is_named(monkeypatch):
    assert available_syntaxes()[uid.JPEGLSLossless]
    monkeypatch.setattr(type(decoding.get_decoder(uid.JPEGLSLossless)), "available_plugins", property(lambda self: ()))
    assert not available_syntaxes()[uid.JPEGLSLossless]
    assert available_syntaxes()[uid.ExplicitVRLittleEndian]
    with pytest.raises(InputError, match="JPEG-LS Lossless") as caught:
        open_bytes(in_transfer_syntax(noisy(), "jpeg_ls")[0])
    assert caught.value.reason == "no_decoder"
    assert "pip install pyjpegls" in caught.value.hint


def test_the_order_of_decoders_is_ours(monkeypatch):
    assert plugin_for(uid.JPEGLSLossless) == "pyjpegls"
    assert plugin_for(uid.JPEG2000Lossless) == "pylibjpeg"
    assert plugin_for(uid.RLELossless) == "pydicom"
    assert plugin_for(uid.ExplicitVRLittleEndian) == ""
    monkeypatch.setattr(
        type(decoding.get_decoder(uid.JPEGLossless)), "available_plugins", property(lambda self: ("pylibjpeg",))
    )
    assert plugin_for(uid.JPEGLosslessSV1) == "pylibjpeg"


def test_an_unknown_syntax_is_unsupported():
    with pytest.raises(InputError) as caught:
        plugin_for(uid.MPEG2MPML)
    assert caught.value.reason == "unsupported_syntax"


def test_a_syntax_that_is_no_uid_is_not_repeated(tmp_path):
    made = ct_series()[0]
    made.file_meta.TransferSyntaxUID = uid.UID("ZZPHI^ERIKA", validation_mode=0)
    dcmwrite(tmp_path / "a", made, implicit_vr=False, little_endian=True, enforce_file_format=False)
    with (tmp_path / "a").open("rb") as file, pytest.raises(InputError) as caught:
        PixelFile(file)
    assert caught.value.reason == "unsupported_syntax" and "ZZPHI" not in f"{caught.value} {caught.value.hint}"


NEEDS_LIBJPEG = pytest.mark.skipif(find_spec("libjpeg") is None, reason="pylibjpeg-libjpeg is not installed")
"""It is optional: its licence is the GPL."""


@pytest.mark.skipif(find_spec("libjpeg") is not None, reason="pylibjpeg-libjpeg is installed")
def test_a_missing_decoder_names_the_package_to_install():
    with (
        open(str(get_testdata_file("JPGExtended.dcm", download=False)), "rb") as file,
        pytest.raises(InputError) as told,
    ):
        PixelFile(file).stored(0)
    assert told.value.reason == "no_decoder" and "pip install pylibjpeg-libjpeg" in str(told.value)


@pytest.mark.parametrize(
    "name",
    [
        *("CT_small.dcm", "MR_small.dcm", "MR_small_RLE.dcm", "MR_small_jp2klossless.dcm", "image_dfl.dcm"),
        *("MR_small_jpeg_ls_lossless.dcm", "MR_small_bigendian.dcm", "MR_small_padded.dcm"),
        pytest.param("JPGExtended.dcm", marks=NEEDS_LIBJPEG),
        *("693_J2KI.dcm", "J2K_pixelrep_mismatch.dcm"),
        *("JPEGLSNearLossless_08.dcm", "JPEGLSNearLossless_16.dcm", "ExplVR_BigEnd.dcm", "rtdose.dcm"),
        *("rtdose_rle.dcm", "examples_overlay.dcm", "SC_rgb_rle_16bit_2frame.dcm", "SC_rgb_jpeg_gdcm.dcm"),
        *(
            "SC_rgb_jpeg_dcmtk.dcm",
            "SC_ybr_full_422_uncompressed.dcm",
            "examples_ybr_color.dcm",
            "SC_rgb_jls_lossy_line.dcm",
        ),
    ],
)
def test_pydicoms_own_files(name):
    """Against pydicom's array of the whole file, where its files are at hand without a network."""
    path = get_testdata_file(name, download=False)
    if path is None:
        pytest.skip("comes from the network")
    whole = dcmread(path)
    with open(path, "rb") as file:
        pixels = PixelFile(file)
        last = pixels.frames - 1
        got = pixels.stored(last) if pixels.is_monochrome else pixels.colours(last)
    want: Any = whole.pixel_array
    np.testing.assert_array_equal(got, want[last] if pixels.frames > 1 else want)


def test_modality_lut():
    one = noisy()[0]
    lut = Dataset()
    lut.add_new("LUTDescriptor", "SS", [4, -2, 16])
    lut.add_new("LUTData", "OW", struct.pack("<4H", 10, 20, 30, 500))
    lut.ModalityLUTType = "US"
    one.ModalityLUTSequence = [lut]
    table = open_bytes(one).modality_lut()
    assert table is not None
    assert table.apply(np.array([-30000, -2, -1, 0, 1, 2, 30000], np.int16)).tolist() == [10, 10, 20, 30, 500, 500, 500]
    assert open_bytes(noisy()[0]).modality_lut() is None


@pytest.mark.parametrize("quiet", [True, False])
def test_pydicom_is_silent(quiet):
    """Its warnings and log lines repeat values, which must not reach anybody's terminal; without us they would."""
    script = (
        "import logging; logging.basicConfig(level=0); import pydicom.valuerep as v; "
        + ("import segworkers.dicom.decoding; " if quiet else "")
        + "v.validate_value('DA', 'ZZPHI', 1); print(v.DSfloat('1.23456789012345678'))"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.startswith("1.23")
    assert ("ZZPHI" not in found.stderr) == quiet


HTJ2K = {
    False: (
        "/0//UQApQAAAAAAUAAAAEAAAAAAAAAAAAAAAFAAAABAAAAAAAAAAAAABDwEB/1AACAACAAAACv9SAAwAAgABAAUEBEAB/1wAEyCI"
        "kJCQkJCQkJCQkJCQiIiI/2QAFwABT3BlbkpQSCBWZXIgMC4yNi4zLv+QAAoAAAAAAIkAAf+TwAAmZ/gFB3QAwAASgOQBB3QAwAAR"
        "wAATgABjAEZu5ADCNADAABHAABVAEnMAIAcZ5AAYwHdWAMAAE8AAFcDe3dF+y3UAggsWLFjw4BBGQgHsuADAACrgABawJEmS7+Cn"
        "p6dCeACOHR0dHR0dHR0d/oY9jGB79jGB7LwA/9k="
    ),
    True: (
        "/0//UQApQAAAAAAUAAAAEAAAAAAAAAAAAAAAFAAAABAAAAAAAAAAAAABjwEB/1AACAACAAAACv9SAAwAAgABAAUEBEAB/1wAEyCI"
        "kJCQkJCQkJCQkJCQiIiI/2QAFwABT3BlbkpQSCBWZXIgMC4yNi4zLv+QAAoAAAAAAIkAAf+TwAAm5/wCh3QAwAASgOQBB3QAwAAR"
        "wAATgABjAEZu5ADCNADAABHAABVAEnMAIAcZ5AAYwHdWAMAAE8AAFcDe3dF+y3UAggsWLFjw4BBGQgHsuADAACrgABawJEmS7+Cn"
        "p6dCeACOHR0dHR0dHR0d/oY9jGB79jGB7LwA/9k="
    ),
}
"""Reversible codestreams of OpenJPH 0.26.3 (PS3.5 A.4.11), 16 rows of 20 values: 200 y + 7 x, and that less 1,600
where they are signed."""


@pytest.mark.parametrize("syntax", [uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K])
@pytest.mark.parametrize("signed", [False, True])
def test_high_throughput_jpeg_2000_is_decoded_to_the_last_bit(syntax: str, signed: bool) -> None:
    assert available_syntaxes()[syntax]
    y, x = np.mgrid[:16, :20]
    want = 200 * y + 7 * x - 1600 * signed
    bits = 16 if signed else 12
    one = ct_series(Layout(shape=(1, 16, 20)), pixels=Pixels(bits=16, signed=signed), values=np.zeros((1, 16, 20)))[0]
    one.BitsStored, one.HighBit = bits, bits - 1
    one.PixelData = encapsulate([base64.b64decode(HTJ2K[signed])])
    one["PixelData"].VR = "OB"
    one.file_meta.TransferSyntaxUID = syntax
    np.testing.assert_array_equal(open_bytes(one).stored(0), want)

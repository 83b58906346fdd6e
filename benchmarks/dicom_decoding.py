"""What reading a CT volume costs beside pydicom's own decoding: `python -m benchmarks.dicom_decoding`.

For each transfer syntax a series of 512 × 512 slices is written; every slice is read once by `DicomReader` (opened,
compared with the plan, decoded, calibrated, padding marked) and once by `dcmread(file).pixel_array`. Processor time of
all threads; the two take turns, slice by slice, and the ratio of sums is printed. A bar of 1.2 is kept by every syntax.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pydicom is partly typed.

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from importlib import metadata
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from scipy import ndimage

from schemas.boxes import Box
from schemas.grids import PixelGrid
from schemas.sources import DICOM_SCHEME, Source
from segworkers.dicom.crosswalk import Crosswalk
from segworkers.dicom.reader import DicomReader
from segworkers.dicom.stack import Slice, Stack
from tests.dicom_files import Layout, Pixels, ct_series, save
from tests.dicom_variants import in_transfer_syntax

SYNTAXES = {
    "raw": "explicit", "deflated": "deflated", "RLE": "rle", "JPEG lossless": "jpeg_lossless", "JPEG-LS": "jpeg_ls",
    "JPEG 2000": "jpeg_2000",
}  # fmt: skip
"""Name in the table: in `tests.dicom_variants.TRANSFER_SYNTAXES`."""
PACKAGES = ("pydicom", "pyjpegls", "pylibjpeg-openjpeg", "pylibjpeg-libjpeg", "python-gdcm", "numpy")
SIDE = 512


def ct_like(slices: int) -> NDArray[np.float64]:
    """(z, y, x) Hounsfield units: smooth tissue in a round body, noise of 12 HU, air around."""
    rng = np.random.default_rng(1)
    tissue = ndimage.gaussian_filter(rng.normal(size=(slices, SIDE, SIDE)), (1, 12, 12)) * 4000
    y, x = np.mgrid[:SIDE, :SIDE] / (SIDE - 1) - 0.5
    body = np.where(y**2 + x**2 < 0.16, 40 + tissue, -1000.0)
    return np.clip(body + rng.normal(scale=12, size=body.shape), -1024, 3000)


def written(folder: Path, values: NDArray[np.float64], syntax: str) -> list[Path]:
    """The files of one series."""
    made = ct_series(Layout(shape=(len(values), SIDE, SIDE)), values, pixels=Pixels(bits=16, signed=True, intercept=0))
    return list(save(in_transfer_syntax(made, syntax), folder).files)


def planned(files: list[Path], crosswalk: Crosswalk, name: str) -> Source:
    """A source of these files, in their order."""
    slices = tuple(
        Slice(place=str(file), frame=0, uid=str(k), size=file.stat().st_size, stamp=str(file.stat().st_mtime_ns))
        for k, file in enumerate(files)
    )
    crosswalk.put(
        Stack(
            series_id=name,
            study_uid="",
            series_uid="",
            frame_of_reference_uid="",
            transfer_syntaxes=(),
            rows=SIDE,
            columns=SIDE,
            bits_stored=16,
            signed=True,
            dtype="int16",
            padding=(-2000, -2000),
            slices=slices,
        ),
        "",
    )
    grid = PixelGrid(shape=(len(files), SIDE, SIDE))
    return Source(uri=f"{DICOM_SCHEME}{name}", fingerprint="", grid=grid, dtype="int16", bands=("value",))


def compare(source: Source, files: list[Path], reader: DicomReader) -> tuple[float, float]:
    """Processor seconds of the reader and of pydicom for all slices, taking turns."""
    ours = theirs = 0.0
    for z, file in enumerate(files):
        begin = time.process_time()
        block = reader.read(source, Box((z, 0, 0), (z + 1, SIDE, SIDE)), (0,))
        middle = time.process_time()
        pixels = dcmread(file).pixel_array
        theirs += time.process_time() - middle
        ours += middle - begin
        assert (block.pixels[0, 0] == pixels).all()
    return ours, theirs


def main() -> None:
    """Print one line for each syntax."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(", ".join(f"{name} {metadata.version(name)}" for name in PACKAGES))
    print(f"{'syntax':12s} {'ours ms':>9s} {'pydicom ms':>11s} {'ratio':>7s}   (per slice of {SIDE} × {SIDE}, median)")
    with tempfile.TemporaryDirectory() as folder:
        crosswalk = Crosswalk.open(f"{folder}/crosswalk")
        values = ct_like(arguments.slices)
        for name, syntax in SYNTAXES.items():
            files = written(Path(folder) / name, values, syntax)
            source = planned(files, crosswalk, name.replace(" ", "-"))
            compare(source, files[:2], DicomReader(crosswalk))  # codecs are loaded
            rounds = [compare(source, files, DicomReader(crosswalk, cache_mb=0)) for _ in range(arguments.rounds)]
            ours, theirs = np.median(rounds, axis=0) / len(files) * 1e3
            print(f"{name:12s} {ours:9.2f} {theirs:11.2f} {ours / theirs:7.2f}")


if __name__ == "__main__":
    main()

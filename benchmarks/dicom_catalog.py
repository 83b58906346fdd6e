"""How fast an archive of DICOM slices is catalogued, beside pydicom's own reading of the same headers.

    python benchmarks/dicom_catalog.py [SERIES [SLICES]]

Makes an archive of small CT slices with headers as scanners write them (some 90 attributes, a private block of 2 kB),
SERIES × SLICES of them (20 × 300), in a temporary folder; then, in one run on this machine: pydicom's `dcmread` up to
the pixels, in one process, with the values of the attributes that a catalog needs; the header pass alone; the whole
catalog (files found, headers read, series decided, stacks written) in one process and in as many as there are cores;
and the same again with every header known. Best of three, but for pydicom's. Ratios are what to look at.

Then the same files thrown together at random, in batches of a twentieth, as in an archive of twenty batches:
as they are catalogued, headers moved to their series once, and as it would be if each batch read every chunk it needs.
The second grows with the square of an archive.
"""

from __future__ import annotations

import platform
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from jobs import dicom_batches
from jobs.catalog import RASTER_SUFFIXES
from jobs.dicom_catalog import catalog_dicom
from segworkers.dicom.crosswalk import Crosswalk
from segworkers.dicom.file_headers import WANTED, read_headers
from segworkers.dicom.locations import Search
from segworkers.dicom.places import Candidate, Places
from segworkers.dicom.processes import processors
from segworkers.readers.locations import locate

SIDE = 64
TEXTS = {
    "StationName": "CT1", "StudyDescription": "Abdomen", "SeriesDescription": "ax 1.5", "ProtocolName": "Abdomen",
    "InstitutionName": "Clinic", "ReferringPhysicianName": "A^B", "PatientName": "C^D", "PatientBirthDate": "19700101",
    "PatientSex": "M", "PatientAge": "050Y", "BodyPartExamined": "ABDOMEN", "ScanOptions": "HELIX", "FilterType": "0",
    "DataCollectionDiameter": "500", "DeviceSerialNumber": "1", "SoftwareVersions": "VA1", "RotationDirection": "CW",
    "ReconstructionDiameter": "400", "DistanceSourceToDetector": "1040", "DistanceSourceToPatient": "570",
    "TableHeight": "140", "ExposureTime": "500", "XRayTubeCurrent": "200", "Exposure": "100", "GeneratorPower": "24",
    "FocalSpots": "1.2", "PatientPosition": "HFS", "StudyID": "1", "AccessionNumber": "1", "WindowCenter": "40",
    "WindowWidth": "400", "PositionReferenceIndicator": "", "RequestedProcedureDescription": "x",
    "StudyDate": "20200101", "SeriesDate": "20200101", "AcquisitionDate": "20200101", "ContentDate": "20200101",
    "StudyTime": "101010", "SeriesTime": "101010", "AcquisitionTime": "101010", "ContentTime": "101010.5",
}  # fmt: skip
"""Attributes that a catalog passes over, and others."""


def make_archive(folder: Path, series: int, slices: int) -> None:
    """SERIES folders of SLICES files."""
    for k in range(series):
        made = ct_slice(k)
        (folder / f"{k:04d}").mkdir(parents=True)
        root = made.SeriesInstanceUID[:50]
        for z in range(slices):
            made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = f"{root}.{z}"
            made.InstanceNumber, made.SliceLocation = z + 1, f"{1.5 * z:.1f}"
            made.ImagePositionPatient = ["-200.5", "-180.25", f"{1.5 * z - 300.3:.2f}"]
            made.save_as(folder / f"{k:04d}" / f"IM{z:05d}", enforce_file_format=True)


def mix(files: list[Path], folder: Path) -> None:
    """All files in one folder, under names that say nothing."""
    rng = random.Random(1)
    for file in files:
        file.rename(folder / f"{rng.getrandbits(64):016x}")


def ct_slice(k: int) -> Dataset:
    """One slice of a series."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = CTImageStorage, ExplicitVRLittleEndian
    made = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    for keyword, text in TEXTS.items():
        setattr(made, keyword, text)
    made.SOPClassUID, made.Modality, made.PatientID = CTImageStorage, "CT", str(k)
    made.SpecificCharacterSet, made.ImageType = "ISO_IR 100", ["ORIGINAL", "PRIMARY", "AXIAL"]
    made.StudyInstanceUID, made.SeriesInstanceUID, made.FrameOfReferenceUID = (generate_uid() for _ in range(3))
    made.Manufacturer, made.ManufacturerModelName, made.KVP, made.ConvolutionKernel = "ACME", "One", "120", "B30f"
    made.SliceThickness, made.GantryDetectorTilt, made.AcquisitionNumber, made.SeriesNumber = "1.5", "0", 1, 2
    other = Dataset()
    other.ReferencedSOPClassUID, other.ReferencedSOPInstanceUID = CTImageStorage, generate_uid()
    made.ReferencedImageSequence = [other]
    made.private_block(0x0029, "ACME CSA HEADER", create=True).add_new(0x10, "OB", b"x" * 2000)
    made.ImageOrientationPatient, made.PixelSpacing = ["1", "0", "0", "0", "1", "0"], ["0.78", "0.78"]
    made.SamplesPerPixel, made.PhotometricInterpretation, made.Rows, made.Columns = 1, "MONOCHROME2", SIDE, SIDE
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 16, 12, 11, 0
    made.RescaleSlope, made.RescaleIntercept, made.RescaleType = "1", "-1024", "HU"
    made.PixelData = np.zeros((SIDE, SIDE), np.uint16).tobytes()
    return made


def by_pydicom(files: list[Path]) -> None:
    """Headers as most programs read them: all attributes parsed, the needed ones converted."""
    tags = [tag for tag in WANTED if (tag >> 16) % 2 == 0]
    for file in files:
        dataset = pydicom.dcmread(file, stop_before_pixels=True)
        for tag in tags:
            if tag in dataset:
                _ = dataset[tag].value


def headers_only(found: list[Candidate]) -> None:
    """The header pass, without the search, the cache and the decisions."""
    places = Places()
    for candidate in found:
        assert isinstance(read_headers(places, candidate), list)


def timed(name: str, count: int, work: Callable[[], Any], times: int = 3) -> None:
    """Print slices a second, of wall time and of this process's CPU time."""
    best = (float("inf"), 0.0)
    for _ in range(times):
        began, cpu = time.perf_counter(), time.process_time()
        work()
        best = min(best, (time.perf_counter() - began, time.process_time() - cpu))
    print(f"{name:<46} {best[0]:7.2f} s {count / best[0]:9.0f} slices/s   {1e3 * best[1] / count:6.3f} ms CPU each")


def main(series: int, slices: int) -> None:
    """Print all of it."""
    cores = processors()
    print(f"{platform.processor() or platform.machine()}, {cores} cores, Python {platform.python_version()}", end=", ")
    print(f"pydicom {pydicom.__version__}; {series} series × {slices} slices")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "archive"
        make_archive(folder, series, slices)
        files, count = sorted(folder.rglob("IM*")), series * slices
        search = Search(Places(), RASTER_SUFFIXES).candidates(locate(str(folder)))
        candidates = [each for each in search if isinstance(each, Candidate)]
        timed("pydicom.dcmread to the pixels, 1 process", count, lambda: by_pydicom(files), 1)
        timed("header pass alone, 1 process", count, lambda: headers_only(candidates))
        fresh = iter(range(100))

        def whole(processes: int) -> None:
            crosswalk = Crosswalk.open(f"{scratch}/crosswalk{next(fresh)}")
            assert len(catalog_dicom([str(folder)], crosswalk, processes).sources) == series

        timed("whole catalog, 1 process", count, lambda: whole(1))
        timed(f"whole catalog, {cores} processes", count, lambda: whole(cores))
        known = Crosswalk.open(f"{scratch}/crosswalk0")
        timed("again, every header known, 1 process", count, lambda: catalog_dicom([str(folder)], known, 1))
        mix(files, folder)
        dicom_batches.BATCH_FRAMES = max(count // 20, 1)
        timed("mixed at random, headers moved, 1 process", count, lambda: whole(1))
        timed(f"mixed at random, headers moved, {cores} processes", count, lambda: whole(cores))
        dicom_batches.MIXED = 10**9
        timed("mixed at random, not moved, 1 process", count, lambda: whole(1), 1)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20, int(sys.argv[2]) if len(sys.argv) > 2 else 300)

"""An archive as hospitals leave them: many series of several kinds, identities in attributes, file and folder names."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tests.dicom_files import SENTINEL, UID_ROOT
from tests.dicom_variants import make

KINDS = (
    *("reversed_normal", "missing_slices", "gantry_tilt", "identical_pixels", "two_phases"),
    *("missing_position", "duplicate_positions"),
    *("truncated_file", "truncated_header", "zero_byte_file", "no_preamble"),
    *("pet", "enhanced_ct", "j2k_sign_mismatch", "with_other_objects"),
)

IDENTITIES = re.compile(
    rb"(?i)" + SENTINEL.encode() + rb"|" + re.escape(UID_ROOT.encode()) + rb"|Muster|Klinik|ACC4711"
    rb"|(?<![0-9a-f])(?:19500203|20210305|1950-02-03|2021-03-05)(?![0-9a-f])"
)
"""What no run may leave behind: the planted word, original UIDs, and what `tests.dicom_files` puts into attributes."""

_OF_STUDIES = re.compile(re.escape(UID_ROOT.encode()) + rb"[0-9.]+")


def patients_archive(folder: Path) -> Path:
    """Write it; returns its top folder, which is named after a patient. Each kind is a study of its own."""
    top = folder / f"{SENTINEL}^Erika"
    for number, kind in enumerate(KINDS):
        made, _ = make(kind, top / f"{SENTINEL} {kind}", word=SENTINEL)
        _renumber(made.folder, number)
        if kind == "j2k_sign_mismatch":
            _spoil(made.folder)
    _zipped(top)
    _picture(top)
    (top / f"{SENTINEL}.txt").write_text(f"letter about {SENTINEL}")
    (top / f"{SENTINEL}.dcm").write_text(f"no DICOM: {SENTINEL}")
    (top / f"{SENTINEL}.zip").write_bytes(b"PK\x03\x04 torn")
    return top


def _spoil(folder: Path) -> None:
    """Make the last compressed bytes of every file wrong, so that decoders complain."""
    for file in folder.rglob("*"):
        if file.is_file():
            data = bytearray(file.read_bytes())
            data[-400:-100] = b"\xff\x4f" * 150
            file.write_bytes(data)


def _renumber(folder: Path, number: int) -> None:
    """Other UIDs of the same length, so that the studies are apart even where files are damaged."""

    def other(found: re.Match[bytes]) -> bytes:
        return found[0][:-2] + f"{number + 11:02d}".encode()

    for file in folder.rglob("*"):
        if file.is_file():
            file.write_bytes(_OF_STUDIES.sub(other, file.read_bytes()))


def _zipped(top: Path) -> None:
    made, _ = make("coronal", top / "unpacked", word=SENTINEL)
    _renumber(made.folder, len(KINDS))
    with zipfile.ZipFile(top / f"{SENTINEL} export.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for file in made.files:
            archive.write(file, f"{SENTINEL} in zip/{file.name}")
            file.unlink()


def _picture(top: Path) -> None:
    """A screen shot that lies beside the slices."""
    told = PngInfo()
    told.add_text("Title", SENTINEL)
    Image.new("L", (64, 64), 200).save(top / f"{SENTINEL} screen.png", pnginfo=told)

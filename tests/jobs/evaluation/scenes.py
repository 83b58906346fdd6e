"""A scene with true objects and a run that is partly wrong about them; its truth in every format."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import rasterio
import shapely
from numpy.typing import NDArray
from PIL import Image
from rasterio.errors import NotGeoreferencedWarning
from rasterio.transform import Affine

from schemas.boxes import Box
from schemas.masks import bbox
from schemas.rle import coco_counts, coco_rle_string
from segworkers.polygons import polygons
from segworkers.runs import label_runs
from tests.runs import run, user_model

WHERE: dict[str, Any] = {"crs": "EPSG:32632", "transform": Affine(0.5, 0, 650_000, 0, -0.5, 5_330_000)}
SIDE = 260


def true_labels(seed: int = 1, side: int = SIDE, count: int = 60) -> NDArray[np.uint16]:
    """(y, x) rectangles and rings of several sizes that do not overlap."""
    rng = np.random.default_rng(seed)
    image = np.zeros((side, side), np.uint16)
    for number in range(1, count + 1):
        y, x = rng.integers(0, side - 4, 2)
        h, w = rng.integers(4, 40, 2)
        part = image[y : y + h, x : x + w]
        if not part.any():
            part[...] = number
            if min(part.shape) > 12:
                part[5:-5, 5:-5] = 0
    return image


def found_labels(truth: NDArray[np.uint16], seed: int = 2) -> NDArray[np.uint16]:
    """What a model makes of it: some are moved, some are missing, one is not there."""
    rng = np.random.default_rng(seed)
    found = np.zeros_like(truth)
    for number in np.unique(truth)[1:]:
        if rng.random() < 0.8:
            moved = np.roll(truth == number, tuple(rng.integers(-1, 2, 2)), (0, 1))
            found[moved & (found == 0)] = number
    found[200:210, 5:25] = 999
    return found


def write_raster(path: Path, image: NDArray[Any], **profile: Any) -> Path:
    """A GeoTIFF of one band."""
    height, width = image.shape
    profile |= {"driver": "GTiff", "height": height, "width": width, "count": 1, "dtype": image.dtype}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, "w", **profile) as file:
            file.write(image, 1)
    return path


def segmented(folder: Path, images: Mapping[str, NDArray[Any]], classes: int = 1, **sets: Any) -> Path:
    """OUT of a run over images whose pixel values are what the model finds."""
    (folder / "images").mkdir(parents=True)
    place = sets.pop("where", WHERE)
    paths = [write_raster(folder / "images" / name, image, **place) for name, image in images.items()]
    run(paths, folder / "out", user_model("Oracle"), {"classes": classes, "side": 320}, **sets)
    return folder / "out"


def shapes_of(labels: NDArray[Any]) -> tuple[list[int], NDArray[Any]]:
    """Values and their pixel-edge polygons."""
    values, compact = np.unique(labels, return_inverse=True)
    table = label_runs(compact.reshape(1, *labels.shape), (0, 0, 0))
    return values[1:].tolist(), polygons(table.runs, table.offsets(len(values) - 1))


def coco_of(images: Mapping[str, NDArray[Any]], kind: str, **extra: Any) -> dict[str, Any]:
    """COCO annotations; kind: `string`, `counts`, `polygon` (without holes) or `box`."""
    annotations: list[dict[str, Any]] = []
    for number, labels in enumerate(images.values()):
        height, width = labels.shape
        whole = Box.of_shape((1, height, width))
        for value, shape in zip(*shapes_of(labels), strict=True):
            runs = label_runs((labels == value).astype(np.uint8)[None], (0, 0, 0)).runs
            box = bbox(runs)
            assert box is not None
            one: dict[str, Any] = {
                "id": len(annotations) + 1,
                "image_id": number,
                "category_id": 7,
                "bbox": [box.start[2], box.start[1], box.shape[2], box.shape[1]],
            }
            if kind == "string":
                one["segmentation"] = {"size": [height, width], "counts": coco_rle_string(runs, whole).decode()}
            elif kind == "counts":
                one["segmentation"] = {"size": [height, width], "counts": coco_counts(runs, whole).tolist()}
            elif kind == "polygon":
                parts = shapely.get_parts(shape)
                one["segmentation"] = [np.array(part.exterior.coords)[:-1].ravel().tolist() for part in parts]
            annotations.append(one)
    listed = [
        {"id": k, "file_name": name, "height": labels.shape[0], "width": labels.shape[1]}
        for k, (name, labels) in enumerate(images.items())
    ]
    return {"images": listed, "annotations": annotations, "categories": [{"id": 7, "name": "class_0"}], **extra}


def frame_of(labels: NDArray[Any], crs: str | None = None) -> geopandas.GeoDataFrame:
    """The objects as polygons on the map; crs: None leaves them in pixels."""
    values, shapes = shapes_of(labels)
    if crs is None:
        return geopandas.GeoDataFrame({"number": values}, geometry=list(shapes))
    a, b, c, d, e, f = tuple(WHERE["transform"])[:6]
    world = shapely.transform(shapes, lambda xy: xy @ np.array([[a, d], [b, e]]) + (c, f))
    return geopandas.GeoDataFrame({"number": values}, geometry=list(world), crs=WHERE["crs"]).to_crs(crs)


def write_truth(folder: Path, kind: str, labels: NDArray[Any]) -> Path:
    """The truth of `scene.tif` in a format."""
    if kind == "tiff32":
        return write_raster(folder / "scene.tif", labels.astype(np.uint32))
    if kind == "png16":
        Image.fromarray(labels.astype(np.uint16)).save(folder / "scene_labels.png")
        return folder / "scene_labels.png"
    if kind.startswith("coco"):
        path = folder / "annotations.json"
        path.write_text(json.dumps(coco_of({"scene.tif": labels}, kind.removeprefix("coco "))))
        return path
    if kind == "geojson":
        path = folder / "truth.geojson"
        frame_of(labels, "OGC:CRS84").to_file(path, driver="GeoJSON", COORDINATE_PRECISION=10)
        return path
    if kind == "geojson utm":
        path = folder / "truth.json"
        frame_of(labels, "EPSG:32632").to_file(path, driver="GeoJSON")
        return path
    assert kind == "gpkg"
    path = folder / "truth.gpkg"
    frame_of(labels, "EPSG:3857").to_file(path, driver="GPKG")
    return path

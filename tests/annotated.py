"""Folders of annotated discs: easy to learn, and exactly known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Disc = tuple[float, float, float]
"""Row, column and radius in pixel corners."""


def discs(rng: np.random.Generator, side: int = 128, most: int = 9) -> list[Disc]:
    """Discs of 7 to 12 px apart from each other and from the border."""
    placed: list[Disc] = []
    for _ in range(200):
        r = rng.uniform(7, 12)
        y, x = rng.uniform(r + 1, side - r - 1, 2)
        if len(placed) < most and all((y - a) ** 2 + (x - b) ** 2 > (r + c + 3) ** 2 for a, b, c in placed):
            placed.append((float(y), float(x), float(r)))
    return placed


def drawn(placed: list[Disc], rng: np.random.Generator, side: int = 128) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """The picture (y, x) and the instance map."""
    rows, columns = np.mgrid[:side, :side] + 0.5
    image, labels = rng.normal(30, 6, (side, side)), np.zeros((side, side), np.int32)
    for number, (y, x, r) in enumerate(placed, start=1):
        inside = (rows - y) ** 2 + (columns - x) ** 2 < r * r
        image[inside] += rng.uniform(90, 160)
        labels[inside] = number
    return np.clip(image, 0, 255).astype(np.uint8), labels


def ring(disc: Disc) -> list[list[float]]:
    """The outline as closed (x, y) pairs."""
    y, x, r = disc
    angles = np.linspace(0, 2 * np.pi, 33)
    return np.stack([x + r * np.cos(angles), y + r * np.sin(angles)], 1).round(3).tolist()


def coco(names: list[str], objects: list[list[Disc]], classes: list[list[int]], side: int = 128) -> dict[str, Any]:
    """A COCO document; categories are `small` (1) and `large` (2)."""
    annotations = [
        {
            "id": 100 * image + k,
            "image_id": image,
            "category_id": classes[image][k],
            "iscrowd": 0,
            "segmentation": [np.array(ring(disc)).ravel().tolist()],
        }
        for image, placed in enumerate(objects)
        for k, disc in enumerate(placed)
    ]
    return {
        "images": [{"id": k, "file_name": name, "height": side, "width": side} for k, name in enumerate(names)],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "small"}, {"id": 2, "name": "large"}],
    }


def write_discs(folder: Path, images: int = 4, *, kind: str = "coco", side: int = 128) -> list[NDArray[np.int32]]:
    """A folder of annotated images; returns their instance maps. kind: `coco`, `geojson` or `labels`."""
    rng = np.random.default_rng(5)
    (folder / "images").mkdir(parents=True)
    objects = [discs(rng, side) for _ in range(images)]
    names, maps = [f"plate_{k}.png" for k in range(images)], list[NDArray[np.int32]]()
    for name, placed in zip(names, objects, strict=True):
        picture, labels = drawn(placed, rng, side)
        Image.fromarray(picture).save(folder / "images" / name)
        maps.append(labels)
    if kind == "coco":
        body = coco(names, objects, [[1] * len(placed) for placed in objects], side)
        (folder / "annotations.json").write_text(json.dumps(body))
    for name, placed, labels in zip(names, objects, maps, strict=True):
        stem = name.removesuffix(".png")
        if kind == "geojson":
            (folder / f"{stem}.geojson").write_text(json.dumps(geojson(placed)))
        if kind == "labels":
            Image.fromarray(labels.astype(np.uint16)).save(folder / f"{stem}_labels.tif")
    return maps


def geojson(placed: list[Disc]) -> dict[str, Any]:
    """Polygons in pixel coordinates, for images without georeference."""
    return {
        "type": "FeatureCollection",
        "features": [
            {
                "type": "Feature",
                "properties": {"label": "small"},
                "geometry": {"type": "Polygon", "coordinates": [ring(disc)]},
            }
            for disc in placed
        ],
    }

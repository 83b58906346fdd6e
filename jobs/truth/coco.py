"""COCO JSON: polygons, run lengths and boxes of the annotated images, found by their file names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from jobs.truth.base import ShapeTruth, Target, TruthItem
from jobs.truth.files import TruthFile
from schemas.boxes import Box
from schemas.errors import SpecError
from schemas.masks import Runs
from schemas.rle import from_coco_counts, from_coco_rle


class CocoFile:
    """One annotation file. Its text is held as a whole, masks are made of one image at a time."""

    def __init__(self, file: TruthFile, body: Mapping[str, Any], *, boxes_only: bool) -> None:
        """boxes_only: segmentations are not looked at. Raises SpecError where the file is not what COCO describes."""
        self._name, self._discreet, self._boxes_only = file.name, file.is_discreet, boxes_only
        try:
            self._images = {image["id"]: image for image in body["images"]}
            self._classes = {each["id"]: str(each["name"]) for each in body.get("categories", ())}
            self._annotations: dict[Any, list[Mapping[str, Any]]] = {key: [] for key in self._images}
            for annotation in body["annotations"]:
                self._annotations[annotation["image_id"]].append(annotation)
        except (KeyError, TypeError, AttributeError) as error:
            raise SpecError(
                f"{file.name}: expected COCO's images with id and file_name, and annotations with image_id: {error!r}"
            ) from error

    def pair(self, targets: Sequence[Target]) -> tuple[dict[str, Any], list[str]]:
        """Image ids by source_id, and the file names that no source has.

        A source is meant whose file name is that of the image, or whose URI ends in it. Raises SpecError where several
        sources, or several images, fit.
        """
        found: dict[str, Any] = {}
        unused: list[str] = []
        for key, image in self._images.items():
            name = str(image.get("file_name", key))
            ends = [each for each in targets if each.uri == name or each.uri.endswith(f"/{name}")]
            fits = ends or [each for each in targets if each.name == name.rsplit("/", 1)[-1]]
            if not fits:
                unused.append(f"an image of {self._name}" if self._discreet else name)
                continue
            if len(fits) > 1 or fits[0].source_id in found:
                called = f"of id {key}" if self._discreet else name
                raise SpecError(
                    f"{self._name}: the image {called} fits several sources of the run, or the other way round"
                )
            found[fits[0].source_id] = key
        return found, unused

    def truth(self, key: Any, target: Target) -> ShapeTruth:
        """The objects of one image. Raises SpecError where its size or an annotation does not fit."""
        image = self._images[key]
        _, height, width = target.shape
        told = (image.get("height", height), image.get("width", width))
        if told != (height, width):
            raise SpecError(
                f"{self._name}: the image {target.name} is annotated as {told[0]} x {told[1]} pixels (rows x columns), "
                f"the run has {height} x {width}; annotate the pixels that were segmented"
            )
        items: list[TruthItem] = []
        shapes: list[tuple[Any, ...] | Runs] = []
        bounds: list[NDArray[np.float64]] = []
        for annotation in self._annotations[key]:
            shape = () if self._boxes_only else self._shape(annotation, height, width)
            bounds.append(_bounds(annotation, shape))
            items.append(self._item(annotation, bounds[-1]))
            shapes.append(shape)
        return ShapeTruth(tuple(items), tuple(shapes), np.array(bounds, np.float64).reshape(-1, 4))

    def _item(self, annotation: Mapping[str, Any], bounds: NDArray[np.float64]) -> TruthItem:
        x0, y0, x1, y1 = (float(value) for value in bounds)
        category = annotation.get("category_id")
        return TruthItem(
            name=str(annotation.get("id", "")),
            label=None if category is None else self._classes.get(category, str(category)),
            crowd=bool(annotation.get("iscrowd", 0)),
            box=(0.0, y0, x0, 1.0, y1, x1) if self._boxes_only else None,
        )

    def _shape(self, annotation: Mapping[str, Any], height: int, width: int) -> tuple[Any, ...] | Runs:
        import shapely

        code = annotation.get("segmentation")
        whole = Box.of_shape((1, height, width))
        try:
            if isinstance(code, dict):
                return _decoded(cast("Mapping[str, Any]", code), whole)
            if code:
                rings = [np.asarray(ring, np.float64).reshape(-1, 2) for ring in code]
                return tuple(shapely.Polygon(ring) for ring in rings if len(ring) > 2)
        except (ValueError, KeyError, TypeError) as error:
            raise SpecError(f"{self._name}: the segmentation of annotation {annotation.get('id')}: {error}") from error
        raise SpecError(
            f"{self._name}: annotation {annotation.get('id')} has no segmentation; to compare boxes only add --boxes"
        )


def _decoded(rle: Mapping[str, Any], whole: Box) -> Runs:
    """Raises ValueError, KeyError or TypeError where it is not one of an image of this size."""
    size = [whole.shape[1], whole.shape[2]]
    if list(rle.get("size", size)) != size:
        raise ValueError(f"is of {rle['size']} pixels (rows, columns), its image has {size}")
    counts = rle["counts"]
    return from_coco_rle(counts, whole) if isinstance(counts, str | bytes) else from_coco_counts(counts, whole)


def _bounds(annotation: Mapping[str, Any], shape: tuple[Any, ...] | Runs) -> NDArray[np.float64]:
    """x0, y0, x1, y1 of the shape, or of the box where there is none."""
    if isinstance(shape, np.ndarray):
        if not len(shape):
            return np.zeros(4)
        return np.array([shape[:, 1].min(), shape[:, 2].min(), shape[:, 1].max() + 1, shape[:, 3].max()], np.float64)
    if shape:
        rings = np.array([each.bounds for each in shape])
        return np.concatenate([rings[:, :2].min(axis=0), rings[:, 2:].max(axis=0)])
    x, y, width, height = (float(value) for value in annotation.get("bbox") or (0, 0, 0, 0))
    return np.array([x, y, x + width, y + height])

from __future__ import annotations

import numpy as np
import shapely
from hypothesis import given
from hypothesis import strategies as st

from schemas.boxes import Box
from schemas.masks import canonical, clip, to_array
from segworkers.polygons import polygons
from segworkers.readers.polygon_masks import polygon_runs
from tests.segworkers.evaluation.worlds import label_images, table

_PLACES = st.integers(-40, 160).map(lambda value: value / 8 + 0.03)


@given(label_images(side=12))
def test_polygons_along_pixel_edges_give_back_their_pixels(image: np.ndarray):
    masks = table(image)
    count = int(image.max())
    for k, shape in enumerate(polygons(masks.runs, masks.offsets(count))):
        runs = polygon_runs([shape], Box.of_shape((1, 12, 12)))
        np.testing.assert_array_equal(to_array(runs, Box.of_shape((1, 12, 12))), image == k + 1)


@given(st.lists(st.tuples(_PLACES, _PLACES), min_size=3, max_size=6), st.integers(1, 11), st.integers(1, 11))
def test_parts_of_a_polygon_in_neighbouring_boxes_fit_together(points: list, y: int, x: int):
    shape = shapely.convex_hull(shapely.MultiPoint(points))
    if shape.geom_type != "Polygon":
        return
    whole = polygon_runs([shape], Box.of_shape((1, 12, 12)))
    parts = [
        polygon_runs([shape], Box((0, a, b), (1, c, d)))
        for a, c in ((0, y), (y, 12)) for b, d in ((0, x), (x, 12))
    ]  # fmt: skip
    np.testing.assert_array_equal(canonical(np.concatenate(parts)), whole)
    centres = shapely.points(*(np.indices((12, 12))[::-1] + 0.5))
    clear = shapely.distance(shape.exterior, centres) > 1e-9  # an edge through a centre may fall either way
    mask = to_array(whole, Box.of_shape((1, 12, 12)))[0]
    np.testing.assert_array_equal(mask[clear], shapely.contains(shape, centres)[clear])


def test_the_union_of_polygons_without_their_holes():
    ring = shapely.Polygon([(1, 1), (9, 1), (9, 9), (1, 9)], [[(3, 3), (7, 3), (7, 7), (3, 7)]])
    box = Box.of_shape((1, 12, 12))
    mask = to_array(polygon_runs([ring, shapely.box(8, 8, 40, 40)], box), box)[0]
    assert mask.sum() == 64 - 16 + 16 - 1 and not mask[3:7, 3:7].any() and mask[11, 11]
    assert not len(polygon_runs([], box)) and not len(polygon_runs([shapely.box(30, 30, 40, 40)], box))
    assert not len(clip(polygon_runs([shapely.Polygon()], box), box))

"""Plane worlds: what aerial images and microscopes show, with exact truth.

Objects keep their size in pixels whatever the image's side; images of less than about 300 px may be empty of the
larger kinds.
"""

from __future__ import annotations

from math import ceil, pi

import numpy as np
from numpy.typing import NDArray

from benchmarks.seams.canvas import Canvas, Floats, Frame, Rect, circles
from benchmarks.seams.cases import World

LINE_PIECE = 40
"""Pixels of the smallest piece of a line that counts: two lines that cross at a flat angle leave crumbs."""


def sparse_cars(rng: np.random.Generator, side: int) -> World:
    """Cars of about 16 x 36 px at any angle, scattered; one class."""
    canvas = Canvas((1, side, side))
    _scatter(canvas, rng, max(3, round((side / 75) ** 2)), (16, 36), 0)
    return canvas.finish("sparse_cars")


def car_parks(rng: np.random.Generator, side: int) -> World:
    """Packed rows of 12 x 26 px cars in lots at any angle, 0 to 3 px apart: some touch; one class."""
    canvas = Canvas((1, side, side))
    for lot in circles(rng, side, (60, 260), 0.7):
        _lot(canvas, rng, lot, 0)
    return canvas.finish("car_parks")


def row_houses(rng: np.random.Generator, side: int) -> World:
    """Rows of 30 x 45 px houses that share their walls, some rows back to back; one class."""
    canvas = Canvas((1, side, side))
    for y, x, r in circles(rng, side, (90, 400), 0.75):
        frame, half, v = Frame(y, x, rng.uniform(0, pi)), r / 2**0.5, -r / 2**0.5
        while v + 45 <= half:
            u = -half + rng.uniform(0, 40)
            while u + 30 <= half:
                width = rng.uniform(26, 34)
                if rng.random() > 0.06:
                    canvas.rects(frame, [(u, u + width, v, v + 45)], 0, room=0.9)
                u += width
            v += 45 + (0 if rng.random() < 0.35 else rng.uniform(10, 25))
    return canvas.finish("row_houses")


def buildings(rng: np.random.Generator, side: int) -> World:
    """Rectangles, L and T shapes of 60 to 400 px at any angle; one class."""
    canvas = Canvas((1, side, side))
    _buildings(canvas, rng, max(3, round((side / 130) ** 2)), 0)
    return canvas.finish("buildings")


def roads_rivers(rng: np.random.Generator, side: int) -> World:
    """Wandering lines 3 to 14 px wide, 500 px to longer than the image, of two classes.

    A line that meets an earlier one is cut by it; its pieces are objects of their own. A line that meets itself is
    one object with a hole.
    """
    canvas = Canvas((1, side, side))
    _lines(canvas, rng, max(4, round(24 * (side / 2048) ** 2)), (0, 1))
    return canvas.finish("roads_rivers", LINE_PIECE)


def cells(rng: np.random.Generator, side: int) -> World:
    """A tissue of cells about 28 px wide that leaves no background: the Voronoi cells of a jittered hexagonal grid."""
    canvas, pitch = Canvas((1, side, side)), 28.0
    rows, columns = ceil(side / (pitch * 0.75**0.5)) + 3, ceil(side / pitch) + 3
    i, j = np.mgrid[-1 : rows - 1, -1 : columns - 1].reshape(2, -1)
    seeds = np.stack([i * pitch * 0.75**0.5, (j + i % 2 / 2) * pitch], 1) + rng.normal(0, 0.18 * pitch, (len(i), 2))
    nearest, reach = np.full((side, side), np.inf), ceil(1.3 * pitch)
    for y, x in seeds:
        y0, y1 = max(int(y) - reach, 0), min(int(y) + reach + 1, side)
        x0, x1 = max(int(x) - reach, 0), min(int(x) + reach + 1, side)
        if y0 < y1 and x0 < x1:
            distance = (np.arange(y0, y1)[:, None] - y) ** 2 + (np.arange(x0, x1) - x) ** 2
            closer = distance < nearest[y0:y1, x0:x1]
            nearest[y0:y1, x0:x1][closer] = distance[closer]
            canvas.ids[0, y0:y1, x0:x1][closer] = canvas.new(0)
    return canvas.finish("cells")


def nested(rng: np.random.Generator, side: int) -> World:
    """Rings in rings in rings of alternating classes (0, 1), and courtyards (2) with cars in them (3)."""
    canvas = Canvas((1, side, side))
    for y, x, r in circles(rng, side, (24, 330), 0.75):
        frame = Frame(y, x, rng.uniform(0, pi))
        if rng.random() < 0.5 or r < 45:
            _rings(canvas, rng, frame, r)
        else:
            _courtyard(canvas, rng, frame, r)
    return canvas.finish("nested")


def mixed(rng: np.random.Generator, side: int) -> World:
    """Roads (0), buildings (1), car parks and scattered cars (2) and lorries (3) in between.

    Roads come first: only other roads cut them. Cars stand where all of them fits.
    """
    canvas = Canvas((1, side, side))
    _lines(canvas, rng, max(2, round(10 * (side / 2048) ** 2)), (0,))
    _buildings(canvas, rng, max(2, round((side / 220) ** 2)), 1)
    for lot in circles(rng, side, (60, 160), 0.2):
        _lot(canvas, rng, lot, 2)
    _scatter(canvas, rng, max(2, round((side / 110) ** 2)), (16, 36), 2)
    _scatter(canvas, rng, max(2, round((side / 250) ** 2)), (22, 90), 3)
    return canvas.finish("mixed", LINE_PIECE)


def _scatter(canvas: Canvas, rng: np.random.Generator, count: int, size: tuple[float, float], label: int) -> None:
    for y, x, angle in rng.uniform(0, 1, (count, 3)) * np.array([*canvas.ids.shape[1:], pi]):
        w, h = np.array(size) * rng.uniform(0.85, 1.15, 2) / 2
        canvas.rects(Frame(y, x, angle), [(-w, w, -h, h)], label)


def _lot(canvas: Canvas, rng: np.random.Generator, lot: tuple[float, float, float], label: int) -> None:
    """The square in a circle, filled with rows of cars, two rows to an alley."""
    y, x, r = lot
    frame, half, v, row = Frame(y, x, rng.uniform(0, pi)), r / 2**0.5, -r / 2**0.5, 0
    while v + 26 <= half:
        u = -half
        while u + 12 <= half:
            if rng.random() > 0.1:
                canvas.rects(frame, [(u, u + 12, v, v + 26)], label)
            u += 12 + int(rng.integers(0, 4))
        row += 1
        v += 26 + (int(rng.integers(0, 4)) if row % 2 else 30)


def _buildings(canvas: Canvas, rng: np.random.Generator, count: int, label: int) -> None:
    _, height, width = canvas.ids.shape
    for y, x, angle in rng.uniform(0, 1, (count, 3)) * np.array([height, width, pi]):
        a = float(60 * (400 / 60) ** rng.random())
        b = float(np.clip(a * rng.uniform(0.4, 1), 60, 400))
        u, v = a / 2, b / 2
        wing, cross = b * rng.uniform(0.3, 0.5), a * rng.uniform(0.25, 0.45)
        kind = int(rng.integers(3))
        rects: list[Rect] = [(-u, u, -v, v)]
        if kind == 1:
            rects = [(-u, u, -v, -v + wing), (-u, -u + cross, -v, v)]
        if kind == 2:
            rects = [(-u, u, -v, -v + wing), (-cross / 2, cross / 2, -v, v)]
        canvas.rects(Frame(y, x, angle), rects, label)


def _lines(canvas: Canvas, rng: np.random.Generator, count: int, labels: tuple[int, ...]) -> None:
    side = canvas.ids.shape[1]
    for k in range(count):
        length = int(500 * (max(3 * side, 1000) / 500) ** rng.random())
        heading = rng.uniform(0, 2 * pi) + np.cumsum(rng.normal(0, 0.025, length))
        path = np.zeros((length, 3))
        path[:, 1:] = np.cumsum(np.stack([np.sin(heading), np.cos(heading)], 1), 0)
        path[:, 1:] += rng.uniform(0, side, 2) - path[int(rng.integers(length)), 1:]
        canvas.tube(path, rng.uniform(3, 14) / 2, canvas.new(labels[k % len(labels)]))


def _rings(canvas: Canvas, rng: np.random.Generator, frame: Frame, radius: float) -> None:
    aspect, r, level = float(rng.uniform(0.65, 1)), radius, 0
    while r > 4:
        inner = r - rng.uniform(7, 24)
        if inner < 6:
            inner = 0.0

        def inside(u: Floats, v: Floats, outer: float = r, hole: float = inner) -> NDArray[np.bool_]:
            d = np.hypot(u, np.divide(v, aspect))
            return (d >= hole) & (d < outer)

        canvas.shape(frame, (-r, r, -r, r), inside, level % 2)
        r, level = inner - float(rng.choice([0, 2, 5, 9])), level + 1


def _courtyard(canvas: Canvas, rng: np.random.Generator, frame: Frame, radius: float) -> None:
    u, v = radius * 0.8, radius * 0.58
    wall = rng.uniform(0.12, 0.22) * radius
    spans: list[tuple[float, float]] = [(-u + wall, u - wall)]
    if rng.random() < 0.5:
        spans = [(-u + wall, -wall / 2), (wall / 2, u - wall)]

    def inside(a: Floats, b: Floats) -> NDArray[np.bool_]:
        hole = np.logical_or.reduce([(a >= s) & (a < t) for s, t in spans]) & (np.abs(b) < v - wall)
        return (np.abs(a) < u) & (np.abs(b) < v) & ~hole

    canvas.shape(frame, (-u, u, -v, v), inside, 2)
    for s, t in spans:
        for _ in range(int(rng.integers(1, 7))):
            y, x = frame.place(rng.uniform(s, t), rng.uniform(-1, 1) * (v - wall))
            canvas.rects(Frame(y, x, rng.uniform(0, pi)), [(-6, 6, -13, 13)], 3)

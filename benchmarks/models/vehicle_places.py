"""What is built on the ground of a scene: roads, car parks, roofs and clutter, and the vehicles between them."""

# scipy.ndimage has no complete types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import math
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.models.vehicle_drawing import FINE, Floats, Kind, Vehicle, draw_shadow, draw_vehicle, paint
from benchmarks.models.vehicle_trees import plant_trees

Rng = np.random.Generator
PAINTS = ((0.06, 0.2), (0.2, 0.45), (0.45, 0.9), (0.9, 1.8))
"""Spans of reflectance: black, dark, grey or coloured, white or silver."""
SHARES = (0.3, 0.2, 0.2, 0.3)
TREES = 0.6
"""Share of scenes with drawn trees."""


class Builder:
    """Draws a scene in place, in the order in which things lie upon each other; never two vehicles in one place."""

    def __init__(self, image: Floats, rng: Rng) -> None:
        """image: (y, x) ground at `FINE` metres per pixel, which is changed."""
        self.image = image
        self.vehicles = list[Vehicle]()
        self._rng = rng
        self._taken = np.zeros(image.shape, np.uint8)
        self._side = image.shape[0] * FINE
        self._sun = rng.uniform(0, 2 * math.pi)
        self._slope = rng.uniform(0.2, 1.5)
        self._depth = rng.uniform(0.35, 0.75)

    def build(self) -> None:
        """Everything."""
        rng = self._rng
        for _ in range(rng.integers(0, 3)):
            self._road()
        for _ in range(rng.integers(0, 3)):
            self._car_park()
        for _ in range(rng.integers(0, 5)):
            self._path()
        for _ in range(rng.integers(0, 7)):
            self._roof()
        for _ in range(rng.integers(0, 35)):
            self._clutter()
        for _ in range(rng.integers(0, 6)):
            self._try_vehicle(rng.uniform(0, self._side), rng.uniform(0, self._side), rng.uniform(0, 2 * math.pi))
        for vehicle in self.vehicles:
            height = {"car": 1.4, "van": 2.2, "lorry": 3.2}[vehicle.kind] * self._slope
            draw_shadow(self.image, vehicle, (height * math.sin(self._sun), height * math.cos(self._sun)), self._depth)
        for vehicle in self.vehicles:
            draw_vehicle(self.image, vehicle, float(rng.uniform(-0.35, 0.35)))
        if rng.random() < TREES:
            sun = (self._slope * math.sin(self._sun), self._slope * math.cos(self._sun))
            plant_trees(self.image, self._taken, sun, self._depth, rng)

    def _paint(
        self, y: float, x: float, angle: float, sides: tuple[float, float], value: float, *, multiply: bool = False
    ) -> None:
        """Metres."""
        radius = min(0.15, *sides)
        paint(
            self.image, (y / FINE, x / FINE), angle, (sides[0] / FINE, sides[1] / FINE), radius / FINE, value, multiply
        )

    def _surface(self, y: float, x: float, angle: float, sides: tuple[float, float]) -> None:
        """Asphalt or concrete: even, with stains and grain."""
        mask = np.zeros(self.image.shape, np.float32)
        paint(mask, (y / FINE, x / FINE), angle, (sides[0] / FINE, sides[1] / FINE), 0.0, 1.0, False)
        level = self._rng.uniform(0.12, 0.65)
        texture = 1 + self._noise(32, 0.12) + self._noise(4, 0.05)
        own = np.asarray(self.image / max(float(self.image.mean()), 0.05), np.float32)
        keep = self._rng.uniform(0, 0.35)
        surface = level * texture * ((1 - keep) + keep * np.clip(own, 0.3, 1.5))
        self.image[...] = np.where(mask > 0, surface, self.image)

    def _noise(self, coarse: int, strength: float) -> Floats:
        side = self.image.shape[0]
        small = self._rng.normal(0, self._rng.uniform(0, strength), (side // coarse + 2,) * 2)
        large = cast("Any", ndimage.zoom)(small, coarse, order=1)
        return np.asarray(large[:side, :side], np.float32)

    def _road(self) -> None:
        rng = self._rng
        angle, width = rng.uniform(0, math.pi), rng.uniform(5, 12)
        y, x = rng.uniform(0.2, 0.8, 2) * self._side
        self._surface(y, x, angle, (3 * self._side, width))
        across = (math.cos(angle), -math.sin(angle))
        if rng.random() < 0.5:
            for t in np.arange(-self._side, self._side, rng.uniform(6, 12)):
                self._paint(y + t * math.sin(angle), x + t * math.cos(angle), angle, (3, 0.15), rng.uniform(0.8, 1.4))
        for side in (-1, 1):
            parked, reach = rng.random() < 0.5, width / 2 - 1.1
            t = -self._side
            while t < self._side:
                t += rng.uniform(5.0, 6.5) if parked else rng.exponential(20) + 6
                if parked and rng.random() < 0.3:
                    continue
                offset = side * (reach if parked else width / 4) + rng.normal(0, 0.15)
                cy, cx = y + t * math.sin(angle) + offset * across[0], x + t * math.cos(angle) + offset * across[1]
                self._try_vehicle(cy, cx, angle + rng.normal(0, 0.03) + (math.pi if side > 0 else 0))

    def _car_park(self) -> None:
        rng = self._rng
        angle, pitch = rng.uniform(0, math.pi), rng.uniform(2.3, 2.9)
        count, rows = int(rng.integers(4, 16)), int(rng.integers(1, 5))
        y, x = rng.uniform(0.15, 0.85, 2) * self._side
        gap, filled = rng.uniform(5.2, 7.5), rng.uniform(0.3, 1.0)
        self._surface(y, x, angle, (count * pitch + 4, rows * gap + 6))
        marked, marking = rng.random() < 0.6, rng.uniform(0.8, 1.5)
        cos, sin = math.cos(angle), math.sin(angle)
        for row in range(rows):
            for place in range(count):
                a, b = (place - (count - 1) / 2) * pitch, (row - (rows - 1) / 2) * gap
                if marked:
                    edge = a - pitch / 2
                    self._paint(
                        y + edge * sin + b * cos, x + edge * cos - b * sin, angle + math.pi / 2, (4.8, 0.12), marking
                    )
                if rng.random() < filled:
                    b += rng.normal(0, 0.25)
                    turn = angle + math.pi / 2 * rng.choice([-1, 1]) + rng.normal(0, 0.03)
                    self._try_vehicle(y + a * sin + b * cos, x + a * cos - b * sin, turn, pitch - 0.35)

    def _path(self) -> None:
        """A pavement, kerb, bed or traffic island: flat, of one kind, whole or in pieces as long as vehicles."""
        rng = self._rng
        angle, width, level = rng.uniform(0, math.pi), float(rng.uniform(0.6, 4)), rng.uniform(0.06, 1.5)
        y, x = rng.uniform(0, self._side, 2)
        if rng.random() < 0.4:
            self._paint(y, x, angle, (float(rng.uniform(10, 2 * self._side)), width), level)
            return
        t, piece, gap = -rng.uniform(0, 30), float(rng.uniform(2, 12)), rng.uniform(0.3, 10)
        for _ in range(rng.integers(1, 12)):
            self._paint(y + t * math.sin(angle), x + t * math.cos(angle), angle, (piece, width), level)
            t += piece + gap

    def _yard(self, y: float, x: float, angle: float, sides: tuple[float, float]) -> None:
        """A garden or a yard: small things of all sizes and shades side by side."""
        rng = self._rng
        cos, sin = math.cos(angle), math.sin(angle)
        for _ in range(rng.integers(10, 60)):
            a, b = rng.uniform(-0.5, 0.5) * sides[0], rng.uniform(-0.5, 0.5) * sides[1]
            size = (float(rng.uniform(0.3, 6)), float(rng.uniform(0.3, 2.5)))
            turn = angle + rng.choice([0, math.pi / 2]) + rng.normal(0, 0.1)
            self._paint(y + a * sin + b * cos, x + a * cos - b * sin, turn, size, math.exp(rng.uniform(-3, 0.5)))
        self._take(y, x, angle, sides)

    def _roof(self) -> None:
        """A house with its shadow; vents, skylights and boxes on it look like vehicles and are none."""
        rng = self._rng
        angle, sides = rng.uniform(0, math.pi), (float(rng.uniform(8, 30)), float(rng.uniform(6, 14)))
        y, x = rng.uniform(0, self._side, 2)
        if not self._free(y, x, angle, sides):
            return
        reach = rng.uniform(3, 8) * self._slope
        self._paint(
            y + reach * math.sin(self._sun), x + reach * math.cos(self._sun), angle, sides, self._depth, multiply=True
        )
        level = rng.uniform(0.08, 1.2)
        self._paint(y, x, angle, sides, level)
        half, shade = sides[1] / 4, rng.uniform(0.6, 1)
        middle = (y + half * math.cos(angle), x - half * math.sin(angle))
        self._paint(*middle, angle, (sides[0], sides[1] / 2), shade, multiply=True)
        self._take(y, x, angle, sides)
        away = (sides[1] + float(rng.uniform(4, 10))) / 2 * rng.choice([-1, 1])
        yard = (y + away * math.cos(angle), x - away * math.sin(angle), angle, (sides[0], 2 * abs(away) - sides[1]))
        if rng.random() < 0.5 and self._free(*yard):
            self._yard(*yard)
        row, step = rng.uniform(-0.4, 0.4) * sides[1], rng.uniform(2, 6)
        size = (float(rng.uniform(0.4, 3.5)), float(rng.uniform(0.4, 1.6)))
        value = rng.choice([rng.uniform(0.9, 1.8), rng.uniform(0.03, 0.2)])
        for t in np.arange(-sides[0] / 2 + 1, sides[0] / 2 - 1, step):
            if rng.random() < 0.7:
                cy = y + t * math.sin(angle) + row * math.cos(angle)
                self._paint(cy, x + t * math.cos(angle) - row * math.sin(angle), angle, size, value)

    def _clutter(self) -> None:
        """One thing that is no vehicle: a box, a container, a bush, a stripe, a dark or a bright blob."""
        rng = self._rng
        y, x, angle = rng.uniform(0, self._side), rng.uniform(0, self._side), rng.uniform(0, math.pi)
        dark, bright = rng.uniform(0.02, 0.2), rng.uniform(0.8, 1.8)
        what = rng.integers(5)
        if what == 0:
            sides = (float(rng.uniform(0.5, 2.4)), float(rng.uniform(0.5, 2.4)))
            self._thing(y, x, angle, sides, rng.choice([dark, bright]), 0.15)
        elif what == 1:
            length = float(rng.choice([6.1, 12.2, rng.uniform(3, 10)]))
            self._thing(y, x, angle, (length, 2.44 * rng.uniform(0.9, 1.3)), rng.uniform(0.1, 1.2), 0.0)
        elif what == 2:
            diameter = float(rng.uniform(1.0, 5.0))
            self._thing(y, x, angle, (diameter, diameter), rng.uniform(0.05, 0.4), diameter / 2)
        elif what == 3:
            for step in np.arange(rng.integers(3, 9)) * 1.0:
                self._paint(y + step * math.sin(angle), x + step * math.cos(angle), angle, (0.5, 3.5), bright)
        else:
            diameter = float(rng.uniform(0.5, 2.5))
            self._thing(y, x, angle, (diameter, diameter), bright, diameter / 2)

    def _thing(self, y: float, x: float, angle: float, sides: tuple[float, float], value: float, radius: float) -> None:
        """With its shadow."""
        if not self._free(y, x, angle, sides):
            return
        reach = self._rng.uniform(0.5, 2.5) * self._slope
        where = ((y + reach * math.sin(self._sun)) / FINE, (x + reach * math.cos(self._sun)) / FINE)
        pixels = (sides[0] / FINE, sides[1] / FINE)
        paint(self.image, where, angle, pixels, radius / FINE, self._depth, True)
        paint(self.image, (y / FINE, x / FINE), angle, pixels, radius / FINE, float(value), False)
        self._take(y, x, angle, sides)

    def _try_vehicle(self, y: float, x: float, angle: float, widest: float = 3.0) -> None:
        """Put a vehicle there if nothing is there yet and its middle is in the scene."""
        if not (0 <= y < self._side and 0 <= x < self._side):
            return
        vehicle = self._vehicle(y, x, angle, widest)
        sides = (vehicle.length + 0.3, vehicle.width + 0.3)
        if self._free(y, x, angle, sides):
            self._take(y, x, angle, sides)
            self.vehicles.append(vehicle)

    def _vehicle(self, y: float, x: float, angle: float, widest: float) -> Vehicle:
        rng = self._rng
        kind: Kind = ("car", "van", "lorry")[
            int(rng.choice(3, p=[0.86, 0.1, 0.04] if widest > 2.4 else [0.95, 0.05, 0]))
        ]
        spans = {"car": ((3.5, 5.0), (1.6, 1.95)), "van": ((4.8, 6.8), (1.9, 2.2)), "lorry": ((7, 13), (2.4, 2.6))}
        (a, b), (c, d) = spans[kind]
        body = rng.uniform(*PAINTS[int(rng.choice(len(PAINTS), p=SHARES))])
        if kind != "car" and rng.random() < 0.6:
            body = rng.uniform(0.8, 1.8)
        shine = rng.random() < 0.1
        return Vehicle(
            y=y,
            x=x,
            angle=angle,
            length=float(rng.uniform(a, b)),
            width=float(min(rng.uniform(c, d), widest)),
            kind=kind,
            body=float(body),
            roof=float(body * rng.uniform(0.85, 1.2) if rng.random() < 0.9 else rng.uniform(0.05, 1.5)),
            glass=float(rng.uniform(0.8, 2.5) if shine else rng.uniform(0.03, 0.25)),
            dim=float(rng.uniform(0.35, 0.8) if rng.random() < 0.12 else 1.0),
            glint=float(rng.uniform(1.0, 3.0) if rng.random() < 0.35 else 0.0),
            glint_at=float(rng.uniform(-0.45, 0.45)),
        )

    def _mask(self, y: float, x: float, angle: float, sides: tuple[float, float]) -> tuple[Any, NDArray[np.uint8]]:
        """The part of the grid around a rectangle, and the rectangle in it."""
        reach = math.hypot(*sides) / 2
        rows, columns = (
            slice(max(int((c - reach) / FINE) - 1, 0), max(int((c + reach) / FINE) + 2, 0)) for c in (y, x)
        )
        mask = np.zeros(self._taken[rows, columns].shape, np.uint8)
        centre = (y / FINE - rows.start, x / FINE - columns.start)
        paint(mask, centre, angle, (sides[0] / FINE, sides[1] / FINE), 0.0, 1, False)
        return (rows, columns), mask

    def _free(self, y: float, x: float, angle: float, sides: tuple[float, float]) -> bool:
        place, mask = self._mask(y, x, angle, sides)
        return not bool((self._taken[place] & mask).any())

    def _take(self, y: float, x: float, angle: float, sides: tuple[float, float]) -> None:
        place, mask = self._mask(y, x, angle, sides)
        self._taken[place] |= mask

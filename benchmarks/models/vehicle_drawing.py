"""Vehicles from above, drawn part by part as rounded rectangles: body, bonnet, windows, roof, shadow.

Everything is drawn on a grid that is much finer than the sensor's (`FINE`), in one band, as reflectances in which the
background's usual range is 0..1. Positions are metres (y, x) from the scene's corner, angles radians from the x axis
towards y.
"""

# numba publishes no types.
# pyright: reportUnknownMemberType=false, reportUntypedFunctionDecorator=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numba import njit
from numpy.typing import NDArray

FINE = 0.0625
"""Metres of a pixel that is drawn on."""
Floats = NDArray[np.float32]
Kind = Literal["car", "van", "lorry"]
CORNER = {"car": 0.5, "van": 0.3, "lorry": 0.1}
"""Metres: radius of the footprint's corners."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vehicle:
    """One vehicle; its footprint is the rectangle of `length` and `width` with rounded corners."""

    y: float
    x: float
    angle: float
    """Of its front."""
    length: float
    width: float
    kind: Kind = "car"
    body: float = 0.5
    """Reflectance of the paint."""
    roof: float = 0.5
    glass: float = 0.1
    dim: float = 1.0
    """Factor on all of it: below 1 where it stands in shade."""
    glint: float = 0.0
    """Reflectance of a spot that mirrors the sun; 0: none."""
    glint_at: float = 0.0
    """Where the spot is: forward of the middle, as a share of the length."""


@njit(cache=True, nogil=True)
def paint(
    image: Any,
    centre: tuple[float, float],
    angle: float,
    sides: tuple[float, float],
    radius: float,
    value: float,
    multiply: bool,
) -> None:
    """Set, or multiply, the pixels whose centres lie in a rounded rectangle; all in pixels. image: (y, x)."""
    cy, cx = centre
    cos, sin = math.cos(angle), math.sin(angle)
    half, side = sides[0] / 2, sides[1] / 2
    radius = min(radius, half, side)
    reach = math.hypot(half, side)
    for row in range(max(int(cy - reach), 0), min(int(cy + reach) + 2, image.shape[0])):
        for column in range(max(int(cx - reach), 0), min(int(cx + reach) + 2, image.shape[1])):
            dy, dx = row + 0.5 - cy, column + 0.5 - cx
            along, across = abs(dx * cos + dy * sin), abs(dy * cos - dx * sin)
            if along > half or across > side:
                continue
            a, b = along - (half - radius), across - (side - radius)
            if a > 0 and b > 0 and a * a + b * b > radius * radius:
                continue
            if multiply:
                image[row, column] *= value
            else:
                image[row, column] = value


def footprints(vehicles: Sequence[Vehicle], side: int, pixel: float) -> NDArray[np.int32]:
    """(side, side) 0 = none, k = vehicle k - 1: the pixels whose centres lie in its footprint. pixel: metres."""
    labels = np.zeros((side, side), np.int32)
    for number, vehicle in enumerate(vehicles, start=1):
        sides, radius = (vehicle.length / pixel, vehicle.width / pixel), CORNER[vehicle.kind] / pixel
        paint(labels, (vehicle.y / pixel, vehicle.x / pixel), vehicle.angle, sides, radius, number, False)
    return labels


def part(
    image: Floats,
    vehicle: Vehicle,
    place: tuple[float, float],
    share: tuple[float, float],
    value: float,
    radius: float = 0.1,
) -> None:
    """Paint a rectangle on a vehicle: middle (forward, sideways) and sides as shares of its length and width."""
    along, across = place[0] * vehicle.length, place[1] * vehicle.width
    cos, sin = math.cos(vehicle.angle), math.sin(vehicle.angle)
    y, x = vehicle.y + along * sin + across * cos, vehicle.x + along * cos - across * sin
    sides = (share[0] * vehicle.length / FINE, share[1] * vehicle.width / FINE)
    paint(image, (y / FINE, x / FINE), vehicle.angle, sides, radius / FINE, value * vehicle.dim, False)


def draw_shadow(image: Floats, vehicle: Vehicle, sun: tuple[float, float], depth: float) -> None:
    """Darken what lies in the vehicle's shadow. sun: metres (y, x) that the shadow of its roof is away from it."""
    for step in np.linspace(0.25, 1.0, 4):
        centre = ((vehicle.y + step * sun[0]) / FINE, (vehicle.x + step * sun[1]) / FINE)
        sides = (vehicle.length / FINE, vehicle.width / FINE)
        paint(image, centre, vehicle.angle, sides, CORNER[vehicle.kind] / FINE, depth**0.25, True)


def draw_vehicle(image: Floats, vehicle: Vehicle, sheen: float) -> None:
    """Draw it on the scene (y, x). sheen: how much brighter one side of it is than the other, by the sun."""
    _draw_parts(image, vehicle, sheen)
    if vehicle.glint:
        part(image, vehicle, (vehicle.glint_at, 0.15 if sheen > 0 else -0.15), (0.17, 0.5), vehicle.glint)


def _draw_parts(image: Floats, vehicle: Vehicle, sheen: float) -> None:
    body, glass = vehicle.body, vehicle.glass
    part(image, vehicle, (0, 0), (1, 1), body * 0.8, CORNER[vehicle.kind])
    part(image, vehicle, (0, 0.03), (0.96, 0.86), body, CORNER[vehicle.kind])
    part(image, vehicle, (0, 0.38 if sheen > 0 else -0.38), (0.9, 0.12), body * (1 + abs(sheen)))
    if vehicle.kind == "lorry":
        part(image, vehicle, (0.40, 0), (0.18, 0.95), body * 0.9)
        part(image, vehicle, (0.46, 0), (0.03, 0.85), glass)
        part(image, vehicle, (0.29, 0), (0.04, 0.9), 0.08)
        part(image, vehicle, (-0.12, 0), (0.74, 0.98), vehicle.roof)
        return
    if vehicle.kind == "van":
        part(image, vehicle, (0.33, 0), (0.10, 0.82), glass)
        part(image, vehicle, (-0.1, 0), (0.74, 0.86), vehicle.roof)
        return
    part(image, vehicle, (-0.06, 0), (0.56, 0.84), glass, 0.3)
    part(image, vehicle, (-0.08, 0), (0.30, 0.70), vehicle.roof, 0.2)
    part(image, vehicle, (-0.08, 0.2 if sheen > 0 else -0.2), (0.26, 0.2), vehicle.roof * (1 + 0.5 * abs(sheen)))

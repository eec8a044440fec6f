"""Draws small scenes of things on a table and knows all about them: outlines, masks, depth, keypoints.

    python -m trainer.simulators.scene_sets coco FOLDER      # a set of them in a format of your choice

The same seed gives the same pixels and the same numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, pi, sin

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

WIDTH, HEIGHT = 96, 72
CLASSES = ("crate", "ball", "star")
FINER = 8  # drawn this many times finer, then averaged
TABLE_MM = 2000  # of the far edge; the near one is half as far away

Point = tuple[float, float]
Keypoint = tuple[float, float, int]
"""x, y, and COCO's visibility: 0 not labelled (then at 0, 0), 1 hidden, 2 visible."""
Corners = tuple[Point, Point, Point, Point]


@dataclass(frozen=True, eq=False)
class Thing:
    """One thing in px of its image, whose coordinates are whole millionths of a px.

    outline: its whole outline, also where something stands before it. turned: the corners of the turned
    rectangle that it was drawn into, clockwise from the left upper one. mask: bool [72, 96], the pixels of
    which it covers most.
    """

    label: str
    outline: tuple[Point, ...]
    turned: Corners
    degrees: float
    keypoints: tuple[Keypoint, ...]
    distance_mm: int
    mask: NDArray[np.bool_]

    @property
    def box(self) -> tuple[float, float, float, float]:
        """x1, y1, x2, y2 of the outline."""
        across, down = zip(*self.outline, strict=True)
        return min(across), min(down), max(across), max(down)

    @property
    def number(self) -> int:
        """Of its class, counted from 0."""
        return CLASSES.index(self.label)


@dataclass(frozen=True, eq=False)
class Scene:
    """One image and what is on it: uint8 [72, 96, 3], levels 20..200; uint16 [72, 96] millimetres.

    things: from far to near, the first three of all classes.
    """

    image: NDArray[np.uint8]
    depth_mm: NDArray[np.uint16]
    things: tuple[Thing, ...]

    @property
    def classes(self) -> NDArray[np.uint8]:
        """The number of each pixel's class from 1, uint8 [72, 96]; 0 is the table."""
        return self._painted([thing.number + 1 for thing in self.things])

    @property
    def instances(self) -> NDArray[np.uint8]:
        """The number of each pixel's thing from 1, uint8 [72, 96]; 0 is the table."""
        return self._painted(range(1, len(self.things) + 1))

    def _painted(self, values: range | list[int]) -> NDArray[np.uint8]:
        painted = np.zeros((HEIGHT, WIDTH), np.uint8)
        for thing, value in zip(self.things, values, strict=True):
            painted[thing.mask] = value
        return painted


def draw_scenes(count: int, seed: int) -> list[Scene]:
    """Draw `count` scenes of three to five things."""
    rng = np.random.default_rng(seed)
    return [draw_scene(rng) for _ in range(count)]


def draw_scene(rng: np.random.Generator) -> Scene:
    """Draw one scene."""
    labels = [*CLASSES, *(str(label) for label in rng.choice(CLASSES, size=int(rng.integers(0, 3))))]
    distances = sorted((int(mm) for mm in rng.integers(600, 1400, size=len(labels))), reverse=True)
    shapes = [_placed(rng, label) for label in labels]
    owner = Image.new("L", (WIDTH * FINER, HEIGHT * FINER), 0)
    pencil = ImageDraw.Draw(owner)
    for number, (outline, _, _) in enumerate(shapes, 1):
        pencil.polygon([(x * FINER, y * FINER) for x, y in outline], fill=number)
    share = _shares(np.asarray(owner), len(labels) + 1)
    things = tuple(
        Thing(label, outline, turned, degrees, _keypoints(outline, turned), distance, mask=share[i + 1] > 0.5)
        for i, (label, (outline, turned, degrees), distance) in enumerate(
            zip(labels, shapes, distances, strict=True)
        )
    )
    return Scene(_coloured(rng, share), _depth(things), things)


def _placed(rng: np.random.Generator, label: str) -> tuple[tuple[Point, ...], Corners, float]:
    """The outline of a thing, the turned rectangle around it, and how far that is turned, clockwise."""
    wide, high = rng.uniform(9, 14), rng.uniform(7, 11)
    middle = (rng.uniform(20, WIDTH - 20), rng.uniform(20, HEIGHT - 20))
    degrees = round(float(rng.uniform(5, 40)), 2)

    def turned(x: float, y: float) -> Point:
        angle = degrees * pi / 180
        dx, dy = x * wide, y * high
        px = middle[0] + dx * cos(angle) - dy * sin(angle)
        py = middle[1] + dx * sin(angle) + dy * cos(angle)
        return round(float(px), 6), round(float(py), 6)

    corners = (turned(-1, -1), turned(1, -1), turned(1, 1), turned(-1, 1))
    if label == "crate":
        return corners, corners, degrees
    if label == "ball":
        return tuple(turned(cos(i * pi / 12), sin(i * pi / 12)) for i in range(24)), corners, degrees
    spikes = ((1.0 if i % 2 == 0 else 0.5, i * pi / 5) for i in range(10))
    return tuple(turned(far * sin(angle), -far * cos(angle)) for far, angle in spikes), corners, degrees


def _keypoints(outline: tuple[Point, ...], turned: Corners) -> tuple[Keypoint, ...]:
    """Its first corner, seen; its middle, hidden; and one that nobody labelled."""
    (ax, ay), _, (bx, by), _ = turned
    return (*outline[0], 2), (round((ax + bx) / 2, 6), round((ay + by) / 2, 6), 1), (0.0, 0.0, 0)


def _shares(owner: NDArray[np.uint8], count: int) -> NDArray[np.float64]:
    """How much of each pixel belongs to each owner, float [count, 72, 96], 0..1."""
    cells = owner.reshape(HEIGHT, FINER, WIDTH, FINER)
    return np.stack([(cells == number).mean(axis=(1, 3)) for number in range(count)])


def _coloured(rng: np.random.Generator, share: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Every owner in a colour of its own, under uneven light and with grain."""
    colours = rng.uniform(40, 180, size=(len(share), 3))
    light = np.linspace(0.85, 1.1, WIDTH)[None, :, None]
    levels = np.einsum("nhw,nc->hwc", share, colours) * light + rng.normal(0, 2, (HEIGHT, WIDTH, 3))
    return np.asarray(levels.clip(20, 200).round(), np.uint8)


def _depth(things: tuple[Thing, ...]) -> NDArray[np.uint16]:
    table = np.linspace(TABLE_MM, TABLE_MM / 2 + 500, HEIGHT)[:, None].repeat(WIDTH, axis=1)
    for thing in things:
        table[thing.mask] = thing.distance_mm
    return table.round().astype(np.uint16)

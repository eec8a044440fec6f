"""Draws printed digit cells and whole grids of them, with exact boxes and outlines, from a seed.

    python -m trainer.simulators.digit_cells samples FOLDER            # the samples bundled with the service
    python -m trainer.simulators.digit_cells cells FOLDER --count 2000 # a synthetic half to train on

The same seed gives the same pixels. The digits are Pillow's embedded typeface and strokes of our own, so that
nothing but code is needed to draw them.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from trainer.simulators import digit_strokes

CELL_PX = 32
GRID_CELLS = 9
FINER = 8  # drawn this many times finer, then averaged: smooth edges, annotations exact to 1/8 px
SAMPLE_SEED = 20170721
SAMPLE_DIGITS = (7, 2, 5, 9, 4, 8, 3)

Point = tuple[float, float]


@dataclass(frozen=True)
class Print:
    """How one sheet is printed; all cells of a grid share it. Grey levels 0..255, lengths in px."""

    face: str  # "embedded", "round" or "nib"
    paper: int
    ink: int
    height: float
    weight: float  # stroke width
    slant: float  # px to the right per px upwards
    line: int  # grey level of the cell's frame


@dataclass(frozen=True)
class Shape:
    """One drawn digit: box (x1, y1, x2, y2), half-open, and convex outline, in px of its image."""

    digit: int
    box: tuple[float, float, float, float]
    outline: tuple[Point, ...]


def random_print(rng: np.random.Generator) -> Print:
    """Choose paper, ink and typeface at random."""
    height = rng.uniform(13.0, 19.0)
    return Print(
        face=str(rng.choice(["embedded", "round", "nib"])),
        paper=int(rng.integers(196, 253)),
        ink=int(rng.integers(14, 86)),
        height=height,
        weight=height * rng.uniform(0.09, 0.19),
        slant=float(rng.choice([0.0, 0.0, 0.0, 0.0, 0.2])),
        line=int(rng.integers(20, 110)),
    )


def random_frame(rng: np.random.Generator) -> tuple[int, ...]:
    """Choose what a cut-out cell shows of its frame: px at the top, right, bottom and left."""
    return tuple(int(px) for px in rng.choice([0, 1, 1, 2, 3], size=4))


def draw_cell(
    rng: np.random.Generator, digit: int, style: Print, frame: Sequence[int]
) -> tuple[NDArray[np.uint8], Shape | None]:
    """Draw one cell uint8 [32, 32]; digit 0 is an empty cell, which has no shape."""
    offset = rng.uniform(-1.5, 1.5, size=2)
    paper = np.full((CELL_PX, CELL_PX), float(style.paper))
    for quarter_turns, px in enumerate(frame):
        np.rot90(paper, quarter_turns)[:px] = style.line
    if digit == 0:
        return paper.round().astype(np.uint8), None
    fine = _fine_ink(digit, style, offset)
    coverage = fine.reshape(CELL_PX, FINER, CELL_PX, FINER).mean(axis=(1, 3))
    image = paper + (style.ink - paper) * coverage
    return image.round().astype(np.uint8), _shape(digit, fine)


def draw_grid(rng: np.random.Generator, *, filled: float = 0.4) -> tuple[NDArray[np.uint8], list[Shape]]:
    """Draw a sudoku uint8 [288, 288] that can be solved, about `filled` (0..1) of its cells with a digit."""
    style = random_print(rng)
    digits = rng.permutation(np.arange(1, 10))
    side = GRID_CELLS * CELL_PX
    image = np.empty((side, side), np.uint8)
    shapes = []
    for row, column in itertools.product(range(GRID_CELLS), repeat=2):
        solution = digits[(3 * (row % 3) + row // 3 + column) % 9]
        digit = int(solution) if rng.random() < filled else 0
        top, left = row * CELL_PX, column * CELL_PX
        cell, shape = draw_cell(rng, digit, style, _grid_frame(row, column))
        image[top : top + CELL_PX, left : left + CELL_PX] = cell
        if shape is not None:
            shapes.append(_moved(shape, left, top))
    return image, shapes


def write_cells(folder: Path, count: int, seed: int) -> None:
    """Write `count` cells, three in ten empty, as `cell-00000.png` with `cell-00000.json` beside each."""
    rng = np.random.default_rng(seed)
    for i in range(count):
        digit = int(rng.integers(1, 10)) if rng.random() < 0.7 else 0
        image, shape = draw_cell(rng, digit, random_print(rng), random_frame(rng))
        _write(folder, f"cell-{i:05d}", image, [shape] if shape else [])


def write_samples(folder: Path) -> None:
    """Write the bundled samples: seven single digits and one whole puzzle."""
    rng = np.random.default_rng(SAMPLE_SEED)
    for digit in SAMPLE_DIGITS:
        image, shape = draw_cell(rng, digit, random_print(rng), random_frame(rng))
        _write(folder, f"digit-{digit}", image, [shape] if shape else [])
    _write(folder, "puzzle", *draw_grid(rng))


def annotation(filename: str, size: tuple[int, int], shapes: Sequence[Shape]) -> str:
    """Write an annotation document; `size` is (width, height).

    The numbers are exact but written in several valid ways (9.500, 0.9500e1, 9.50000E+00): whoever parses the
    document and writes it again gives itself away.
    """
    exponents = itertools.cycle(("", "e1", "E+00"))

    def numbers(values: Sequence[float]) -> str:
        return ", ".join(_number(value, exponent) for value, exponent in zip(values, exponents, strict=False))

    def written(shape: Shape) -> str:
        outline = ", ".join(f"[{numbers(point)}]" for point in shape.outline)
        return f'{{"label": "{shape.digit}", "box": [{numbers(shape.box)}],\n     "polygon": [{outline}]}}'

    objects = ",\n    ".join(written(shape) for shape in shapes)
    head = f'"image": {json.dumps(filename)}, "width": {size[0]}, "height": {size[1]}'
    return f'{{{head},\n  "objects": [\n    {objects}\n  ]}}\n'


def _grid_frame(row: int, column: int) -> tuple[int, ...]:
    """Thick lines around every three by three cells, thin ones between (top, right, bottom, left)."""
    top, left = (2 if i % 3 == 0 else 1 for i in (row, column))
    bottom, right = (2 if i % 3 == 2 else 0 for i in (row, column))
    return top, right, bottom, left


def _number(value: float, exponent: str) -> str:
    if exponent == "e1":
        return f"{value / 10:.4f}e1"
    return f"{value:.3f}" if not exponent else f"{value:.5E}"


def _fine_ink(digit: int, style: Print, offset: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Draw the digit alone, bool [256, 256]."""
    side = CELL_PX * FINER
    canvas = Image.new("L", (side, side), 0)
    pencil = ImageDraw.Draw(canvas)
    centre = side / 2 + offset * FINER
    if style.face == "embedded":
        font = ImageFont.load_default(size=style.height * FINER * 1.35)
        bolder = max(0, round((style.weight - style.height * 0.1) * FINER / 2))
        pencil.text(tuple(centre), str(digit), fill=255, font=font, anchor="mm", stroke_width=bolder)
    else:
        wide, high = style.height * 0.3 * FINER, style.height * 0.5 * FINER
        flat = 0.4 if style.face == "nib" else 1.0
        pen = (style.weight * FINER, style.weight * flat * FINER)
        x, y = float(centre[0]), float(centre[1])
        digit_strokes.draw(pencil, digit, box=(x - wide, y - high, x + wide, y + high), pen=pen)
    shear = (1, style.slant, -style.slant * centre[1], 0, 1, 0)
    slanted = canvas.transform(canvas.size, Image.Transform.AFFINE, shear)
    return np.asarray(slanted) > 127


def _shape(digit: int, fine: NDArray[np.bool_]) -> Shape:
    ys, xs = np.nonzero(fine)
    box = (xs.min() / FINER, ys.min() / FINER, (xs.max() + 1) / FINER, (ys.max() + 1) / FINER)
    corners = {
        (int(x) + dx, int(y) + dy) for x, y in zip(xs, ys, strict=True) for dx in (0, 1) for dy in (0, 1)
    }
    outline = tuple((x / FINER, y / FINER) for x, y in _convex_hull(sorted(corners)))
    return Shape(digit, (float(box[0]), float(box[1]), float(box[2]), float(box[3])), outline)


def _convex_hull(points: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The corners of the convex hull of sorted points, in order (Andrew's monotone chain)."""

    def chain(ordered: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
        kept: list[tuple[int, int]] = []
        for point in ordered:
            while len(kept) > 1 and _turn(kept[-2], kept[-1], point) <= 0:
                kept.pop()
            kept.append(point)
        return kept[:-1]

    return chain(points) + chain(points[::-1])


def _turn(a: tuple[int, int], b: tuple[int, int], c: tuple[int, int]) -> int:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def _moved(shape: Shape, left: int, top: int) -> Shape:
    x1, y1, x2, y2 = shape.box
    outline = tuple((x + left, y + top) for x, y in shape.outline)
    return Shape(shape.digit, (x1 + left, y1 + top, x2 + left, y2 + top), outline)


def _write(folder: Path, name: str, image: NDArray[np.uint8], shapes: Sequence[Shape]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(image)
    picture.save(folder / f"{name}.png", optimize=True)
    text = annotation(f"{name}.png", picture.size, shapes)
    (folder / f"{name}.json").write_text(text, encoding="utf-8")


def main() -> None:
    """Run the command line described at the top."""
    parser = argparse.ArgumentParser(prog="python -m trainer.simulators.digit_cells")
    parser.add_argument("what", choices=["samples", "cells"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=2000, help="how many cells")
    parser.add_argument("--seed", type=int, default=1, help="seed of the cells")
    arguments = parser.parse_args()
    if arguments.what == "samples":
        write_samples(arguments.folder)
    else:
        write_cells(arguments.folder, arguments.count, arguments.seed)


if __name__ == "__main__":
    main()

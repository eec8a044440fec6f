"""Owns the sample grid: rows of images with captions, as one PNG."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from trainer.sources import Images

GAP = 4
SMALLEST_TILE = 96
INK = (235, 235, 235)
PAPER = (32, 32, 32)


@dataclass(frozen=True)
class Row:
    """One row of a grid: uint8 or uint16 images [N, H, W, C]."""

    caption: str
    images: Images


def draw_grid(rows: Sequence[Row]) -> Image.Image:
    """Rows under each other with their captions on the left; small images are enlarged by a whole factor.

    More than 8 bits are shown by their upper 8; images that are neither grey nor RGB by their first channel.
    """
    tiles = [[_tile(image) for image in row.images] for row in rows]
    height = max(tile.height for row in tiles for tile in row) + GAP
    width = max(tile.width for row in tiles for tile in row) + GAP
    font = ImageFont.load_default(size=14)
    margin = 2 * GAP + max(int(font.getlength(row.caption)) for row in rows)
    grid = Image.new("RGB", (margin + width * max(map(len, tiles)), GAP + height * len(rows)), PAPER)
    draw = ImageDraw.Draw(grid)
    for index, (row, images) in enumerate(zip(rows, tiles, strict=True)):
        top = GAP + index * height
        draw.text((GAP, top + height // 2), row.caption, fill=INK, font=font, anchor="lm")
        for column, image in enumerate(images):
            grid.paste(image, (margin + column * width, top))
    return grid


def to_png(grid: Image.Image) -> bytes:
    """The grid as a PNG file."""
    buffer = io.BytesIO()
    grid.save(buffer, format="PNG")
    return buffer.getvalue()


def _tile(image: Images) -> Image.Image:
    shown = image if image.dtype == np.uint8 else (image >> 8).astype(np.uint8)
    shown = shown if shown.shape[2] == 3 else np.repeat(shown[..., :1], 3, axis=2)
    factor = -(-SMALLEST_TILE // max(image.shape[:2]))
    enlarged: NDArray[np.unsignedinteger] = shown.repeat(factor, axis=0).repeat(factor, axis=1)
    return Image.fromarray(np.ascontiguousarray(enlarged))

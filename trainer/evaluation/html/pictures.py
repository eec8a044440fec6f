"""Owns the pictures of the page: inline PNGs, enlarged without smoothing, with boxes drawn over them."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from trainer.evaluation.html.text import escape
from trainer.evaluation.pictures import Pair, Pictures
from trainer.sources import Images

SAMPLE_PX, PAIR_PX = 96, 144
"""Largest side on the page to which small images are enlarged, by a whole factor."""
SIDES_PX = (128, 96, 64, 48, 32)
"""Longest side of an inline picture: the first one with which all pictures fit."""
MOST_BYTES = 1_400_000


@dataclass(frozen=True)
class Inline:
    """How pictures become part of the page: at most `side` px long."""

    side: int

    def strip(self, images: Images, what: str) -> str:
        """A row of samples as cells of a grid."""
        return "".join(
            f'<img class="sample" src="{self.source(image)}" alt="{escape(what)} {index + 1}" '
            f'width="{shown_size(image, SAMPLE_PX)[1]}" height="{shown_size(image, SAMPLE_PX)[0]}">'
            for index, image in enumerate(images)
        )

    def pair(self, pair: Pair) -> str:
        """Before and after beside each other, with their numbers under them."""
        words = " · ".join(pair.captions)
        drawn = "".join(
            f'<div>{self._boxed(image, pair.box, f"{when}: {words}")}<span class="when">{when}</span></div>'
            for when, image in (("before", pair.before), ("after", pair.after))
        )
        lines = "".join(f"<span>{escape(line)}</span>" for line in pair.captions)
        return f'<figure class="pair"><div class="two">{drawn}</div><figcaption>{lines}</figcaption></figure>'

    def source(self, image: Images) -> str:
        """A PNG as a data address; 16 bits by their upper 8, other than grey and RGB by the first channel."""
        buffer = io.BytesIO()
        _picture(image, self.side).save(buffer, format="PNG", optimize=True)
        return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"

    def _boxed(self, image: Images, box: tuple[float, float, float, float] | None, words: str) -> str:
        height, width = image.shape[:2]
        shown_height, shown_width = shown_size(image, PAIR_PX)
        outline = ""
        if box is not None:
            x1, y1, x2, y2 = box
            place = f'x="{x1:.1f}" y="{y1:.1f}" width="{max(x2 - x1, 1):.1f}" height="{max(y2 - y1, 1):.1f}"'
            outline = f'<rect class="halo" {place}/><rect class="box" {place}/>'
        return (
            f'<svg class="picture" viewBox="0 0 {width} {height}" width="{shown_width}" '
            f'height="{shown_height}" '
            f'role="img" aria-label="{escape(words)}"><image href="{self.source(image)}" width="{width}" '
            f'height="{height}" preserveAspectRatio="none"/>{outline}</svg>'
        )


def shown_size(image: Images, most_px: int) -> tuple[int, int]:
    """Height and width on the page, px: a whole multiple where the image is small, less where it is large."""
    height, width = image.shape[:2]
    factor: float = max(1, most_px // max(height, width))
    factor = min(factor, most_px / max(height, width))
    return round(height * factor), round(width * factor)


def fitting(pictures: Pictures) -> Inline:
    """The largest pictures that keep the page within its weight."""
    everything = [*pictures.synthetic, *pictures.real]
    for candidate in pictures.candidates:
        pairs = [*candidate.worst, *candidate.most_changed]
        everything += [*candidate.refined, *(image for pair in pairs for image in (pair.before, pair.after))]
    for side in SIDES_PX[:-1]:
        if _weight(everything, side) <= MOST_BYTES:
            return Inline(side)
    return Inline(SIDES_PX[-1])


def _weight(images: Sequence[Images], side: int) -> int:
    inline, total = Inline(side), 0
    for image in images:
        total += len(inline.source(image))
        if total > MOST_BYTES:
            break
    return total


def _picture(image: Images, side: int) -> Image.Image:
    shown = image if image.dtype == np.uint8 else (image >> 8).astype(np.uint8)
    pixels = shown if shown.shape[2] == 3 else shown[..., 0]
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    picture.thumbnail((side, side), Image.Resampling.BOX)
    return picture

"""How an image of one kind passes a model of another: the change is lifted, never the image converted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.errors import InvalidOptions
from app.refining.blocks import blocks_of_rows
from app.refining.codecs.container import label, sentence
from app.refining.images import DecodedImage, Pixels

STEP_16_OF_8 = 257
"""One 8-bit grey level in 16-bit levels: 255 x 257 = 65535, so black and white map onto each other
exactly.
"""

# ITU-R BT.601 luma in 1/65536; the weights sum to 65536, so the luma of grey is that very grey.
_LUMA = (19_595, 38_470, 7_471)


@dataclass(frozen=True, slots=True, eq=False)
class ModelInput:
    """What the model sees of an image. pixels: uint8 or uint16 [H, W, C]. note: what was done, None if
    nothing was.
    """

    pixels: Pixels
    note: str | None


def to_model(decoded: DecodedImage, channels: int, bit_depth: int) -> ModelInput:
    """The reading of an image that a model of `channels` (1 or 3) and `bit_depth` (8 or 16) takes.

    Grey for a colour model is repeated; colour for a grey model gives its luma; 16 bits for an 8-bit model
    are rounded to 8, and 8 bits for a 16-bit model multiplied by 257. Raises InvalidOptions for other
    channel counts.
    """
    if channels not in (1, 3):
        name = label(decoded.filename)
        raise InvalidOptions(
            sentence(
                f"{name} has {decoded.channels} channel(s), the model takes {channels}; only 1 and 3 match."
            )
        )
    pixels = _with_depth(_with_channels(decoded.pixels, channels), bit_depth)
    return ModelInput(pixels, _note(decoded, channels, bit_depth))


def from_model(decoded: DecodedImage, model_input: ModelInput, refined: Pixels) -> Pixels:
    """The refined image in the kind of decoded.pixels (same dtype and shape).

    Where the kinds agree this is `refined` itself. Otherwise the model's change (refined - input) is added
    to the image, clipped to its range: the luma's change to every channel, 8-bit changes times 257, 16-bit
    ones over 257. So where the model changes nothing, nothing changes, bit for bit.
    """
    assert refined.shape == model_input.pixels.shape, (refined.shape, model_input.pixels.shape)
    assert refined.dtype == model_input.pixels.dtype, (refined.dtype, model_input.pixels.dtype)
    if model_input.note is None:
        return refined
    lifted = np.empty_like(decoded.pixels)
    for rows in blocks_of_rows(*lifted.shape[:2]):
        lifted[rows] = _lifted(decoded.pixels[rows], model_input.pixels[rows], refined[rows])
    return lifted


def _lifted(original: Pixels, seen: Pixels, refined: Pixels) -> NDArray[np.int32]:
    """int32 [H, W, C], within the original's range."""
    change = _change(seen, refined, original.shape[2])
    if refined.dtype != original.dtype:
        change = _change_at_depth(change, 8 * original.dtype.itemsize)
    change = original + change
    return np.clip(change, 0, np.iinfo(original.dtype).max, out=change)


def _with_channels(pixels: Pixels, channels: int) -> Pixels:
    if pixels.shape[2] == channels:
        return pixels
    return luma(pixels) if channels == 1 else np.repeat(pixels, channels, axis=2)


def luma(pixels: Pixels) -> Pixels:
    """The luma [H, W, 1] of RGB [H, W, 3], same dtype, rounded."""
    grey = np.empty((*pixels.shape[:2], 1), pixels.dtype)
    for rows in blocks_of_rows(*pixels.shape[:2]):
        red, green, blue = (pixels[rows, :, i].astype(np.uint32) * np.uint32(_LUMA[i]) for i in range(3))
        grey[rows, :, 0] = (red + green + blue + np.uint32(0x8000)) >> np.uint32(16)
    return grey


def _with_depth(pixels: Pixels, bit_depth: int) -> Pixels:
    own = 8 * pixels.dtype.itemsize
    if own == bit_depth:
        return pixels
    if bit_depth == 16:
        return pixels.astype(np.uint16) * np.uint16(STEP_16_OF_8)
    eight = np.empty(pixels.shape, np.uint8)
    for rows in blocks_of_rows(*pixels.shape[:2]):
        eight[rows] = (pixels[rows].astype(np.uint32) + STEP_16_OF_8 // 2) // STEP_16_OF_8
    return eight


def _change(seen: Pixels, refined: Pixels, channels: int) -> NDArray[np.int32]:
    """int32 [H, W, 1 or C of an image of `channels`], in the model's grey levels."""
    if channels == 1 and seen.shape[2] == 3:
        seen, refined = luma(seen), luma(refined)
    return refined.astype(np.int32) - seen


def _change_at_depth(change: NDArray[np.int32], bit_depth: int) -> NDArray[np.int32]:
    if bit_depth == 16:
        return change * np.int32(STEP_16_OF_8)
    return (change + STEP_16_OF_8 // 2) // np.int32(
        STEP_16_OF_8
    )  # 257 is odd: no ties, so this rounds to nearest


def _note(decoded: DecodedImage, channels: int, bit_depth: int) -> str | None:
    said = []
    if channels < decoded.channels:
        said.append("the model is grey: it refined the luma, whose change was added to every colour channel")
    if channels > decoded.channels:
        said.append("the model is RGB: it refined the grey image as colour, whose change of luma was added")
    if bit_depth < decoded.bit_depth:
        said.append("the model has 8 bits: it refined an 8-bit reading, whose change was added 257-fold")
    if bit_depth > decoded.bit_depth:
        said.append(
            "the model has 16 bits: it refined the image times 257, whose change was rounded back to 8 bits"
        )
    return sentence("; ".join(said)) + "." if said else None

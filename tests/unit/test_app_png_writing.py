"""Our own PNG files hold exactly the pixels they were given, as other readers see them."""

from __future__ import annotations

import io
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from app.refining.codecs import png, png_writing

MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


def pixels(seed: int, height: int, width: int, channels: int, kind: type) -> np.ndarray:
    """Noise, a slope down, or a slope to the right, so that either filter is the better one."""
    random = np.random.default_rng(seed)
    levels = [
        random.integers(0, 256, (height, width, channels)),
        np.arange(height)[:, None, None] * 3 + np.zeros((height, width, channels)),
        np.arange(width)[None, :, None] * 5 + np.zeros((height, width, channels)),
    ][seed % 3]
    return (levels * (257 if kind is np.uint16 else 1)).astype(kind)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 40), st.integers(1, 40), st.integers(1, 4))
def test_pillow_reads_back_what_was_written(seed: int, height: int, width: int, channels: int) -> None:
    given_pixels = pixels(seed, height, width, channels, np.uint8)

    with Image.open(io.BytesIO(png_writing.write(given_pixels))) as image:
        assert image.mode == MODES[channels]
        assert np.array_equal(np.asarray(image).reshape(given_pixels.shape), given_pixels)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_sixteen_bits_stay_sixteen(seed: int) -> None:
    given_pixels = pixels(seed, 17, 23, 1, np.uint16)

    with Image.open(io.BytesIO(png_writing.write(given_pixels))) as image:
        assert image.mode == "I;16"
        assert np.array_equal(np.asarray(image)[:, :, None], given_pixels)


@pytest.mark.parametrize(("channels", "kind"), [(1, np.uint8), (3, np.uint8), (1, np.uint16)])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_large_picture_is_written_block_by_block_with_little_memory(
    channels: int, kind: type, seed: int
) -> None:
    given_pixels = pixels(seed, 1501, 1999, channels, kind)
    tracemalloc.start()

    written = png_writing.write(given_pixels)

    highest = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    with Image.open(io.BytesIO(written)) as image:
        assert np.array_equal(np.asarray(image).reshape(given_pixels.shape), given_pixels)
    assert highest < 2.2 * len(written) + 16 * 2**20 < 2.2 * given_pixels.nbytes + 16 * 2**20 + len(written)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
@pytest.mark.parametrize("size", [(1, 1), (55, 35), (700, 300)])
def test_the_short_way_to_a_picture_gives_pillows_own_pixels(mode: str, size: tuple[int, int]) -> None:
    channels = len(mode)
    array = np.random.default_rng(5).integers(0, 256, (size[1], size[0], channels)).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(array[:, :, 0] if channels == 1 else array).save(file, "PNG")

    short = png.plain_picture(png.read(file.getvalue(), "a").pixel_file)

    assert short is not None
    assert short.mode == mode
    assert np.array_equal(np.asarray(short), np.asarray(PngImageFile(io.BytesIO(file.getvalue()))))


def test_what_is_not_plain_takes_the_long_way() -> None:
    files = {
        "palette": Image.new("P", (4, 4)),
        "bits": Image.new("1", (4, 4)),
        "depth": Image.new("I;16", (4, 4)),
    }
    for image in files.values():
        file = io.BytesIO()
        image.save(file, "PNG")
        assert png.plain_picture(png.read(file.getvalue(), "a").pixel_file) is None

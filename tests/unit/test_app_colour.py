import tracemalloc
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from app.errors import InvalidOptions
from app.refining import colour, images

RNG = np.random.default_rng(3)
RGB = RNG.integers(0, 256, (9, 11, 3), dtype=np.uint8)
GREY = RNG.integers(0, 256, (9, 11), dtype=np.uint8)
DEEP = RNG.integers(0, 65536, (9, 11), dtype=np.uint16)
MODELS = [(1, 8), (3, 8), (1, 16), (3, 16)]


def decoded(picture):
    buffer = BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return images.decode(buffer.getvalue(), filename="a.png", max_pixels=10**7)


@pytest.mark.parametrize("picture", [RGB, GREY, DEEP], ids=["rgb", "grey", "grey16"])
@pytest.mark.parametrize(("channels", "bit_depth"), MODELS)
def test_a_model_that_changes_nothing_changes_no_bit_of_any_image(picture, channels, bit_depth):
    image = decoded(picture)
    seen = colour.to_model(image, channels, bit_depth)
    assert seen.pixels.shape == (9, 11, channels)
    assert seen.pixels.dtype.itemsize * 8 == bit_depth
    result = colour.from_model(image, seen, seen.pixels.copy())
    assert result.dtype == image.pixels.dtype
    np.testing.assert_array_equal(result, image.pixels)


@pytest.mark.parametrize("picture", [RGB, GREY, DEEP], ids=["rgb", "grey", "grey16"])
def test_a_model_of_the_images_own_kind_gives_its_very_output(picture):
    image = decoded(picture)
    seen = colour.to_model(image, image.channels, image.bit_depth)
    refined = RNG.integers(0, 256, seen.pixels.shape).astype(seen.pixels.dtype)
    assert seen.note is None
    np.testing.assert_array_equal(seen.pixels, image.pixels)
    assert colour.from_model(image, seen, refined) is refined


def test_a_grey_model_sees_the_luma_and_its_change_is_added_to_every_channel():
    image = decoded(np.array([[[200, 100, 50], [255, 255, 250]]], np.uint8))
    seen = colour.to_model(image, 1, 8)
    np.testing.assert_array_equal(
        seen.pixels, [[[124], [254]]]
    )  # 0.299 R + 0.587 G + 0.114 B: 124.2 and 254.4
    refined = np.array([[[114], [255]]], np.uint8)
    np.testing.assert_array_equal(colour.from_model(image, seen, refined), [[[190, 90, 40], [255, 255, 251]]])
    assert "luma" in seen.note


def test_the_luma_is_pillows():
    np.testing.assert_array_equal(colour.luma(RGB)[:, :, 0], np.asarray(Image.fromarray(RGB).convert("L")))


def test_the_luma_of_grey_is_that_grey_at_both_depths():
    for levels in (np.arange(256, dtype=np.uint8), np.arange(65536, dtype=np.uint16)):
        grey = np.repeat(levels[None, :, None], 3, axis=2)
        np.testing.assert_array_equal(colour.luma(grey)[0, :, 0], levels)


def test_a_colour_model_on_grey_adds_the_change_of_luma():
    image = decoded(np.array([[100, 30]], np.uint8))
    seen = colour.to_model(image, 3, 8)
    np.testing.assert_array_equal(seen.pixels, [[[100] * 3, [30] * 3]])
    refined = np.array([[[120, 120, 120], [40, 30, 30]]], np.uint8)
    np.testing.assert_array_equal(colour.from_model(image, seen, refined), [[[120], [33]]])  # 0.299 x 10 = 3


def test_an_8_bit_model_leaves_the_low_bits_of_a_16_bit_image():
    image = decoded(np.array([[1000, 40_000, 65_535]], np.uint16))
    seen = colour.to_model(image, 1, 8)
    np.testing.assert_array_equal(seen.pixels[0, :, 0], [4, 156, 255])
    refined = seen.pixels + np.array([[[2], [0], [0]]], np.uint8)
    np.testing.assert_array_equal(colour.from_model(image, seen, refined)[0, :, 0], [1514, 40_000, 65_535])


def test_a_16_bit_model_on_an_8_bit_image_is_rounded_back():
    image = decoded(np.array([[0, 10, 255]], np.uint8))
    seen = colour.to_model(image, 1, 16)
    np.testing.assert_array_equal(seen.pixels[0, :, 0], [0, 2570, 65_535])
    refined = np.array([[[128], [2570 + 129], [65_535 - 400]]], np.uint16)
    np.testing.assert_array_equal(colour.from_model(image, seen, refined)[0, :, 0], [0, 11, 253])


@settings(max_examples=40, deadline=None, derandomize=True)
@given(data=st.data(), model=st.sampled_from(MODELS), picture=st.sampled_from([RGB, GREY, DEEP]))
def test_a_lifted_change_stays_in_range_and_has_the_models_sign(data, model, picture):
    image = decoded(picture)
    seen = colour.to_model(image, *model)
    shift = data.draw(st.integers(-300, 300))
    peak = np.iinfo(seen.pixels.dtype).max
    refined = np.clip(seen.pixels.astype(int) + shift, 0, peak).astype(seen.pixels.dtype)
    result = colour.from_model(image, seen, refined).astype(int) - image.pixels.astype(int)
    assert (result * np.sign(shift) >= 0).all()


def test_a_model_of_two_channels_is_refused():
    with pytest.raises(
        InvalidOptions, match=r"'a\.png' has 3 channel\(s\), the model takes 2; only 1 and 3 match"
    ):
        colour.to_model(decoded(RGB), 2, 8)


@pytest.mark.parametrize(
    ("model", "mode"), [((1, 8), "RGB"), ((3, 8), "L"), ((1, 8), "I;16"), ((1, 16), "RGB")]
)
def test_a_large_image_of_another_kind_is_lifted_block_by_block_with_little_memory(model, mode):
    shape = (1403, 1201, 3) if mode == "RGB" else (1403, 1201)
    picture = RNG.integers(0, 65536 if mode == "I;16" else 256, shape)
    image = decoded(picture.astype(np.uint16 if mode == "I;16" else np.uint8))
    seen = colour.to_model(image, *model)
    refined = np.maximum(seen.pixels, 40)
    tracemalloc.start()

    lifted = colour.from_model(image, seen, refined)

    highest = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert highest < lifted.nbytes + 3 * refined[:, :, :1].nbytes + 12 * 2**20
    for row in (0, 700, 1402):  # the blocks join without a seam
        part = decoded(
            image.pixels[row : row + 1].squeeze(2) if image.channels == 1 else image.pixels[row : row + 1]
        )
        alone = colour.to_model(part, *model)
        np.testing.assert_array_equal(
            lifted[row : row + 1], colour.from_model(part, alone, refined[row : row + 1])
        )

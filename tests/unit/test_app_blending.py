from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.errors import InvalidOptions
from app.refining.blending import blend

RNG = np.random.default_rng(5)
SMALL, LARGE = (7, 9, 3), (300, 300, 3)  # one block of values and several


def pair(shape, dtype):
    peak = np.iinfo(dtype).max
    return tuple(RNG.integers(0, peak, shape, dtype=dtype, endpoint=True) for _ in range(2))


@pytest.mark.parametrize("shape", [SMALL, LARGE])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_strength_0_is_the_original_and_strength_1_the_refined_image_bit_for_bit(shape, dtype):
    original, refined = pair(shape, dtype)
    for strength, expected in [(0, original), (1, refined), (0.0, original), (1.0, refined)]:
        blended = blend(original, refined, strength)
        np.testing.assert_array_equal(blended, expected)
        assert blended.dtype == dtype


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@settings(max_examples=30, deadline=None, derandomize=True)
@given(strength=st.sampled_from([0.5, 0.25, 0.75, 0.125, 0.375]) | st.floats(0, 1), seed=st.integers(0, 1000))
def test_between_them_it_is_the_exact_mixture_rounded_half_to_even(dtype, strength, seed):
    generator = np.random.default_rng(seed)
    original, refined = (generator.integers(0, 256, (3, 4, 1)).astype(dtype) for _ in range(2))
    expected = [
        round(Fraction(int(a)) + Fraction(strength) * (int(b) - int(a)))
        for a, b in zip(original.flat, refined.flat, strict=True)
    ]
    off = blend(original, refined, strength).astype(int).ravel() - expected
    ties = [
        abs((Fraction(strength) * (int(b) - int(a))) % 1 - Fraction(1, 2))
        for a, b in zip(original.flat, refined.flat, strict=True)
    ]
    assert all(o == 0 or 0 < tie < Fraction(1, 10**12) for o, tie in zip(off, ties, strict=True))


def test_a_large_image_gets_the_same_bytes_as_its_pixels_would_in_a_small_one():
    original, refined = pair(LARGE, np.uint8)
    whole = blend(original, refined, 0.3)
    for top in range(0, 300, 100):
        part = slice(top, top + 10)
        np.testing.assert_array_equal(whole[part], blend(original[part], refined[part], 0.3))


@pytest.mark.parametrize("shape", [SMALL, LARGE])
@pytest.mark.parametrize("strength", [0.0, 0.4, 1.0])
def test_locked_pixels_are_the_originals_and_all_others_are_not_touched(shape, strength):
    original, refined = pair(shape, np.uint8)
    locked = RNG.random(shape[:2]) < 0.3
    blended = blend(original, refined, strength, locked)
    np.testing.assert_array_equal(blended[locked], original[locked])
    np.testing.assert_array_equal(blended[~locked], blend(original, refined, strength)[~locked])


def test_the_inputs_are_left_alone():
    original, refined = pair(SMALL, np.uint8)
    before = original.copy(), refined.copy()
    for strength in (0.0, 0.5, 1.0):
        blend(original, refined, strength, np.ones(SMALL[:2], bool))[:] = 0
    np.testing.assert_array_equal(original, before[0])
    np.testing.assert_array_equal(refined, before[1])


@pytest.mark.parametrize("strength", [-0.01, 1.01, float("nan"), float("inf")])
def test_a_strength_outside_0_to_1_is_refused(strength):
    original, refined = pair(SMALL, np.uint8)
    with pytest.raises(InvalidOptions, match="must lie between 0 and 1"):
        blend(original, refined, strength)

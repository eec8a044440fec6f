"""Locks choose each annotation once, however many of them name it."""

from __future__ import annotations

import time

import numpy as np

from app.annotations.shapes import Shape
from app.locks import lock_mask
from app.options import MAX_LOCKS, LockAnnotations, LockBox

EYE, NOSE = Shape("eye", "box", 0, 0, 2, 2), Shape("nose", "box", 4, 4, 6, 6)


def test_drawn_and_named_regions_are_united() -> None:
    locks = [LockBox(box=(7, 7, 8, 8)), LockAnnotations(annotations=("eye", "ear"))]
    wanted = np.zeros((8, 8), np.bool_)
    wanted[:2, :2] = wanted[7, 7] = True
    np.testing.assert_array_equal(lock_mask(locks, [EYE, NOSE], 8, 8), wanted)


def test_nothing_named_is_nothing_locked() -> None:
    assert lock_mask([LockAnnotations(annotations=("ear",))], [EYE], 8, 8) is None


def test_many_locks_of_many_annotations_take_bounded_time() -> None:
    names = tuple(f"name {index}" for index in range(50))
    locks = [LockAnnotations(annotations=names), LockAnnotations(annotations="all")] * (MAX_LOCKS // 2)
    started_s = time.perf_counter()
    assert lock_mask(locks, [EYE, NOSE] * 25_000, 8, 8) is not None
    assert time.perf_counter() - started_s < 10

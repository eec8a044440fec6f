"""The digit simulator: exact annotations, repeatable pixels, and the samples that the service ships."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from trainer.simulators import digit_cells

SAMPLES = Path(__file__).resolve().parents[2] / "app" / "bundled" / "samples"
BARE = (0, 0, 0, 0)


def _style(face: str, **changes: float) -> digit_cells.Print:
    fields = {"paper": 250, "ink": 20, "height": 17.0, "weight": 2.2, "slant": 0.0, "line": 40} | changes
    return digit_cells.Print(face=face, **fields)  # type: ignore[arg-type]


def _pixels(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        return np.asarray(image)


@pytest.mark.parametrize("face", ["embedded", "round", "nib"])
@pytest.mark.parametrize("digit", range(1, 10))
def test_the_box_is_the_tightest_around_the_ink(face: str, digit: int) -> None:
    image, shape = digit_cells.draw_cell(np.random.default_rng(digit), digit, _style(face), BARE)

    assert shape is not None
    ys, xs = np.nonzero(image < 250)
    tightest = np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])
    inwards = np.array(shape.box) - tightest
    assert np.all(inwards[:2] >= 0)
    assert np.all(inwards[2:] <= 0)
    assert np.all(np.abs(inwards) < 1)


def test_the_outline_touches_every_side_of_the_box() -> None:
    _, shape = digit_cells.draw_cell(np.random.default_rng(1), 4, _style("round"), BARE)

    assert shape is not None
    corners = np.array(shape.outline)
    assert (*corners.min(axis=0), *corners.max(axis=0)) == shape.box


def test_every_digit_looks_different() -> None:
    cells = [
        digit_cells.draw_cell(np.random.default_rng(0), digit, _style("round"), BARE)[0].tobytes()
        for digit in range(1, 10)
    ]
    assert len(set(cells)) == 9


def test_an_empty_cell_has_no_ink_and_no_shape() -> None:
    image, shape = digit_cells.draw_cell(np.random.default_rng(0), 0, _style("round"), BARE)

    assert shape is None
    assert np.all(image == 250)


def test_a_frame_is_drawn_on_the_side_it_is_asked_for() -> None:
    image, _ = digit_cells.draw_cell(np.random.default_rng(0), 0, _style("round"), (3, 0, 0, 1))

    assert np.all(image[:3] == 40)
    assert np.all(image[:, 0] == 40)
    assert np.all(image[3:, 1:] == 250)


def test_the_same_seed_writes_the_same_bytes(tmp_path: Path) -> None:
    for folder in ("first", "second"):
        digit_cells.write_cells(tmp_path / folder, count=5, seed=3)

    first, second = (sorted((tmp_path / folder).iterdir()) for folder in ("first", "second"))
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    assert len(first) == 10


def test_an_annotation_says_what_was_drawn_in_numbers_that_a_rewrite_would_change() -> None:
    shape = digit_cells.Shape(7, (9.5, 8.125, 22.0, 24.625), ((9.5, 8.125), (22.0, 8.125), (15.0, 24.625)))

    text = digit_cells.annotation("a.png", (32, 32), [shape])

    read = json.loads(text)
    assert read == {
        "image": "a.png",
        "width": 32,
        "height": 32,
        "objects": [
            {
                "label": "7",
                "box": [9.5, 8.125, 22.0, 24.625],
                "polygon": [[9.5, 8.125], [22.0, 8.125], [15.0, 24.625]],
            }
        ],
    }
    assert "9.500" in text or "9.50000E+00" in text or "0.9500e1" in text
    assert json.dumps(read) != text


def test_no_digit_comes_twice_in_a_row_of_the_puzzle() -> None:
    _, shapes = digit_cells.draw_grid(np.random.default_rng(5), filled=1.0)

    for row in np.reshape([shape.digit for shape in shapes], (9, 9)):
        assert sorted(row) == list(range(1, 10))


def test_the_bundled_samples_are_what_the_simulator_draws(tmp_path: Path) -> None:
    digit_cells.write_samples(tmp_path)

    drawn = sorted(path.name for path in tmp_path.iterdir())
    assert sorted(path.name for path in SAMPLES.iterdir()) == drawn
    for name in drawn:
        if name.endswith(".json"):
            assert (SAMPLES / name).read_bytes() == (tmp_path / name).read_bytes(), name
        else:
            assert np.array_equal(_pixels(SAMPLES / name), _pixels(tmp_path / name)), name

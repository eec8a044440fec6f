"""Options are read strictly, and a refusal names the field."""

from __future__ import annotations

import json

import pytest

from app.errors import InvalidJson, InvalidOptions
from app.options import LockAnnotations, LockBox, LockPolygon, RefineOptions, read_options


def test_nothing_means_full_strength_and_seed_zero() -> None:
    options = read_options(None, max_variants=4)
    assert options == read_options(b"{}", max_variants=4) == RefineOptions()
    assert (options.strength, options.seed, options.variants, options.lock) == (1.0, 0, 1, ())


def test_every_kind_of_lock_is_understood() -> None:
    document = b"""{"lock": [{"box": [1, 2, 3.5, 4]}, {"polygon": [[0, 0], [1, 0], [0, 1]]},
                             {"annotations": "all"}, {"annotations": ["pupil"]}]}"""
    assert read_options(document, max_variants=1).lock == (
        LockBox(box=(1, 2, 3.5, 4)),
        LockPolygon(polygon=((0, 0), (1, 0), (0, 1))),
        LockAnnotations(annotations="all"),
        LockAnnotations(annotations=("pupil",)),
    )


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        (b"[]", "The options must be a JSON object"),
        (b'{"strength": 1.5}', r"The option strength is 1\.5, but should be less than or equal to 1"),
        (b'{"strength": "1"}', "The option strength is '1', but should be a valid number"),
        (b'{"strength": 1e400}', "The option strength is inf"),
        (b'{"strength": NaN}', "The option strength is nan"),
        (b'{"seed": -1}', "The option seed is -1"),
        (b'{"seed": 4294967296}', "The option seed is 4294967296"),
        (b'{"seed": true}', "The option seed is True"),
        (b'{"variants": 0}', "The option variants is 0"),
        (b'{"variants": 5}', "The option variants is 5, but the limit is 4"),
        (b'{"sed": 1}', "There is no option sed"),
        (b'{"lock": [{"box": [1, 2, 3]}]}', r"The option lock\.0\.box\.3 is missing"),
        (b'{"lock": [{"box": [1, 2, 3, 1e9]}]}', r"lock\.0\.box\.3 is 1000000000\.0"),
        (b'{"lock": [{"polygon": [[0, 0], [1, 1]]}]}', r"lock\.0\.polygon .* at least 3"),
        (b'{"lock": [{"annotations": "some"}]}', r"lock\.0\.annotations is 'some', but should be 'all'"),
        (b'{"lock": [{"circle": 1}]}', "exactly one of `box`, `polygon`, `annotations`"),
        (b'{"lock": [{"box": [1, 2, 3, 4], "polygon": []}]}', "exactly one of"),
        (b'{"thresholds": {"below": "shrug"}}', r"thresholds\.below is 'shrug'"),
        (b'{"output": {"format": "gif"}}', r"output\.format is 'gif', but should be 'png'"),
        (b'{"output": {"quality": 101}}', r"output\.quality is 101"),
    ],
)
def test_a_wrong_option_is_refused_by_its_name(document: bytes, sentence: str) -> None:
    with pytest.raises(InvalidOptions, match=sentence):
        read_options(document, max_variants=4)


@pytest.mark.parametrize("document", [b"", b"{", b"strength=1", b"\xff\xfe{}", b'{"a":1}x'])
def test_what_is_no_json_is_refused_as_such(document: bytes) -> None:
    with pytest.raises(InvalidJson, match="The options are not valid JSON"):
        read_options(document, max_variants=4)


def test_seeds_of_variants_count_up_and_wrap() -> None:
    options = RefineOptions(seed=2**32 - 1, variants=2)
    assert [options.seed_of(variant) for variant in range(2)] == [2**32 - 1, 0]


def test_only_the_first_of_thousands_of_wrong_points_is_told() -> None:
    polygons = [{"polygon": [[]] * 9000}] * 35
    with pytest.raises(InvalidOptions) as caught:
        read_options(json.dumps({"lock": polygons}), max_variants=1)
    assert "lock.0.polygon.0" in caught.value.detail
    assert "polygon.1" not in caught.value.detail
    assert "lock.1" not in caught.value.detail

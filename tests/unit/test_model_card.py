"""The model card: complete or refused."""

import json
from typing import Any

import numpy as np
import pytest

from model.card import CARD_KEY, CardDraft, ModelCard, NoiseSpec, Parity, read_card
from model.errors import CardError


@pytest.fixture
def card() -> ModelCard:
    return ModelCard(
        name="eyes.v2_a-1",
        description="grey eyes",
        bit_depth=8,
        preset="gaze",
        steps=1000,
        synthetic_data="drawn",
        real_data="photographed",
        licence="CC BY 4.0",
        attribution="somebody",
        created_utc="2026-01-31T12:00:00+00:00",
        trainer_version="0.1.0",
        metrics={"accuracy": 0.5},
        schema_version=1,
        channels=1,
        receptive_field_radius=9,
        noise=NoiseSpec(pixel_channels=2, smooth_channels=0, image_channels=1),
        precision="fp32",
        parameters=296129,
        parity=Parity(
            max_difference=1, differing_fraction=0.25, sizes=((1, 35, 55),), tolerance=1, runtime="test"
        ),
    )


def with_change(card: ModelCard, **change: Any) -> dict[str, str]:
    return {CARD_KEY: json.dumps(card.model_dump(mode="json") | change)}


def test_a_card_survives_the_way_through_the_metadata(card: ModelCard) -> None:
    assert read_card({CARD_KEY: card.model_dump_json(), "other": "ignored"}) == card


def test_no_field_of_the_card_has_a_default_but_the_grid() -> None:
    for kind in (ModelCard, CardDraft, NoiseSpec, Parity):
        optional = {name for name, field in kind.model_fields.items() if not field.is_required()}
        assert optional <= {"grid"}, kind


def test_a_card_from_before_grids_has_none(card: ModelCard) -> None:
    content = card.model_dump(mode="json")
    del content["grid"]

    assert read_card({CARD_KEY: json.dumps(content)}).grid == 1


@pytest.mark.parametrize("field", sorted(set(ModelCard.model_fields) - {"grid"}))
def test_a_card_without_any_one_field_is_refused_by_that_name(card: ModelCard, field: str) -> None:
    content = card.model_dump(mode="json")
    del content[field]

    with pytest.raises(CardError, match=f"field '{field}'"):
        read_card({CARD_KEY: json.dumps(content)})


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"surprise": 1}, "surprise"),
        ({"name": "Upper Case"}, "name"),
        ({"name": "../escape"}, "name"),
        ({"name": "a" * 65}, "name"),
        ({"schema_version": 2}, "schema_version"),
        ({"bit_depth": 12}, "bit_depth"),
        ({"channels": 0}, "channels"),
        ({"channels": 65}, "channels"),
        ({"channels": "1"}, "channels"),
        ({"channels": True}, "channels"),
        ({"precision": "fp64"}, "precision"),
        (
            {"noise": {"pixel_channels": -1, "smooth_channels": 0, "image_channels": 0}},
            "noise.pixel_channels",
        ),
        ({"metrics": {"accuracy": float("nan")}}, "metrics.accuracy"),
        ({"created_utc": "yesterday"}, "created_utc"),
        ({"created_utc": "2026-01-31T12:00:00"}, "created_utc"),
    ],
)
def test_a_card_with_a_wrong_field_is_refused_by_its_name(
    card: ModelCard, change: dict[str, Any], field: str
) -> None:
    with pytest.raises(CardError, match=f"field '{field}'"):
        read_card(with_change(card, **change))


def test_a_card_whose_parity_breaks_its_own_tolerance_is_refused(card: ModelCard) -> None:
    parity = card.parity.model_dump(mode="json") | {"max_difference": 2}

    with pytest.raises(CardError, match="max_difference 2 is above the tolerance 1"):
        read_card(with_change(card, parity=parity))


def test_a_file_without_a_card_is_refused_by_the_missing_key() -> None:
    with pytest.raises(CardError, match=r"no key 'simtrue\.card'"):
        read_card({"producer": "somebody"})


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"card"'])
def test_a_card_that_is_no_json_object_is_refused(text: str) -> None:
    with pytest.raises(CardError, match="the model card is unusable"):
        read_card({CARD_KEY: text})


def test_the_bit_depth_decides_type_and_peak(card: ModelCard) -> None:
    deep = card.model_copy(update={"bit_depth": 16})

    assert (card.dtype, card.peak) == (np.dtype(np.uint8), 255)
    assert (deep.dtype, deep.peak) == (np.dtype(np.uint16), 65535)


def test_noise_channels_are_counted_together() -> None:
    assert NoiseSpec(pixel_channels=2, smooth_channels=0, image_channels=3).channels == 5

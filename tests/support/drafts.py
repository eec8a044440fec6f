"""What a card says before its refiner is exported."""

from model.card import CardDraft


def draft(name: str = "squares", bit_depth: int = 8) -> CardDraft:
    """Of a refiner that a test made."""
    texts = ("description", "preset", "synthetic_data", "real_data", "licence", "attribution")
    return CardDraft.model_validate(
        {
            **dict.fromkeys((*texts, "trainer_version"), "a test"),
            "name": name,
            "bit_depth": bit_depth,
            "steps": 7,
            "created_utc": "2026-01-31T12:00:00+00:00",
            "metrics": {"accuracy": 0.5},
        }
    )

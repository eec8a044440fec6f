"""The JSON answers of POST /refine, and report.json."""

from __future__ import annotations

from pydantic import BaseModel, Field, JsonValue

from app.image_report import ImageReport


class ModelName(BaseModel):
    """The model that refined, and its version."""

    name: str
    version: int


class Timings(BaseModel):
    """Where the time of the request went, in ms."""

    read: float
    refine: float
    total: float


class RefinedPicture(ImageReport):
    """One refined image with its bytes."""

    image: str = Field(description="The encoded image, as base64.")


class RefineAnswer(BaseModel):
    """The JSON answer of POST /refine."""

    model: ModelName
    annotations: JsonValue = Field(
        description="What was sent, byte for byte; a list if there was one per image, null if there was none."
    )
    images: list[RefinedPicture]
    timings_ms: Timings

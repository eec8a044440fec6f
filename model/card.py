"""The model card: what a refiner file says about itself, kept as JSON in the ONNX metadata."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    NonNegativeInt,
    PositiveInt,
    ValidationError,
    field_validator,
    model_validator,
)

from model.errors import CardError

CARD_KEY = "simtrue.card"
"""Key of the card in the ONNX `metadata_props`."""

Precision = Literal["fp32", "fp16", "int8", "bf16"]
BitDepth = Literal[8, 16]


class NoiseSpec(BaseModel):
    """How many noise channels a refiner takes beside the image; all of them are N(0, 1)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pixel_channels: NonNegativeInt
    """Channels of white noise: an own number for every pixel."""
    smooth_channels: NonNegativeInt
    """Channels of noise that changes slowly from pixel to pixel, as haze and shadows do."""
    image_channels: NonNegativeInt
    """Channels that hold one number per image, constant over its height and width."""

    @property
    def channels(self) -> int:
        """All noise channels; 0 means that the refiner takes no noise."""
        return self.pixel_channels + self.smooth_channels + self.image_channels


NO_NOISE = NoiseSpec(pixel_channels=0, smooth_channels=0, image_channels=0)


class Parity(BaseModel):
    """The comparison of torch (float32, eager) with ONNX Runtime, measured when the file was written.

    Of an int8 file: the comparison with the fp32 file it was made from, on the images of the run.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_difference: NonNegativeInt
    """Largest difference of a value, in grey levels of the card's bit depth."""
    differing_fraction: Annotated[FiniteFloat, Field(ge=0, le=1)]
    """Fraction of all compared values that differ at all."""
    sizes: Annotated[tuple[tuple[PositiveInt, PositiveInt, PositiveInt], ...], Field(min_length=1)]
    """The compared batches as (N, H, W)."""
    tolerance: NonNegativeInt
    """Largest difference that was allowed, in grey levels."""
    runtime: str
    """What ran the file, e.g. `onnxruntime 1.31.1 CPUExecutionProvider`; int8 adds `, int8 against fp32`."""

    @model_validator(mode="after")
    def _difference_is_tolerated(self) -> Self:
        if self.max_difference > self.tolerance:
            raise ValueError(f"max_difference {self.max_difference} is above the tolerance {self.tolerance}")
        return self


class CardDraft(BaseModel):
    """What only the trainer knows about a refiner; export measures the rest. No field has a default."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
    description: str
    bit_depth: BitDepth
    preset: str
    steps: NonNegativeInt
    synthetic_data: str
    real_data: str
    licence: str
    attribution: str
    created_utc: str
    """ISO 8601 with its offset, e.g. `2026-01-31T12:00:00+00:00`."""
    trainer_version: str
    metrics: dict[str, FiniteFloat]

    @field_validator("created_utc")
    @classmethod
    def _is_a_moment(cls, text: str) -> str:
        if datetime.fromisoformat(text).tzinfo is None:
            raise ValueError("the time has no offset from UTC")
        return text

    @property
    def dtype(self) -> np.dtype[np.uint8] | np.dtype[np.uint16]:
        """The type of an image value, in and out: uint8 or uint16."""
        return np.dtype(np.uint8) if self.bit_depth == 8 else np.dtype(np.uint16)

    @property
    def peak(self) -> int:
        """The largest image value: 255 or 65535."""
        return int(np.iinfo(self.dtype).max)


class ModelCard(CardDraft):
    """The whole card: the trainer's draft and what export measured. Only `grid` has a default."""

    schema_version: Literal[1]
    channels: Annotated[int, Field(ge=1, le=64)]
    """Image channels C: 1 for grey and depth, 3 for RGB in that order."""
    receptive_field_radius: NonNegativeInt
    """A pixel of the output depends on nothing further away than this many px, in each direction."""
    grid: Annotated[int, Field(ge=1, le=64)] = 1
    """Tiles that begin at a multiple of this many px see what the whole image saw; files from before grids
    do not say it, and have none."""
    noise: NoiseSpec
    precision: Precision
    parameters: NonNegativeInt
    parity: Parity


def read_card(metadata: Mapping[str, str]) -> ModelCard:
    """Read the card out of a file's ONNX metadata.

    Raises CardError when it is missing, is not JSON, or has a missing, unknown or wrong field.
    """
    text = metadata.get(CARD_KEY)
    if text is None:
        raise CardError(f"the file has no model card: its ONNX metadata has no key {CARD_KEY!r}")
    try:
        return ModelCard.model_validate_json(text, strict=True)
    except ValidationError as error:
        raise CardError(_first_fault(error)) from error


def _first_fault(error: ValidationError) -> str:
    fault = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in fault["loc"])
    if not field:
        return f"the model card is unusable: {fault['msg']}"
    return f"the model card is unusable: field {field!r}: {fault['msg']}"

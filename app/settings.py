"""Every setting of the service: environment variable (`SIMTRUE_*`), unit, default and bound."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.errors import BadSettings

ENV_PREFIX = "SIMTRUE_"
BUNDLED_MODELS = Path(__file__).resolve().parent / "bundled" / "models"
MIB = 1 << 20

Device = Literal["auto", "cpu", "cuda"]
LogLevel = Literal["debug", "info", "warning", "error"]


class Settings(BaseSettings):
    """The resolved settings of one service process.

    Values come from keyword arguments, else from the environment, else from the defaults below. Use
    `load_settings` where a person reads the message: it turns pydantic's report into one sentence.
    """

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, frozen=True, env_ignore_empty=True, extra="forbid"
    )

    host: Annotated[str, Field(min_length=1, max_length=255)] = Field(
        "127.0.0.1", description="Address to listen on; 0.0.0.0 for all interfaces."
    )
    port: int = Field(8000, ge=0, le=65535, description="TCP port to listen on; 0 takes a free one.")
    models: Path = Field(
        BUNDLED_MODELS, description="Model repository: a folder of `<name>/<version>/refiner.onnx`."
    )
    models_poll_s: float = Field(
        5.0, ge=0.05, le=3600, description="Seconds between two looks at the model repository."
    )
    default_model: Annotated[str, Field(min_length=1, max_length=64)] | None = Field(
        None, description="Model for requests that name none; unset takes the first by name."
    )
    device: Device = Field(
        "auto", description="Where refiners run; auto takes a GPU that works, else the processor."
    )
    threads: int = Field(
        0, ge=0, le=1024, description="Processor threads of one ONNX Runtime session; 0 takes all cores."
    )
    codec_threads: int = Field(
        0, ge=0, le=256, description="Threads that decode and encode images; 0 takes as many as cores."
    )
    background_codec_threads: int = Field(
        0,
        ge=0,
        le=256,
        description="Threads of low priority that decode and encode images of jobs; 0 takes one per core.",
    )
    max_upload_bytes: int = Field(
        64 * MIB, ge=1024, le=16384 * MIB, description="Largest request body, in bytes."
    )
    max_annotation_bytes: int = Field(
        16 * MIB, ge=2, le=1024 * MIB, description="Largest annotation document, in bytes."
    )
    max_pixels: int = Field(
        100_000_000, ge=1, le=1_000_000_000, description="Most pixels (height times width) of one image."
    )
    max_images_per_request: int = Field(64, ge=1, le=4096, description="Most images in one request.")
    max_variants: int = Field(16, ge=1, le=256, description="Most refinements asked of one image.")
    max_queue_images: int = Field(
        1024,
        ge=1,
        le=1_000_000,
        description="Most images in the engine, waiting and running, all models, without those of jobs.",
    )
    max_queue_pixels: int = Field(
        256_000_000, ge=1, le=64_000_000_000, description="Most pixels decoded at once, of all requests."
    )
    max_batch_images: int = Field(32, ge=1, le=4096, description="Most images in one inference.")
    # 2^18 px of a refiner of 64 channels take 0.3 GB and a second of one core; 2^20 took 1 GB, no faster,
    # and small images waited four times as long behind a large one.
    max_batch_pixels: int = Field(
        1 << 18, ge=1, le=1 << 30, description="Most pixels in one inference; a single tile may have more."
    )
    # A refiner of 32 channels takes 27 ms for 2^14 px on one core, which is how long a request waits for it.
    # Smaller than that costs throughput (2^13: 3 %, 2^12: 7 %), larger gains none: images of 32x32 px go at
    # 98 % of the best, those of 256x256 and 1024x1024 even faster than in batches of 2^18 px.
    background_batch_pixels: int = Field(
        1 << 14,
        ge=1,
        le=1 << 30,
        description="Most pixels per processor thread in one inference for a job, up to MAX_BATCH_PIXELS; a "
        "single tile may have more. A request waits until it is over. Means nothing on a GPU.",
    )
    tile_pixels: int = Field(
        1 << 18, ge=1024, le=1 << 30, description="Images with more pixels than this are refined in tiles."
    )
    request_timeout_s: float = Field(60.0, ge=0.1, le=86400, description="Seconds one request may take.")
    shutdown_grace_s: float = Field(
        30.0, ge=0, le=3600, description="Seconds that requests in flight get to finish at a stop."
    )
    log_level: LogLevel = Field("info", description="Least severe message that is logged.")

    @model_validator(mode="after")
    def _largest_image_fits_the_queue(self) -> Self:
        if self.max_queue_pixels < self.max_pixels:
            raise ValueError(
                f"{ENV_PREFIX}MAX_QUEUE_PIXELS is {self.max_queue_pixels}, but must be at least "
                f"{ENV_PREFIX}MAX_PIXELS ({self.max_pixels}), or the largest image could never be taken"
            )
        return self


def load_settings(**overrides: Any) -> Settings:
    """Read the settings from the environment; `overrides` (such as command-line flags) win over it.

    Raises BadSettings: one sentence naming every wrong variable, its value and its bound.
    """
    try:
        return Settings(**overrides)
    except ValidationError as error:
        raise BadSettings(sentence_of(error)) from None


def sentence_of(error: ValidationError) -> str:
    """Say in one sentence what a failed validation of `Settings` found."""
    return "; ".join(_clause(dict(found)) for found in error.errors(include_url=False)) + "."


def variable_of(field: str) -> str:
    """Name the environment variable of a settings field."""
    return ENV_PREFIX + field.upper()


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """List the variables with our prefix that set nothing, most likely misspelt ones."""
    known = {variable_of(field) for field in Settings.model_fields}
    return sorted(
        name for name in environ if name.upper().startswith(ENV_PREFIX) and name.upper() not in known
    )


def _clause(found: dict[str, Any]) -> str:
    if not found["loc"]:
        return str(found["ctx"]["error"])
    field = str(found["loc"][0])
    if field not in Settings.model_fields:
        return f"there is no setting {variable_of(field)}"
    return f"{variable_of(field)} is {found['input']!r}, but {_bound(str(found['msg']))}"


def _bound(message: str) -> str:
    """Turn pydantic's "Input should be less than or equal to 5" into "must be at most 5"."""
    text = message.split(", unable to parse", maxsplit=1)[0].replace("Input should be", "must be")
    text = text.replace("greater than or equal to", "at least").replace("less than or equal to", "at most")
    return text[0].lower() + text[1:]

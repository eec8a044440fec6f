"""Every setting of the service: environment variable (`SIMTRUE_*`), unit, default and bound."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.errors import BadSettings

_SECRETS = {"database"}
ENV_PREFIX = "SIMTRUE_"
OF_CLIENTS = frozenset({"SIMTRUE_URL"})
"""Variables that `simtrue jobs` reads, which is no part of a service."""
BUNDLED_MODELS = Path(__file__).resolve().parent / "bundled" / "models"
MIB = 1 << 20
MAX_URL_CHARACTERS = 2048
DATABASE_SCHEMES = ("sqlite", "postgresql", "postgres", "postgresql+psycopg")

Device = Literal["auto", "cpu", "cuda"]
Executor = Literal["local", "ray"]
LogLevel = Literal["debug", "info", "warning", "error"]


def _folders(text: object) -> object:
    return [part for part in re.split(rf"[,{os.pathsep}]", text) if part] if isinstance(text, str) else text


def _prefixes(text: object) -> object:
    return [part.strip() for part in text.split(",") if part.strip()] if isinstance(text, str) else text


def _absolute(folder: Path) -> Path:
    if not folder.is_absolute():
        raise ValueError("must be an absolute path")
    return folder


def _in_s3(prefix: str) -> str:
    if not re.fullmatch(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/.*)?", prefix):
        raise ValueError("must have the form s3://bucket/prefix")
    return prefix


Folders = Annotated[
    tuple[Annotated[Path, AfterValidator(_absolute)], ...], NoDecode, BeforeValidator(_folders)
]
S3Prefixes = Annotated[
    tuple[Annotated[str, AfterValidator(_in_s3)], ...], NoDecode, BeforeValidator(_prefixes)
]


class Settings(BaseSettings):
    """The resolved settings of one service process.

    Values come from keyword arguments, else from the environment, else from the defaults below. Use
    `load_settings` where a person reads the message: it turns pydantic's report into one sentence.
    """

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        frozen=True,
        env_ignore_empty=True,
        extra="forbid",
        hide_input_in_errors=True,
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
    data: Path = Field(
        Path("~/.local/share/simtrue"),
        validate_default=True,
        description="Folder of the dataset jobs; unset goes by XDG_DATA_HOME. Several replicas share one.",
    )
    database: SecretStr | None = Field(
        None,
        description="URL of the jobs' ledger, sqlite:////file or postgresql://user@host/name; unset takes "
        "`ledger.sqlite` in the data folder.",
    )
    max_archive_bytes: int = Field(
        64 << 30, ge=1024, le=1 << 44, description="Largest archive that may be uploaded as a job, in bytes."
    )
    max_set_bytes: int = Field(
        1 << 40, ge=1024, le=1 << 50, description="Most bytes that an uploaded archive may unpack to."
    )
    max_set_files: int = Field(
        2_000_000, ge=1, le=100_000_000, description="Most files in the set of one job."
    )
    jobs_at_once: int = Field(2, ge=1, le=256, description="Jobs that one process works on at once.")
    max_queued_jobs: int = Field(1000, ge=1, le=1_000_000, description="Most jobs that may wait to be begun.")
    job_chunk_files: int = Field(
        128, ge=1, le=100_000, description="Files of a job that are done, and recorded, together."
    )
    job_chunk_attempts: int = Field(
        5, ge=1, le=100, description="How often a chunk may end its process before its files count as failed."
    )
    job_beat_s: float = Field(
        2.0, ge=0.05, le=600, description="Seconds between two signs of life of a job's driver."
    )
    job_lease_s: float = Field(
        20.0, ge=0.2, le=3600, description="Seconds without a sign of life after which a job is taken over."
    )
    job_retention_hours: float = Field(
        168.0, ge=0.01, le=876_000, description="Hours that finished jobs and their results are kept."
    )
    jobs_max_bytes: int = Field(
        256 << 30,
        ge=0,
        le=1 << 50,
        description="Most bytes of results that are kept; the oldest finished jobs are deleted first.",
    )
    executor: Executor = Field(
        "local", description="Who refines the chunks of jobs: this process, or workers in a Ray cluster."
    )
    ray_address: Annotated[str, Field(pattern=r"^ray://[^/\s]+:[0-9]+$")] | None = Field(
        None, description="Ray's client port, like `ray://ray-head:10001`; needed where EXECUTOR is ray."
    )
    ray_gpus_per_worker: float = Field(
        1.0, ge=0.01, le=1, description="GPUs of a Ray worker; less than 1 lets several share one."
    )
    ray_cpus_per_worker: int = Field(
        8, ge=1, le=1024, description="Processor threads of a Ray worker where the cluster has no GPUs."
    )
    log_level: LogLevel = Field("info", description="Least severe message that is logged.")
    source_roots: Folders = Field(
        (),
        description="Folders that jobs may read in place, separated by `:` or `,`; empty for none.",
    )
    destination_roots: Folders = Field(
        (),
        description="Folders that jobs may write into, separated by `:` or `,`; empty for none.",
    )
    s3_prefixes: S3Prefixes = Field(
        (),
        description="What jobs may read in S3, like `s3://bucket/sets/`, separated by `,`; empty for none.",
    )
    s3_destination_prefixes: S3Prefixes = Field(
        (), description="What jobs may write in S3, separated by `,`; empty for none."
    )
    s3_endpoint: Annotated[str, Field(pattern=r"^https?://[^/\s]+/?$")] | None = Field(
        None,
        description="S3 server other than Amazon's, such as `http://minio:9000`; credentials come from the "
        "usual variables, files and roles of AWS.",
    )

    @model_validator(mode="before")
    @classmethod
    def _data_goes_by_xdg(cls, given: dict[str, Any]) -> dict[str, Any]:
        shares = Path(os.environ.get("XDG_DATA_HOME", ""))
        return {"data": shares / "simtrue"} | given if shares.is_absolute() else given

    @field_validator("data", mode="after")
    @classmethod
    def _data_is_one_place(cls, data: Path) -> Path:
        try:
            return data.expanduser().absolute()
        except RuntimeError:
            raise ValueError("this user has no home folder; name another one") from None

    @field_validator("database", mode="after")
    @classmethod
    def _database_is_one_of_ours(cls, database: SecretStr | None) -> SecretStr | None:
        url = database.get_secret_value() if database else "sqlite://"
        if len(url) > MAX_URL_CHARACTERS or url.partition("://")[0] not in DATABASE_SCHEMES:
            raise ValueError(
                f"must be a URL of at most {MAX_URL_CHARACTERS} characters, sqlite:// or postgresql://"
            )
        return database

    @model_validator(mode="after")
    def _largest_image_fits_the_queue(self) -> Self:
        if self.max_queue_pixels < self.max_pixels:
            raise ValueError(
                f"{ENV_PREFIX}MAX_QUEUE_PIXELS is {self.max_queue_pixels}, but must be at least "
                f"{ENV_PREFIX}MAX_PIXELS ({self.max_pixels}), or the largest image could never be taken"
            )
        return self

    @model_validator(mode="after")
    def _a_cluster_has_an_address(self) -> Self:
        if self.executor == "ray" and self.ray_address is None:
            raise ValueError(
                f"{ENV_PREFIX}EXECUTOR is ray, so {ENV_PREFIX}RAY_ADDRESS must say where, "
                "like ray://ray-head:10001"
            )
        return self

    @model_validator(mode="after")
    def _a_lease_outlasts_its_beats(self) -> Self:
        if self.job_lease_s < 3 * self.job_beat_s:
            raise ValueError(
                f"{ENV_PREFIX}JOB_LEASE_S is {self.job_lease_s:g}, but must be at least three times "
                f"{ENV_PREFIX}JOB_BEAT_S ({self.job_beat_s:g}), or jobs would be taken from those who live"
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
    known = OF_CLIENTS | {variable_of(field) for field in Settings.model_fields}
    return sorted(
        name for name in environ if name.upper().startswith(ENV_PREFIX) and name.upper() not in known
    )


def _clause(found: dict[str, Any]) -> str:
    if not found["loc"]:
        return str(found["ctx"]["error"])
    field = str(found["loc"][0])
    if field not in Settings.model_fields:
        return f"there is no setting {variable_of(field)}"
    shown = "is set" if field in _SECRETS else f"is {found['input']!r}"
    return f"{variable_of(field)} {shown}, but {_bound(str(found['msg']))}"


def _bound(message: str) -> str:
    """Turn pydantic's "Input should be less than or equal to 5" into "must be at most 5"."""
    text = message.removeprefix("Value error, ").split(", unable to parse", maxsplit=1)[0]
    text = text.replace("Input should be", "must be")
    text = text.replace("greater than or equal to", "at least").replace("less than or equal to", "at most")
    return text[0].lower() + text[1:]

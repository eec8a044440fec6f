"""The options of one refinement: strength, seed, locks, thresholds and output, as callers write them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    FailFast,
    Field,
    Tag,
    ValidationError,
    field_validator,
)

from app.errors import InvalidJson, InvalidOptions
from app.preservation import verdict
from app.preservation.verdict import WhenBelow

_DEFAULTS = verdict.Thresholds()
MAX_LOCKS = 1000
MAX_POLYGON_POINTS = 10_000

Coordinate = Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)]
Point = tuple[Coordinate, Coordinate]
OutputFormat = Literal["png", "jpeg", "webp", "tiff", "bmp"]
ArchiveKind = Literal["zip", "tar", "tar.gz", "tar.zst"]


class _Options(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class LockBox(_Options):
    """A locked rectangle: pixels from (x1, y1) up to (x2, y2), in px of the upright image."""

    box: tuple[Coordinate, Coordinate, Coordinate, Coordinate]

    @field_validator("box")
    @classmethod
    def _not_inside_out(cls, box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
        if box[2] <= box[0] or box[3] <= box[1]:
            raise ValueError("needs x1 < x2 and y1 < y2")
        return box


class LockPolygon(_Options):
    """A locked polygon of at least three points (x, y), in px of the upright image."""

    polygon: Annotated[tuple[Point, ...], Field(min_length=3, max_length=MAX_POLYGON_POINTS), FailFast()]


class LockAnnotations(_Options):
    """Lock what is annotated: everything, or only the named labels."""

    annotations: Literal["all"] | tuple[str, ...]


def _lock_kind(value: object) -> str | None:
    if isinstance(value, BaseModel):
        return next(iter(type(value).model_fields))
    if not isinstance(value, Mapping):
        return None
    kinds = [kind for kind in ("box", "polygon", "annotations") if kind in value]
    return kinds[0] if len(kinds) == 1 else None


Lock = Annotated[
    Annotated[LockBox, Tag("box")]
    | Annotated[LockPolygon, Tag("polygon")]
    | Annotated[LockAnnotations, Tag("annotations")],
    Discriminator(
        _lock_kind,
        custom_error_type="lock_kind",
        custom_error_message="a lock has exactly one of `box`, `polygon`, `annotations`",
    ),
]


class _Limits(_Options):
    """When structure counts as preserved."""

    max_shift_px: float = Field(
        default=_DEFAULTS.max_shift_px,
        ge=0,
        le=1e4,
        description="Farthest that structure may move, in px; "
        "what moves by more than 4 (as many times more as a region is longer than 96) counts as lost.",
    )
    min_structure_kept: float = Field(
        default=_DEFAULTS.min_structure_kept, ge=0, le=1, description="Least share of structure to be left."
    )
    min_least_kept: float = Field(
        default=_DEFAULTS.min_least_kept,
        ge=0,
        le=1,
        description="Least share to be left where most was lost; 0 does not look there.",
    )


class Thresholds(_Limits):
    """When structure counts as preserved, and what happens to an image where it is not."""

    below: WhenBelow = Field(
        default="soften", description="Lower the strength, keep the original, or only report."
    )


class JobThresholds(_Limits):
    """The same in a job, where an image may also be left out of the set."""

    below: WhenBelow | Literal["drop"] = Field(
        default="soften",
        description="Lower the strength, keep the original, drop the image from the set, or only report.",
    )


class Output(_Options):
    """How refined images are encoded."""

    format: OutputFormat | None = Field(default=None, description="Image format; unset keeps the one sent.")
    quality: int | None = Field(
        default=None, ge=1, le=100, description="Quality of lossy formats; unset keeps that of the source."
    )


class _Refinement(_Options):
    """What a caller may choose about every refinement."""

    strength: float = Field(
        default=1.0, ge=0, le=1, description="Share of the change applied; 0 changes nothing."
    )
    seed: int = Field(
        default=0,
        ge=0,
        le=2**32 - 1,
        description="Seed of the noise, with the pixels of the image; variant i uses seed + i.",
    )
    shared_look: bool = Field(
        default=False,
        description="One look for all images, as for the frames of a film: the noise is drawn from the seed "
        "alone. Otherwise every image has its own, which the same image gets wherever it is sent.",
    )
    variants: int = Field(default=1, ge=1, description="Refinements per image, for models that take noise.")
    lock: Annotated[tuple[Lock, ...], Field(max_length=MAX_LOCKS), FailFast()] = Field(
        default=(), description="Regions whose pixels stay bit-identical, in a format without losses."
    )
    output: Output = Output()

    def seed_of(self, variant: int) -> int:
        """Seed of the variant with this index; seeds wrap at 2^32."""
        return (self.seed + variant) % 2**32


class RefineOptions(_Refinement):
    """Everything that a caller may choose about one request."""

    thresholds: Thresholds = Thresholds()


_Chosen = TypeVar("_Chosen", bound=_Refinement)
Pattern = Annotated[str, Field(min_length=1, max_length=1024)]
Patterns = Annotated[tuple[Pattern, ...], Field(max_length=1000)]


class JobOptions(_Refinement):
    """Everything that a caller may choose about the refinement of a set."""

    thresholds: JobThresholds = JobThresholds()
    include: Patterns = Field(
        default=(),
        description="Shell patterns on paths below the set: the images that match are refined, also those "
        "that look like label images, and no others. Empty: all images but label images.",
    )
    exclude: Patterns = Field(
        default=(), description="Patterns of images that are copied as they are; they win."
    )
    lists: Patterns = Field(
        default=(),
        description="Patterns of text files with a line per image, such as train.txt: the lines of dropped "
        "images are taken out. Every other file stays as it is, byte for byte.",
    )
    archive: ArchiveKind = Field(default="zip", description="Kind of archive that the result is packed into.")
    dry_run: bool = Field(default=False, description="Only plan, so that `plan` can be read; refine nothing.")

    @property
    def drop_below(self) -> bool:
        """Whether images below the thresholds are left out."""
        return self.thresholds.below == "drop"

    def refine_options(self) -> RefineOptions:
        """What of these concerns a single image; one that may be dropped is only reported on."""
        limits = self.thresholds
        below: WhenBelow = "report" if limits.below == "drop" else limits.below
        return RefineOptions(
            **{name: getattr(self, name) for name in _Refinement.model_fields},
            thresholds=Thresholds(
                **{name: getattr(limits, name) for name in _Limits.model_fields}, below=below
            ),
        )


def read_options(document: bytes | str | None, *, max_variants: int) -> RefineOptions:
    """Read options from JSON; nothing means the defaults.

    Raises `InvalidJson` for what is no JSON and `InvalidOptions` naming the field that is wrong.
    """
    return _read(RefineOptions, document, max_variants)


def read_job_options(document: bytes | str | None, *, max_variants: int) -> JobOptions:
    """Read the options of a job, in the same way."""
    return _read(JobOptions, document, max_variants)


def _read(kind: type[_Chosen], document: bytes | str | None, max_variants: int) -> _Chosen:
    try:
        options = _defaults(kind) if document is None else kind.model_validate_json(document)
    except ValidationError as error:
        raise _refusal(error) from error
    if options.variants > max_variants:
        raise InvalidOptions(f"The option variants is {options.variants}, but the limit is {max_variants}.")
    return options


@cache
def _defaults(kind: type[_Chosen]) -> _Chosen:
    return kind()


def _refusal(error: ValidationError) -> InvalidJson | InvalidOptions:
    found: list[dict[str, Any]] = [dict(entry) for entry in error.errors(include_url=False)]
    if found[0]["type"] == "json_invalid":
        return InvalidJson(f"The options are not valid JSON: {found[0]['ctx']['error']}.")
    return InvalidOptions("; ".join(_clause(entry) for entry in found[:3]) + ".")


def _clause(found: dict[str, Any]) -> str:
    if not found["loc"]:
        return "The options must be a JSON object"
    field = _field(found["loc"])
    if found["type"] == "extra_forbidden":
        return f"There is no option {field[:80]}"
    if found["type"] == "missing":
        return f"The option {field} is missing"
    message = str(found["msg"]).removeprefix("Input ").removeprefix("Value error, ")
    return f"The option {field} is {_short(found['input'])}, but {message[:1].lower()}{message[1:]}"


def _field(location: tuple[str | int, ...]) -> str:
    """Join the steps to a field, without those that only name a branch of a union."""
    steps = [str(step) for step in location if "[" not in str(step)]
    return ".".join(step for step, before in zip(steps, [None, *steps], strict=False) if step != before)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."

"""What a service says about jobs, as far as a client needs it; other members of its answers are ignored."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

FINISHED: Final = frozenset({"done", "failed", "cancelled"})
MOST_SHOWN: Final = 2000


def printable(text: str) -> str:
    """`text` for a terminal: what could move its cursor is spelled out, what is too long is cut."""
    shown = "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text[:MOST_SHOWN])
    return shown if len(text) <= MOST_SHOWN else f"{shown}…"


Text = Annotated[str, AfterValidator(printable)]
Count = Annotated[int, Field(ge=0)]


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Problem(_Answer):
    """Why a request was refused."""

    detail: Text


class Counts(_Answer):
    """Files by what became of them."""

    verdicts: dict[Text, Count]
    copied: Count
    dropped: Count
    failed: Count
    failures: dict[Text, Count]


class Result(_Answer):
    """The packed result."""

    archive: Text
    bytes: Count
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Model(_Answer):
    """The refiner of a job."""

    name: Text
    version: int


class Job(_Answer):
    """One look at a job."""

    id: Annotated[str, Field(pattern=r"^[0-9a-z]{26}$")]
    state: Text
    waiting: bool
    detail: Text
    created_utc: Text
    finished_utc: Text | None
    model: Model
    archive: Text | None
    source: Text | None
    destination: Text | None
    files: Count
    images: Count
    done: Count
    counts: Counts
    files_per_s: float | None
    eta_s: float | None
    result: Result | None

    @property
    def finished(self) -> bool:
        """Nothing more comes."""
        return self.state in FINISHED

    @property
    def set_name(self) -> str:
        """What is refined."""
        return self.archive or self.source or "set"


class JobPage(_Answer):
    """A page of jobs, newest first."""

    jobs: list[Job]
    cursor: str | None

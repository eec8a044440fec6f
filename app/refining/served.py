"""The records about served models: what is served, how it fares, what is known about each version."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from app.refining.session import RefinerSession
from model.card import ModelCard


@dataclass(frozen=True, eq=False)
class ServedModel:
    """One loaded version of a refiner. Whoever holds it can go on using it, replaced or not."""

    name: str
    version: int
    card: ModelCard
    session: RefinerSession
    sha256: str
    loaded_utc: datetime
    provider: str


@dataclass(frozen=True)
class LastInference:
    """How the newest real inference of a model went; the warm-up counts."""

    at_utc: datetime
    error: str | None

    @property
    def ok(self) -> bool:
        """Whether it went well."""
        return self.error is None


@dataclass(frozen=True)
class ModelStatus:
    """What is known about one version in the repository.

    `state`: "serving"; "refused" (`detail` says why; tried again when the file changes); "available" (on
    disk, not loaded: an older version, or the model was unloaded).
    """

    name: str
    version: int
    state: Literal["serving", "refused", "available"]
    detail: str | None = None
    model: ServedModel | None = None
    last_inference: LastInference | None = None


@dataclass(frozen=True)
class Readiness:
    """Whether refinements can be answered; `detail` says in one sentence why not."""

    ready: bool
    detail: str | None

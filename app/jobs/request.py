"""What a job was asked to do, as it is kept: everything that decides about its result."""

from __future__ import annotations

import hashlib

from pydantic import BaseModel, ConfigDict, Field

from app.options import JobOptions


class PinnedModel(BaseModel):
    """The very refiner that a job was accepted with."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    version: int
    sha256: str


class JobRequest(BaseModel):
    """One accepted job.

    archive: the name that the client gave the uploaded archive, None where `source` says where the set is.
    destination: where the result goes; None packs it into an archive for `…/result`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: PinnedModel
    archive: str | None = None
    source: str | None = None
    destination: str | None = None
    options: JobOptions = Field(default_factory=JobOptions)

    @property
    def leave_copies(self) -> bool:
        """Whether files that are only copied lie in the folder of the job, where nobody changes them."""
        return self.source is None and self.destination is None

    def digest(self, archive_sha256: str | None) -> str:
        """Two requests with one digest ask for the same."""
        content = self.model_dump_json() + (archive_sha256 or "")
        return hashlib.sha256(content.encode()).hexdigest()

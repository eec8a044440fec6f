"""What is told about a job over HTTP."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, Field

from app.jobs.job import Job, State
from app.jobs.request import JobRequest


class CountsView(BaseModel):
    """Files by what became of them so far."""

    verdicts: dict[str, int] = Field(description="Refined images by verdict.")
    copied: int
    dropped: int = Field(description="Images below the thresholds that were left out of the result.")
    failed: int
    failures: dict[str, int] = Field(description="How many files failed for which reason.")


class ResultView(BaseModel):
    """The packed result."""

    archive: str
    bytes: int
    sha256: str


class ModelOfJob(BaseModel):
    """The refiner that the job was accepted with."""

    name: str
    version: int
    sha256: str


class JobView(BaseModel):
    """One job."""

    id: str
    state: State = Field(
        description="queued, preparing (unpack, list, find annotations), running, finishing (report, "
        "archive), done, failed, cancelled."
    )
    waiting: bool = Field(
        description="It cannot go on for the reason in `detail`; it is tried again by itself."
    )
    detail: str = Field(description="Why it waits or failed, in one sentence.")
    cancelling: bool
    created_utc: datetime
    started_utc: datetime | None
    finished_utc: datetime | None
    model: ModelOfJob
    archive: str | None = Field(description="Name of the uploaded archive.")
    source: str | None
    destination: str | None
    options: dict[str, Any]
    files: int = Field(description="Files to write, copies and variants among them; 0 until they are known.")
    images: int
    done: int = Field(description="Files that are done.")
    counts: CountsView
    files_per_s: float | None = Field(description="Over the last minute; null when there is nothing to tell.")
    eta_s: float | None = Field(description="Seconds until all files are done, at this rate.")
    result: ResultView | None = Field(description="Null until it is done, and when it went to a destination.")
    prepared: dict[str, Any] | None = Field(
        description="What the plan found: label images left alone, problems of annotations."
    )


class JobsView(BaseModel):
    """A page of jobs, newest first."""

    jobs: list[JobView]
    cursor: str | None = Field(description="For the next page; null on the last.")


def view_of(job: Job, files_per_s: float | None) -> JobView:
    """What is told about one job."""
    request = JobRequest.model_validate_json(job.request_json)
    said = json.loads(job.result_json) if job.result_json else {}
    files, counts = job.files * request.options.variants, job.counts
    left = max(files - counts.files, 0)
    return JobView(
        id=job.id,
        state=job.state,
        waiting=job.waiting,
        detail=job.detail,
        cancelling=job.cancel and not job.finished,
        created_utc=_moment(job.created_utc),
        started_utc=None if job.started_utc is None else _moment(job.started_utc),
        finished_utc=None if job.finished_utc is None else _moment(job.finished_utc),
        model=ModelOfJob(**request.model.model_dump()),
        archive=request.archive,
        source=request.source,
        destination=request.destination,
        options=request.options.model_dump(mode="json"),
        files=files,
        images=job.images,
        done=counts.files,
        counts=CountsView(
            verdicts={str(verdict): count for verdict, count in counts.verdicts.items()},
            copied=counts.copied,
            dropped=counts.dropped,
            failed=counts.failed,
            failures=dict(counts.failures),
        ),
        files_per_s=files_per_s,
        eta_s=None if not files_per_s or job.finished else round(left / files_per_s, 1),
        result=ResultView(**{name: said[name] for name in ResultView.model_fields})
        if said.get("archive")
        else None,
        prepared=said.get("prepared"),
    )


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)

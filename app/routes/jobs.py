"""The routes that look at jobs, follow them and end them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request
from starlette.responses import Response, StreamingResponse

from app.errors import InvalidRequest, JobStateConflict, SimtrueError, UnknownJob
from app.jobs.job import Event, Job, State, is_job_id
from app.jobs.service import Jobs
from app.routes.job_views import JobsView, JobView, view_of
from app.routes.openapi import content, problems

LOOK_EVERY_S: Final = 0.5
SIGN_OF_LIFE_S: Final = 15.0
EVENTS_AT_ONCE: Final = 100
EVENT_STREAM: Final = "text/event-stream"
_LAST_EVENT_ID: Final = {
    "name": "Last-Event-ID",
    "in": "header",
    "schema": {"type": "integer", "minimum": 0},
    "description": "Number of the event that was seen last; those behind it are told.",
}


def jobs_router(jobs: Jobs) -> APIRouter:
    """The routes; everything that waits for the ledger or the disk runs in threads."""
    router = APIRouter(tags=["jobs"])

    @router.get("/jobs", summary="List jobs", responses=problems(400, 503))
    def list_jobs(
        state: Annotated[list[State] | None, Query(description="Only jobs in these states.")] = None,
        limit: Annotated[int, Query(ge=1, le=500)] = 50,
        cursor: Annotated[str | None, Query(max_length=64)] = None,
    ) -> JobsView:
        """Newest first, page by page."""
        ledger = jobs.ledger()
        page = ledger.page(state or (), limit, cursor)
        return JobsView(jobs=[view_of(job, None) for job in page.jobs], cursor=page.cursor)

    @router.get("/jobs/{job_id}", summary="Look at a job", responses=problems(404, 503))
    def look(job_id: str) -> JobView:
        """Its state, what became of its files so far, how fast it goes and how long it will take."""
        job = find_job(jobs, job_id)
        return view_of(job, jobs.ledger().files_per_s(job_id) if job.state == "running" else None)

    @router.get(
        "/jobs/{job_id}/events",
        summary="Follow a job",
        response_class=StreamingResponse,
        responses=content("The events.", EVENT_STREAM) | problems(400, 404, 503),
        openapi_extra={"parameters": [_LAST_EVENT_ID]},
    )
    async def events(request: Request, job_id: str) -> StreamingResponse:
        """Server-sent events, numbered; `Last-Event-ID` goes on behind the one that was seen last."""
        await asyncio.to_thread(find_job, jobs, job_id)
        stream = _events(jobs, job_id, _last_event(request))
        return StreamingResponse(stream, media_type=EVENT_STREAM, headers={"Cache-Control": "no-store"})

    @router.delete(
        "/jobs/{job_id}",
        summary="Cancel or delete a job",
        status_code=202,
        response_model=JobView,
        responses=problems(400, 404, 409, 503) | {204: {"description": "It was finished, and is deleted."}},
    )
    def cancel(
        job_id: str,
        keep_finished: Annotated[bool, Query(description="Only cancel: a finished job stays, 409.")] = False,
    ) -> Response:
        """Cancel a job that is not finished (202); delete a finished one with all that it made (204)."""
        job = find_job(jobs, job_id)
        if job.finished:
            if keep_finished:
                raise JobStateConflict(f"Job {job_id} is {job.state} already and cannot be cancelled.")
            jobs.delete(job_id)
            return Response(status_code=204)
        view = view_of(jobs.cancel(job_id), None)
        return Response(view.model_dump_json(), 202, media_type="application/json")

    return router


def find_job(jobs: Jobs, job_id: str) -> Job:
    """One look at a job. Raises UnknownJob."""
    if not is_job_id(job_id):
        raise UnknownJob(f"There is no job {job_id[:80]!r}.")
    return jobs.ledger().get(job_id)


def _last_event(request: Request) -> int:
    last = request.headers.get("last-event-id", "0")
    if not last.isdecimal() or len(last) > 18:
        raise InvalidRequest("The header Last-Event-ID must be the number of an event.")
    return int(last)


async def _events(jobs: Jobs, job_id: str, last: int) -> AsyncIterator[str]:
    """Events behind number `last` as they happen, until the job is finished, with signs of life between."""
    silent_s = 0.0
    while True:
        try:
            newer, finished = await asyncio.to_thread(_newer, jobs, job_id, last)
        except SimtrueError:
            return  # deleted meanwhile, or the ledger went away: whoever listens comes back
        for event in newer:
            yield f"id: {event.seq}\nevent: {event.kind}\ndata: {event.data_json}\n\n"
            last, silent_s = event.seq, 0.0
        if finished and not newer:
            return
        if not newer:
            silent_s += LOOK_EVERY_S
            await asyncio.sleep(LOOK_EVERY_S)
        if silent_s >= SIGN_OF_LIFE_S:
            silent_s = 0.0
            yield ": still there\n\n"


def _newer(jobs: Jobs, job_id: str, last: int) -> tuple[tuple[Event, ...], bool]:
    """First whether it is finished, then the events: none can come between."""
    ledger = jobs.ledger()
    finished = ledger.get(job_id).finished
    return ledger.events_after(job_id, last, EVENTS_AT_ONCE), finished

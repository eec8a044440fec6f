"""POST /jobs: a whole data set comes in, and a job is accepted for good."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager
from functools import partial
from typing import Final, TypeVar

from fastapi import APIRouter, Request
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from app.errors import InvalidRequest
from app.full_disk import naming_full_disk
from app.jobs.job import Job
from app.jobs.request import JobRequest, PinnedModel
from app.jobs.service import Jobs
from app.options import read_job_options
from app.refinement import refuse_impossible
from app.routes.job_forms import JobForm, read_job_form
from app.routes.job_views import JobView, view_of
from app.routes.openapi import JOB_OPERATION, problems
from app.routes.room import Room
from app.routes.spool import Spool
from app.services import Services
from model.files import appearing

CLIENT_CLOSED_REQUEST: Final = 499
NO_ROOM: Final = "There is no room left for this set; send it when there is."
UPLOADS_AT_ONCE: Final = 16
LONGEST_KEY: Final = 255
T = TypeVar("T")


def job_submission_router(services: Services, jobs: Jobs) -> APIRouter:
    """The route."""
    router = APIRouter(tags=["jobs"])
    uploads = Room(UPLOADS_AT_ONCE, "As many sets as may be are being uploaded; try again later.")

    @router.post(
        "/jobs",
        summary="Refine a data set",
        status_code=202,
        response_model=JobView,
        responses=problems(400, 403, 404, 413, 422, 503, 504, 507),
        openapi_extra=JOB_OPERATION,
    )
    async def submit(request: Request) -> Response:
        """Hand in a set; it is refined in the background, whatever happens to this service meanwhile."""
        try:
            with uploads.share() as share:
                share.take(1)
                job, new = await _submit(request, services, jobs)
        except ClientDisconnect:
            return Response(status_code=CLIENT_CLOSED_REQUEST)
        headers = {"Location": f"/jobs/{job.id}"} | ({} if new else {"Idempotent-Replayed": "true"})
        body = view_of(job, None).model_dump_json()
        return Response(body, 202, headers, "application/json")

    return router


async def _submit(request: Request, services: Services, jobs: Jobs) -> tuple[Job, bool]:
    """Read, check and accept a job; what was uploaded is removed again when it is not accepted."""
    key = _idempotency_key(request)
    await asyncio.to_thread(jobs.ledger)  # before anything is uploaded for nothing
    with naming_full_disk(NO_ROOM):
        job_id, folder = await asyncio.to_thread(jobs.new_folder)
    accepted = False
    try:
        with naming_full_disk(NO_ROOM):
            async with _in_threads(appearing(folder.upload)) as file:
                spool = Spool(file)
                form = await read_job_form(request, services.settings, spool)
        if form.archive is None:
            folder.upload.unlink()
        asked = await asyncio.to_thread(_understand, form, services)
        digest = None if form.archive is None else spool.sha256
        job, accepted = await asyncio.to_thread(jobs.submit, job_id, asked, digest, key)
        return job, accepted
    finally:
        if not accepted:
            await asyncio.to_thread(partial(shutil.rmtree, folder.root, ignore_errors=True))


def _understand(form: JobForm, services: Services) -> JobRequest:
    """Everything that can be refused before anything is done."""
    from app.datasets.sources import open_destination, open_source, refuse_overlap

    options = read_job_options(form.options, max_variants=services.settings.max_variants)
    model = services.models.get(form.model)
    refuse_impossible(options.refine_options(), model, annotated=True)
    source = None if form.source is None else open_source(form.source, services.settings)
    if form.destination is not None:
        destination = open_destination(form.destination, services.settings)
        if source is not None:
            refuse_overlap(source, destination)
    if options.lists and not options.drop_below:
        raise InvalidRequest('The option lists is for thresholds with "below": "drop" only.')
    pinned = PinnedModel(name=model.name, version=model.version, sha256=model.sha256)
    return JobRequest(
        model=pinned, archive=form.archive, source=form.source, destination=form.destination, options=options
    )


def _idempotency_key(request: Request) -> str | None:
    key = request.headers.get("idempotency-key")
    if key is not None and not (0 < len(key) <= LONGEST_KEY and key.isprintable()):
        raise InvalidRequest(f"The Idempotency-Key must have 1 to {LONGEST_KEY} printable characters.")
    return key


@asynccontextmanager
async def _in_threads(manager: AbstractContextManager[T]) -> AsyncIterator[T]:
    """Enter and leave where waiting for the disk holds nobody up."""
    value = await asyncio.to_thread(manager.__enter__)
    try:
        yield value
    except BaseException as error:
        await asyncio.to_thread(manager.__exit__, type(error), error, error.__traceback__)
        raise
    await asyncio.to_thread(manager.__exit__, None, None, None)

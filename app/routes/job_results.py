"""What a finished job hands out: the result, the report, the manifest; and the plan before."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import FileResponse

from app.errors import JobStateConflict
from app.jobs.job import Job
from app.jobs.service import Jobs
from app.routes.job_views import view_of
from app.routes.jobs import find_job
from app.routes.openapi import file_answers, problems

PAGE_POLICY: Final = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
MEDIA_TYPES: Final = {
    "zip": "application/zip",
    "tar": "application/x-tar",
    "tar.gz": "application/gzip",
    "tar.zst": "application/zstd",
}


def job_results_router(jobs: Jobs) -> APIRouter:
    """The routes; ranges of every file are served, so that a download can be gone on with."""
    router = APIRouter(tags=["jobs"])

    @router.get(
        "/jobs/{job_id}/result",
        summary="Download the result",
        response_class=FileResponse,
        responses=file_answers("The archive of the refined set.", *MEDIA_TYPES.values())
        | problems(404, 409, 503),
    )
    def result(job_id: str) -> FileResponse:
        """The refined set as an archive; ranges are served, so that a download can be gone on with."""
        job = _done(jobs, job_id)
        view = view_of(job, None)
        if view.result is None:
            where = "nothing was refined" if view.destination is None else f"it went to {view.destination}"
            raise JobStateConflict(f"Job {job_id} has no archive: {where}.")
        kind = view.options["archive"]
        name = f"{Path(view.archive or 'set').name.partition('.')[0] or 'set'}-refined.{kind}"
        path = jobs.folder(job_id).archive(kind)
        return _file(path, MEDIA_TYPES[kind], {"ETag": f'"{view.result.sha256}"'}, name)

    @router.get(
        "/jobs/{job_id}/report",
        summary="Read the report",
        response_class=FileResponse,
        responses=file_answers("The report.", "application/json", "text/html") | problems(404, 409, 503),
    )
    def report(request: Request, job_id: str) -> FileResponse:
        """What became of the set, worst drift first: JSON, or an HTML page for who accepts text/html."""
        _done(jobs, job_id)
        folder = jobs.folder(job_id)
        if "text/html" in request.headers.get("accept", ""):
            return _file(folder.page, "text/html", {"Content-Security-Policy": PAGE_POLICY, "Vary": "Accept"})
        return _file(folder.report, "application/json", {"Vary": "Accept"})

    @router.get(
        "/jobs/{job_id}/manifest",
        summary="Read the manifest",
        response_class=FileResponse,
        responses=file_answers("The manifest.", "application/jsonl") | problems(404, 409, 503),
    )
    def manifest(job_id: str) -> FileResponse:
        """A JSON line per file: SHA-256 in and out, strength, seed, drift, verdict."""
        _done(jobs, job_id)
        return _file(jobs.folder(job_id).manifest, "application/jsonl")

    @router.get(
        "/jobs/{job_id}/plan",
        summary="Read the plan",
        response_class=FileResponse,
        responses=file_answers("The plan.", "application/jsonl") | problems(404, 409, 503),
    )
    def plan(job_id: str) -> FileResponse:
        """A JSON line per file: what becomes of it, and why; there as soon as the job runs."""
        find_job(jobs, job_id)
        return _file(jobs.folder(job_id).plan, "application/jsonl")

    return router


def _done(jobs: Jobs, job_id: str) -> Job:
    job = find_job(jobs, job_id)
    if job.state != "done":
        raise JobStateConflict(f"Job {job_id} is {job.state}; there is a result when it is done.")
    return job


def _file(
    path: Path, media_type: str, headers: dict[str, str] | None = None, name: str | None = None
) -> FileResponse:
    if not path.is_file():
        raise JobStateConflict("This job does not have it, or not yet.")
    return FileResponse(path, media_type=media_type, headers=headers, filename=name)

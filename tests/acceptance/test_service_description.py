"""The description of the API against what is answered: media types and statuses."""

from __future__ import annotations

import io
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

Picture = Callable[..., bytes]


@pytest.fixture(scope="module")
def service(serve: Any, model_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A service with a ledger of its own."""
    with serve(model_root, default_model="grey", data=tmp_path_factory.mktemp("data")) as (client, _):
        yield client


@pytest.fixture(scope="module")
def job(service: httpx.Client, picture: Picture) -> str:
    """The address of a job that is done."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.png", picture())
    sent = service.post("/jobs", content=file.getvalue(), headers={"Content-Type": "application/zip"})
    where = sent.headers["location"]
    for _ in range(500):
        if service.get(where).json()["state"] == "done":
            break
        time.sleep(0.05)
    return where


def described(service: httpx.Client, method: str, path: str) -> dict[str, Any]:
    responses: dict[str, Any] = service.get("/openapi.json").json()["paths"][path][method]["responses"]
    return responses


@pytest.mark.parametrize(
    ("part", "accepted"),
    [
        ("", "*/*"),
        ("/events", "*/*"),
        ("/result", "*/*"),
        ("/report", "application/json"),
        ("/report", "text/html"),
        ("/manifest", "*/*"),
        ("/plan", "*/*"),
    ],
)
def test_what_a_job_hands_out_has_a_media_type_that_is_described(
    service: httpx.Client, job: str, part: str, accepted: str
) -> None:
    answer = service.get(job + part, headers={"Accept": accepted})

    media_type = answer.headers["content-type"].partition(";")[0]
    assert media_type in described(service, "get", f"/jobs/{{job_id}}{part}")["200"]["content"]


@pytest.mark.parametrize("part", ["/result", "/report", "/manifest", "/plan"])
@pytest.mark.parametrize(("asked", "status"), [("bytes=0-3", 206), ("bytes=99999999-", 416)])
def test_ranges_are_described(service: httpx.Client, job: str, part: str, asked: str, status: int) -> None:
    answer = service.get(job + part, headers={"Range": asked})

    assert answer.status_code == status
    assert str(status) in described(service, "get", f"/jobs/{{job_id}}{part}")


def test_metrics_are_described_as_text(service: httpx.Client) -> None:
    assert list(described(service, "get", "/metrics")["200"]["content"]) == ["text/plain"]


def test_a_job_is_deleted_as_described(service: httpx.Client, picture: Picture) -> None:
    sent = service.post("/jobs", files={"archive": picture()})  # no archive: it fails
    where = sent.headers["location"]
    while service.get(where).json()["finished_utc"] is None:
        time.sleep(0.05)

    said = described(service, "delete", "/jobs/{job_id}")
    for query, status in (("?keep_finished=x", "400"), ("?keep_finished=1", "409"), ("", "204"), ("", "404")):
        assert str(service.delete(where + query).status_code) == status
        assert status in said
    assert said["202"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/JobView"}


def test_no_refusal_is_described_that_is_never_sent(service: httpx.Client) -> None:
    assert "ValidationError" not in service.get("/openapi.json").text

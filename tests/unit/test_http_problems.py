"""What nobody foresaw is answered too, with a problem that tells nothing of the inside; the log does."""

from __future__ import annotations

import asyncio
import logging

import httpx
import pytest
from fastapi import FastAPI
from starlette.responses import StreamingResponse

from app.errors import EngineBusy, InvalidImage, ShuttingDown
from app.routes.problems import ImageRefused, install_problem_handler


def ask(error: Exception) -> tuple[httpx.Response, list[str]]:
    """The answer of a route that raises `error`, and the slugs that were counted."""
    counted: list[str] = []
    app = FastAPI()
    install_problem_handler(app, counted.append)

    @app.get("/")
    async def fail() -> None:
        raise error

    return asyncio.run(_get(app)), counted


async def _get(app: FastAPI) -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
        return await client.get("/")


def test_an_unforeseen_error_is_a_500_without_its_inside(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        answer, counted = ask(KeyError("the secret"))

    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert "secret" not in answer.text
    assert counted == ["internal"]
    assert any("the secret" in str(entry.exc_info) for entry in caplog.records)


def test_a_busy_engine_says_when_to_come_back() -> None:
    answer, counted = ask(EngineBusy("The queue is full.", retry_after_s=7))
    assert (answer.status_code, answer.headers["retry-after"], counted) == (503, "7", ["engine-busy"])


def test_a_stopping_service_says_when_to_come_back() -> None:
    answer, _ = ask(ShuttingDown("The service is stopping."))
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0


@pytest.mark.parametrize(
    ("detail", "expected"),
    [
        ("'a.png' is truncated.", "Image 3: 'a.png' is truncated."),
        ("It failed.", "Image 3 ('a.png'): It failed."),
    ],
)
def test_the_image_of_a_problem_is_named_once(detail: str, expected: str) -> None:
    answer, _ = ask(ImageRefused(InvalidImage(detail), 3, "a.png"))
    assert answer.json()["detail"] == expected
    assert answer.json()["image"] == {"index": 3, "filename": "a.png"}


def test_an_error_after_the_answer_began_is_not_hidden() -> None:
    app = FastAPI()
    install_problem_handler(app, lambda _: None)

    @app.get("/")
    async def fail_late() -> StreamingResponse:
        async def chunks():
            yield b"begun"
            raise KeyError("late")

        return StreamingResponse(chunks())

    with pytest.raises(KeyError):
        asyncio.run(_get(app))

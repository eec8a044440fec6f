"""The one error handler: every error leaves the service as an RFC 9457 problem with one sentence."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import EngineBusy, HttpProblem, ShuttingDown, SimtrueError, http_problem
from app.refining.codecs.container import label
from app.routes.access import QUIET_PATHS

PROBLEM_JSON = "application/problem+json"
RETRY_AFTER_STOP_S = 5

_log = logging.getLogger("simtrue.problems")


class ImageRefused(Exception):  # noqa: N818 (as in app.errors)
    """What went wrong with one image of a request; the problem names that image."""

    def __init__(self, cause: SimtrueError, index: int, filename: str) -> None:
        super().__init__(cause.detail)
        self.cause = cause
        self.index = index
        self.filename = filename


ProblemAnswer = Callable[[Request, Exception], Response]


def install_problem_handler(app: FastAPI, on_refusal: Callable[[str], None]) -> ProblemAnswer:
    """Hang the handler on `app`: our errors, the framework's and those that nobody foresaw.

    `on_refusal` is told the slug of every problem that is sent, but for those about the service's health.
    Returns what answers them, for who answers without the framework.
    """

    def answer(request: Request, error: Exception) -> Response:
        problem = problem_of(error)
        if request.url.path not in QUIET_PATHS:  # a service that is not ready refused nobody's images
            on_refusal(problem.slug)
        if problem.status == HTTPStatus.INTERNAL_SERVER_ERROR:
            _log.error("%s %s failed", request.method, request.url.path, exc_info=error)
        return _response(request, error, problem)

    async def handle(request: Request, error: Exception) -> Response:
        return answer(request, error)  # the framework would call what is not async in a thread

    for kind in (SimtrueError, ImageRefused, HTTPException, RequestValidationError):
        app.add_exception_handler(kind, handle)
    app.add_middleware(LastResort, answer=answer)
    return answer


class LastResort:
    """Answers what nobody foresaw. The framework's own place for it raises on, and the connection breaks."""

    def __init__(self, app: ASGIApp, answer: ProblemAnswer) -> None:
        self._app = app
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; an error after the answer began can only end the connection."""
        begun = False

        async def watch(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, watch)
        except Exception as error:
            if begun or scope["type"] != "http":
                raise
            response = self._answer(Request(scope, receive), error)
            await response(scope, receive, send)


def problem_of(error: Exception) -> HttpProblem:
    """Status, slug and title for any error; one that is not ours is internal."""
    if isinstance(error, ImageRefused):
        return http_problem(error.cause)
    if isinstance(error, SimtrueError):
        return http_problem(error)
    if isinstance(error, HTTPException):
        phrase = HTTPStatus(error.status_code).phrase
        return HttpProblem(error.status_code, phrase.lower().replace(" ", "-"), phrase)
    if isinstance(error, RequestValidationError):
        return HttpProblem(400, "invalid-request", "The request is not understood")
    return http_problem(SimtrueError(""))


def _response(request: Request, error: Exception, problem: HttpProblem) -> Response:
    document: dict[str, object] = {
        "type": problem.type,
        "title": problem.title,
        "status": problem.status,
        "detail": _detail(request, error),
        "instance": request.url.path,
    }
    if isinstance(error, ImageRefused):
        document["image"] = {"index": error.index, "filename": error.filename}
    body = json.dumps(document, ensure_ascii=False).encode("utf-8", errors="replace")
    return Response(body, problem.status, _headers(error), PROBLEM_JSON)


def _detail(request: Request, error: Exception) -> str:
    """One sentence; what an unexpected error says stays inside."""
    if isinstance(error, SimtrueError):
        return error.detail
    if isinstance(error, ImageRefused):
        name, detail = label(error.filename), error.cause.detail
        return (
            f"Image {error.index}: {detail}" if name in detail else f"Image {error.index} ({name}): {detail}"
        )
    if isinstance(error, HTTPException):
        return _detail_of_framework(request, error)
    if isinstance(error, RequestValidationError):
        found = error.errors()[0]
        place, *steps = map(str, found["loc"])
        return f"In the {place}, {'.'.join(steps)}: {found['msg']}."
    return "The service failed in a way that it did not foresee; its log says more."


def _detail_of_framework(request: Request, error: HTTPException) -> str:
    if error.status_code == HTTPStatus.NOT_FOUND:
        return f"There is nothing at {request.url.path[:120]}; /docs lists what there is."
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = (error.headers or {}).get("Allow", "another method")
        return f"{request.url.path[:120]} does not take {request.method}, but {allowed}."
    return f"{error.detail}."


def _headers(error: Exception) -> dict[str, str]:
    if isinstance(error, ImageRefused):
        return _headers(error.cause)
    if isinstance(error, EngineBusy):
        return {"Retry-After": str(error.retry_after_s)}
    if isinstance(error, ShuttingDown):
        return {"Retry-After": str(RETRY_AFTER_STOP_S)}
    if isinstance(error, HTTPException):
        return dict(error.headers or {})
    return {}

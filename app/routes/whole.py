"""POST /refine for requests of one small image that are here as a whole: no framework, no waiting, no task.

Whatever is unusual about a request is left to the long way, which begins at its beginning.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from fastapi import Request
from fastapi.routing import APIRoute
from starlette.responses import Response
from starlette.types import Receive, Scope

from app.annotations.shapes import ImageRef
from app.errors import InvalidRequest
from app.geometry import geometry_of
from app.metrics import Metrics
from app.refinement import RefinedImage
from app.refining.images import opened, upright_size
from app.routes.access import report
from app.routes.disconnection import unless_disconnected
from app.routes.forms import RefineForm, form_of, part_limits
from app.routes.negotiation import read_accept
from app.routes.problems import ProblemAnswer
from app.routes.refine import (
    READING_JSON_TAKES,
    SHORT_BYTES,
    Call,
    Rooms,
    answer_of,
    in_time,
    most_pixels_at_once,
    understand,
)
from app.routes.room import Share
from app.routes.simple_form import read_simple
from app.services import Services
from app.trifle import Begun, refine_trifle

Later = Callable[[], Awaitable[Response]]
"""To be called once, in a task."""


@dataclass(frozen=True)
class _Small:
    """One small form; moments are of `time.monotonic`."""

    form: RefineForm
    body_bytes: int
    accept: str
    started_s: float
    read_s: float


class WholeRequests:
    """Answers, or begins to; with the log line, the counts and the problems of the long way."""

    def __init__(
        self, services: Services, rooms: Rooms, route: APIRoute, metrics: Metrics, problem: ProblemAnswer
    ) -> None:
        self._services = services
        self._rooms = rooms
        self._route = route
        self._methods = frozenset(route.methods or ())
        self._metrics = metrics
        self._problem = problem
        self._limits = part_limits(services.settings)
        self._most_bytes = min(SHORT_BYTES, services.settings.max_upload_bytes)

    def begin(self, scope: Scope, receive: Receive, body: bytes) -> Response | Later | None:
        """The answer; or what gives it in a while; or None: nothing was done, and the long way is to be gone.

        scope and receive are those of ASGI; receive tells when the client hangs up.
        """
        if scope["path"] != self._route.path or scope["method"] not in self._methods:
            return None
        begun_s = time.perf_counter()
        request = Request(scope, receive)
        try:
            small = self._read(scope, body)
            begun = None if small is None else self._refine(small, request)
        except Exception as error:  # noqa: BLE001 (as `problems.LastResort`)
            begun = self._problem(request, error)
        if begun is None:
            return None
        scope["route"] = self._route
        if isinstance(begun, Response):
            return self._reported(request, begun, begun_s)
        return partial(self._later, begun, request, begun_s)

    def _read(self, scope: Scope, body: bytes) -> _Small | None:
        """The form, if it is one of those that every client library writes, with one image."""
        if len(body) > self._most_bytes or scope["query_string"]:
            return None
        started_s = time.monotonic()
        content_type, accepted = None, []
        for name, value in scope["headers"]:
            if name == b"content-type" and content_type is None:
                content_type = value.decode("latin-1")
            elif name == b"accept":
                accepted.append(value.decode("latin-1"))
        parts = read_simple(body, content_type or "", self._limits)
        if parts is None or [part.name for part in parts].count("image") != 1:
            return None
        try:
            form = form_of(parts)
        except InvalidRequest:  # what is refused first is for the long way to say
            return None
        if sum(map(len, form.annotations)) * READING_JSON_TAKES > SHORT_BYTES:
            return None
        return _Small(form, len(body), ", ".join(accepted), started_s, time.monotonic())

    def _refine(self, small: _Small, request: Request) -> Response | Later | None:
        settings = self._services.settings
        with self._rooms.memory.share() as bytes_held, self._rooms.pixels.share() as pixels_held:
            acceptance = read_accept(small.accept)
            bytes_held.take(small.body_bytes)
            deadline_s = small.started_s + settings.request_timeout_s
            call = understand(small.form, acceptance, self._services, deadline_s)
            (upload,) = small.form.images
            container = opened(upload.data, filename=upload.filename, max_pixels=settings.max_pixels)
            ref = ImageRef(upload.filename, *upright_size(container))
            pixels_held.take(most_pixels_at_once([ref], call.options.variants, settings))
            (geometry,) = geometry_of(small.form.annotations, [ref])
            refined = refine_trifle(self._services, call.job(0, container, ref, geometry))
            if isinstance(refined, Begun):
                held = (bytes_held.moved(), pixels_held.moved())
                return partial(self._finished, small, call, refined, request, held)
            return None if refined is None else self._composed(small, call, refined)

    async def _finished(
        self, small: _Small, call: Call, begun: Begun, request: Request, held: tuple[Share, Share]
    ) -> Response:
        with held[0], held[1]:
            return self._composed(small, call, await unless_disconnected(request, begun.finish()))

    def _composed(self, small: _Small, call: Call, refined: RefinedImage) -> Response:
        response = answer_of(call, [refined], small.started_s, small.read_s)()
        self._metrics.count_image(call.model.name, refined.verdict)
        return response

    async def _later(self, finish: Later, request: Request, begun_s: float) -> Response:
        try:
            response = await in_time(self._services, finish())
        except Exception as error:  # noqa: BLE001 (as `problems.LastResort`)
            response = self._problem(request, error)
        except BaseException:
            self._report(request, 500, 0, begun_s)
            raise
        return self._reported(request, response, begun_s)

    def _reported(self, request: Request, response: Response, begun_s: float) -> Response:
        self._report(request, response.status_code, len(response.body), begun_s)
        return response

    def _report(self, request: Request, status: int, sent_bytes: int, begun_s: float) -> None:
        took_s = time.perf_counter() - begun_s
        report(self._metrics.count_request, request.scope, status, sent_bytes, took_s)

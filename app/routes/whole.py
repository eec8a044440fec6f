"""POST /refine for requests of one small image that are here as a whole: no framework, no waiting, no task.

Whatever is unusual about a request is left to the long way, which begins at its beginning.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from fastapi import Request
from fastapi.routing import APIRoute
from starlette.responses import Response
from starlette.types import Receive, Scope

from app.annotations.shapes import ImageRef
from app.errors import EngineBusy, InvalidRequest
from app.geometry import geometry_of
from app.metrics import Metrics
from app.refinement import ImageJob, Prepared, decoded, encode_variant, is_trifling, judge
from app.refining.images import bytes_to_open, opened, upright_size
from app.refining.session import Pixels
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
from app.routes.together import Steps, Together
from app.services import Services
from app.trifle import Begun, infer_trifle

Later = Callable[[], Awaitable[Response]]
"""To be called once, in a task."""
Done = Callable[[Response | Later | None], None]
_MOST_TURNS = 256
"""More steps than all that go side by side have left."""


@dataclass(frozen=True)
class _Small:
    """One small form; moments are of `time.monotonic`."""

    form: RefineForm
    accept: str
    started_s: float
    read_s: float


@dataclass(frozen=True, eq=False)
class _Work:
    """Its image, decoded."""

    small: _Small
    call: Call
    job: ImageJob
    prepared: Prepared


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
        self._together = Together()

    def begin(self, scope: Scope, receive: Receive, body: bytes, done: Done) -> None:
        """Tell `done` the answer; or what gives it in a while; or None: the long way is to be gone.

        With None, nothing was done. scope and receive are those of ASGI; receive tells when the client hangs
        up. Tells it at once, or in the next turn of the event loop.
        """
        fits = len(body) <= self._most_bytes and not scope["query_string"]
        if not (fits and scope["path"] == self._route.path and scope["method"] in self._methods):
            done(None)
            return
        bytes_held = self._rooms.memory.share()
        try:
            bytes_held.take(len(body))
        except EngineBusy:
            done(None)
            return
        begun = self._begun(Request(scope, receive), body, bytes_held, time.monotonic())
        self._together.begin(begun, done)

    def _begun(
        self, request: Request, body: bytes, bytes_held: Share, started_s: float
    ) -> Steps[Response | Later | None]:
        with bytes_held, self._rooms.pixels.share() as pixels_held:
            try:
                small = self._read(request.scope, body, started_s)
                if small is None:
                    return None
                yield
                begun = yield from self._refine(small, request, bytes_held, pixels_held)
            except Exception as error:  # noqa: BLE001 (as `problems.LastResort`)
                begun = self._problem(request, error)
        if isinstance(begun, Response):
            return self._reported(request, begun, started_s)
        return begun and partial(self._later, begun, request, started_s)

    def _read(self, scope: Scope, body: bytes, started_s: float) -> _Small | None:
        """The form, if it is one of those that every client library writes, with one image."""
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
        if bytes_to_open(form.images[0].data) > SHORT_BYTES:
            return None
        return _Small(form, ", ".join(accepted), started_s, time.monotonic())

    def _refine(
        self, small: _Small, request: Request, bytes_held: Share, pixels_held: Share
    ) -> Steps[Response | Later | None]:
        settings = self._services.settings
        acceptance = read_accept(small.accept)
        deadline_s = small.started_s + settings.request_timeout_s
        call = understand(small.form, acceptance, self._services, deadline_s)
        yield
        (upload,) = small.form.images
        container = opened(upload.data, filename=upload.filename, max_pixels=settings.max_pixels)
        ref = ImageRef(upload.filename, *upright_size(container))
        yield
        yield from _taken(pixels_held, most_pixels_at_once([ref], call.options.variants, settings))
        (geometry,) = geometry_of(small.form.annotations, [ref])
        job = call.job(0, container, ref, geometry)
        if not is_trifling([job]):
            return None
        yield
        work = _Work(small, call, job, decoded(job, settings.max_pixels))
        yield
        pixels = infer_trifle(self._services, job, work.prepared)
        if isinstance(pixels, Begun):
            held = (bytes_held.moved(), pixels_held.moved())
            return partial(self._finished_later, work, pixels, request, held)
        yield
        return (yield from self._finished(work, pixels))

    def _finished(self, work: _Work, pixels: Pixels) -> Steps[Response]:
        decision = judge(work.job, work.prepared, pixels)
        yield
        refined = encode_variant(work.job, work.prepared, 0, decision)
        yield
        response = answer_of(work.call, [refined], work.small.started_s, work.small.read_s)()
        self._metrics.count_image(work.call.model.name, refined.verdict)
        return response

    async def _finished_later(
        self, work: _Work, begun: Begun, request: Request, held: tuple[Share, Share]
    ) -> Response:
        with held[0], held[1]:
            return await unless_disconnected(request, self._awaited(work, begun, request))

    async def _awaited(self, work: _Work, begun: Begun, request: Request) -> Response:
        pixels = await begun.pixels()
        answered: asyncio.Future[Response | None] = asyncio.get_running_loop().create_future()

        def finished() -> Steps[Response]:
            try:
                return (yield from self._finished(work, pixels))
            except Exception as error:  # noqa: BLE001 (as `problems.LastResort`)
                return self._problem(request, error)

        def done(response: Response | None) -> None:
            if not answered.done():
                answered.set_result(response)

        self._together.begin(finished(), done)
        response = await answered
        assert response is not None, "it answers also what fails"
        return response

    async def _later(self, finish: Later, request: Request, started_s: float) -> Response:
        try:
            response = await in_time(self._services, finish())
        except Exception as error:  # noqa: BLE001 (as `problems.LastResort`)
            response = self._problem(request, error)
        except BaseException:
            self._report(request, 500, 0, started_s)
            raise
        return self._reported(request, response, started_s)

    def _reported(self, request: Request, response: Response, started_s: float) -> Response:
        self._report(request, response.status_code, len(response.body), started_s)
        return response

    def _report(self, request: Request, status: int, sent_bytes: int, started_s: float) -> None:
        request.scope["route"] = self._route
        took_s = time.monotonic() - started_s
        report(self._metrics.count_request, request.scope, status, sent_bytes, took_s)


def _taken(share: Share, amount: int) -> Steps[None]:
    """Take so much, if need be once those beside have done their steps. Raises EngineBusy."""
    for _ in range(_MOST_TURNS):
        try:
            share.take(amount)
        except EngineBusy:
            yield
        else:
            return
    share.take(amount)

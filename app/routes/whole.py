"""POST /refine for requests of one small image that are here as a whole: no framework, no waiting, no task.

Whatever is unusual about a request is left to the long way, which begins at its beginning.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

from fastapi import Request
from fastapi.routing import APIRoute
from starlette.responses import Response
from starlette.types import Receive, Scope

from app.annotations.shapes import ImageRef
from app.delivery import ImageJob, Prepared, encode_variant, judge
from app.errors import EngineBusy, InvalidRequest, RequestTimeout
from app.geometry import geometry_of
from app.metrics import Metrics
from app.refinement import decoded, is_trifling
from app.refining.images import bytes_to_open, opened, upright_size
from app.refining.session import Pixels
from app.routes.access import report
from app.routes.forms import RefineForm, form_of, part_limits
from app.routes.negotiation import read_accept
from app.routes.owed import Arrivals, Owed
from app.routes.problems import ProblemAnswer
from app.routes.refine import (
    CLIENT_CLOSED_REQUEST,
    READING_JSON_TAKES,
    SHORT_BYTES,
    Call,
    Rooms,
    answer_of,
    most_pixels_at_once,
    too_late,
    understand,
)
from app.routes.room import Share
from app.routes.simple_form import read_simple
from app.routes.together import Steps, Together
from app.services import Services
from app.trifle import infer_trifle

Begun = Response | Owed | None
Done = Callable[[Begun], None]
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
        self.settings = services.settings
        self._services = services
        self._rooms = rooms
        self._route = route
        self._methods = frozenset(route.methods or ())
        self._metrics = metrics
        self.problem = problem
        self._limits = part_limits(self.settings)
        self._most_bytes = min(SHORT_BYTES, self.settings.max_upload_bytes)
        self._together = Together()
        self._arrivals = Arrivals(self._together)

    def begin(self, scope: Scope, receive: Receive, body: bytes, done: Done) -> None:
        """Tell `done` the answer; or what gives it in a while; or None: the long way is to be gone.

        With None, nothing was done. What gives it is to be asked for it, or given up. scope and receive are
        those of ASGI. Tells it at once, or in the next turn of the event loop.
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

    def _begun(self, request: Request, body: bytes, bytes_held: Share, started_s: float) -> Steps[Begun]:
        with bytes_held, self._rooms.pixels.share() as pixels_held:
            try:
                small = self._read(request.scope, body, started_s)
                if small is None:
                    return None
                yield
                begun = yield from self._refine(small, request, bytes_held, pixels_held)
            except Exception as error:  # noqa: BLE001 (as `problems.LastResort`)
                begun = self.problem(request, error)
        if isinstance(begun, Response):
            self.report(request, begun.status_code, len(begun.body), started_s)
        return begun

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

    def _refine(self, small: _Small, request: Request, bytes_held: Share, pixels_held: Share) -> Steps[Begun]:
        settings = self.settings
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
        if isinstance(pixels, Future):
            ending = _Ending(self, work, request, (bytes_held.moved(), pixels_held.moved()))
            return Owed(pixels, ending, self._arrivals, deadline_s - time.monotonic())
        yield
        return (yield from self.finished(work, pixels))

    def finished(self, work: _Work, pixels: Pixels) -> Steps[Response]:
        """The steps from refined pixels to the answer. Raises what judging and encoding does."""
        decision = judge(work.job, work.prepared, pixels)
        yield
        refined = encode_variant(work.job, work.prepared, 0, decision)
        yield
        response = answer_of(work.call, [refined], work.small.started_s, work.small.read_s)()
        self._metrics.count_image(work.call.model.name, refined.verdict)
        return response

    def report(self, request: Request, status: int, sent_bytes: int, started_s: float) -> None:
        """Count a request that is over, and write its line; the start is of `time.monotonic`."""
        request.scope["route"] = self._route
        took_s = time.monotonic() - started_s
        report(self._metrics.count_request, request.scope, status, sent_bytes, took_s)


class _Ending:
    """How a request ends whose image waits for the engine; it holds its room until then."""

    def __init__(
        self, whole: WholeRequests, work: _Work, request: Request, held: tuple[Share, Share]
    ) -> None:
        self._whole = whole
        self._work = work
        self._request = request
        self._held = held

    def finished(self, inference: Future[Pixels]) -> Steps[Response]:
        try:
            return (yield from self._whole.finished(self._work, inference.result()))
        except RequestTimeout:
            return self.expired()
        except Exception as error:  # noqa: BLE001 (as `problems.LastResort`)
            return self._whole.problem(self._request, error)

    def expired(self) -> Response:
        return self._whole.problem(self._request, too_late(self._whole.settings))

    def ended(self, response: Response | None) -> None:
        for share in self._held:
            share.give_back()
        status, sent_bytes = (
            (CLIENT_CLOSED_REQUEST, 0) if response is None else (response.status_code, len(response.body))
        )
        self._whole.report(self._request, status, sent_bytes, self._work.small.started_s)


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

"""The short way of requests that came in one piece: from the parser to the service, without ASGI."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from starlette.responses import Response
from starlette.types import Receive, Scope
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from app.bounded_http import BoundedHttpProtocol


class Owed(Protocol):
    """An answer that comes later, without a task that waits for it."""

    def then(self, tell: Callable[[Response], None]) -> None:
        """Call `tell` with it once it is there."""
        ...

    def give_up(self) -> None:
        """The client has hung up: nothing shall be told any more."""
        ...


Begun = Response | Owed | None
"""The answer to a whole request, or what owes it, or None: it is left to the application."""
Begin = Callable[[Scope, Receive, bytes, Callable[[Begun], None]], None]
"""Begins a whole request, and tells how, at once or soon; nothing else of its connection begins before."""

_NO_VALUE = re.compile(b"[\x00-\x08\x0a-\x1f\x7f]")
_WITHOUT_BODY = (204, 304)


class SwiftHttpProtocol(BoundedHttpProtocol):
    """Offers what is whole before the application would see it to `begin`.

    The application's task, which would not run before the parser has taken all that came, is made only then:
    a request whose body is still on its way, and all that `begin` leaves, goes the same way as ever. So do
    requests that were sent before the answer to the one before, or one client could keep all others waiting.
    """

    def __init__(self, *args: Any, begin: Begin, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._begin = begin
        self._parsing = False
        self._parsed: tuple[RequestResponseCycle, Any] | None = None
        self._owed: Owed | None = None
        self._lost = False
        self._forwarded = ProxyHeadersMiddleware(_nothing, self.config.forwarded_allow_ips)

    def data_received(self, data: bytes) -> None:
        """Feed the parser, then begin the request that it found."""
        self._parsing = True
        try:
            super().data_received(data)
        finally:
            self._parsing = False
            if self._parsed is not None:
                parsed, self._parsed = self._parsed, None
                self._begin_parsed(*parsed)

    def connection_lost(self, exc: Exception | None) -> None:
        """Give up what is owed to the client."""
        super().connection_lost(exc)
        self._lost = True
        owed, self._owed = self._owed, None
        if owed is not None:
            owed.give_up()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """Begin a request; uvicorn calls it when the headers are complete and the one before is answered."""
        if self._parsing and self._parsed is None:
            self._parsed = (cycle, app)
        else:
            super()._start_asgi_task(cycle, app)

    def _begin_parsed(self, cycle: RequestResponseCycle, app: Any) -> None:
        if app is not self.app or not self._is_plain(cycle):
            super()._start_asgi_task(cycle, app)
            return
        scope: Any = cycle.scope
        receive: Any = cycle.receive
        if self.config.proxy_headers and any(
            name.startswith(b"x-forwarded-") for name, _ in scope["headers"]
        ):
            for _ in self._forwarded(scope, receive, receive).__await__():
                raise AssertionError("it waits for nothing but its application")
        self._begin(scope, receive, bytes(cycle.body), partial(self._go_on, cycle, app))

    def _go_on(self, cycle: RequestResponseCycle, app: Any, begun: Begun) -> None:
        if begun is None:
            super()._start_asgi_task(cycle, app)
        elif isinstance(begun, Response):
            self._answer(cycle, begun)
        elif self._lost:
            begun.give_up()
        else:
            self._owed = begun
            begun.then(partial(self._pay, cycle))

    def _pay(self, cycle: RequestResponseCycle, response: Response) -> None:
        self._owed = None
        self._answer(cycle, response)

    def _answer(self, cycle: RequestResponseCycle, response: Response) -> None:
        if self._can_be_written(cycle, response):
            self._write(cycle, response)
        else:
            super()._start_asgi_task(cycle, response)  # type: ignore[arg-type]  # as uvicorn calls it

    def _is_plain(self, cycle: RequestResponseCycle) -> bool:
        """Whether the whole request is here, and nothing keeps its answer from being written."""
        return not (
            cycle.more_body
            or cycle.disconnected
            or cycle.waiting_for_100_continue
            or (cycle.access_log and cycle.access_logger.isEnabledFor(logging.INFO))
            or self.flow.write_paused
            or self.transport.is_closing()
        )

    def _can_be_written(self, cycle: RequestResponseCycle, response: Response) -> bool:
        """Whether nobody must be waited for, and uvicorn would not look twice at the answer."""
        return not (
            cycle.disconnected
            or self.flow.write_paused
            or response.status_code in _WITHOUT_BODY
            or any(
                name in (b"connection", b"transfer-encoding") or _NO_VALUE.search(value)
                for name, value in response.raw_headers
            )
        )

    def _write(self, cycle: RequestResponseCycle, response: Response) -> None:
        """Write an answer as `cycle.send` does, in one piece."""
        headers = [*cycle.default_headers, *response.raw_headers]
        if not cycle.keep_alive:
            headers.append((b"connection", b"close"))
        lines = [piece for name, value in headers for piece in (name, b": ", value, b"\r\n")]
        status = STATUS_LINE[response.status_code]
        self.transport.write(b"".join((status, *lines, b"\r\n", response.body)))
        cycle.response_started = cycle.response_complete = True
        cycle.message_event.set()
        if not cycle.keep_alive:
            self.transport.close()
        cycle.on_response()


async def _nothing(scope: Any, receive: Any, send: Any) -> None:
    """The application behind the middleware, which is wanted for what it does to the scope."""

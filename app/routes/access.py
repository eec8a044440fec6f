"""What every request leaves behind: one access log line and its counts in the metrics."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.logs import pairs

_log = logging.getLogger("simtrue.access")
QUIET_PATHS = ("/health/live", "/health/ready", "/metrics")
OnRequest = Callable[[str, str, int, float], None]
"""Told route, method, status and seconds of every answered request."""


class AccessLog:
    """ASGI middleware that reports every answered request."""

    def __init__(self, app: ASGIApp, on_request: OnRequest) -> None:
        self._app = app
        self._on_request = on_request

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and report it, also when it fails."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status, sent_bytes = time.perf_counter(), 500, 0

        async def watch(message: Message) -> None:
            nonlocal status, sent_bytes
            if message["type"] == "http.response.start":
                status = message["status"]
            sent_bytes += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, receive, watch)
        finally:
            report(self._on_request, scope, status, sent_bytes, time.perf_counter() - started)


def report(on_request: OnRequest, scope: Scope, status: int, sent_bytes: int, duration_s: float) -> None:
    """Count one answered request, and write its line."""
    on_request(_route(scope), scope["method"], status, duration_s)
    level = logging.DEBUG if scope["path"] in QUIET_PATHS and status < 400 else logging.INFO
    if not _log.isEnabledFor(level):
        return
    client = (scope.get("client") or ("-",))[0]
    fields = pairs(
        client=client,
        method=scope["method"],
        path=scope["path"],
        status=status,
        bytes=sent_bytes,
        ms=duration_s * 1000,
    )
    _log.log(level, fields)


def _route(scope: Scope) -> str:
    """The route's pattern, never the raw path: clients must not be able to create label values."""
    route = scope.get("route")
    return getattr(route, "path", "other")

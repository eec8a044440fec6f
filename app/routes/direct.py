"""The short way to one endpoint: the framework's routing costs more than refining a small image."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import Request
from fastapi.routing import APIRoute
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send


class Direct:
    """ASGI middleware; calls `endpoint` for exactly the path and the methods of `route`.

    What else is asked of that path, and the documentation, stay with the framework. Errors go up to whoever
    stands around this.
    """

    def __init__(
        self, app: ASGIApp, route: APIRoute, endpoint: Callable[[Request], Awaitable[Response]]
    ) -> None:
        self._app = app
        self._route = route
        self._endpoint = endpoint
        self._path = route.path
        self._methods = frozenset(route.methods or ())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it."""
        if scope["type"] != "http" or scope["path"] != self._path or scope["method"] not in self._methods:
            await self._app(scope, receive, send)
            return
        scope["route"] = self._route
        response = await self._endpoint(Request(scope, receive))
        await response(scope, receive, send)

"""The short way to one endpoint: the framework's layers cost more than refining a small image."""

from __future__ import annotations

from fastapi import Request
from fastapi.routing import APIRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from app.routes.access import AccessLog, OnRequest
from app.routes.problems import LastResort, ProblemAnswer


class Direct:
    """ASGI application before all others; calls the endpoint of `route` for exactly its path and methods.

    The endpoint takes a request and returns a response. It has an access log and error answers of its own,
    the same as the framework's. What else is asked of that path, and the documentation, stay with `app`.
    """

    def __init__(
        self,
        app: ASGIApp,
        route: APIRoute,
        answer: ProblemAnswer,
        on_request: OnRequest,
    ) -> None:
        self._app = app
        self._route = route
        self._path = route.path
        self._methods = frozenset(route.methods or ())
        self._guarded = AccessLog(LastResort(self._respond, answer), on_request)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it."""
        direct = scope["type"] == "http" and scope["path"] == self._path and scope["method"] in self._methods
        await (self._guarded if direct else self._app)(scope, receive, send)

    async def _respond(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["route"] = self._route
        response = await self._route.endpoint(Request(scope, receive))
        await response(scope, receive, send)

"""What people open in a browser; for now the way to the documentation of the API."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import RedirectResponse


def pages_router() -> APIRouter:
    """The route /."""
    router = APIRouter(include_in_schema=False)

    @router.get("/")
    async def index() -> RedirectResponse:
        return RedirectResponse("docs")

    return router

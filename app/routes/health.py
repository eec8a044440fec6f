"""What machines ask of the service: is it alive, can it refine, how is it doing."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel
from starlette.responses import Response

from app.errors import NoModelReady
from app.metrics import Metrics
from app.routes.openapi import content, problems
from app.services import Services


class Live(BaseModel):
    """The process answers."""

    status: Literal["live"] = "live"


class Ready(BaseModel):
    """Refinements can be answered."""

    status: Literal["ready"] = "ready"


def health_router(services: Services, metrics: Metrics) -> APIRouter:
    """The routes /health/live, /health/ready and /metrics."""
    router = APIRouter(tags=["health"])

    @router.get("/health/live", summary="Does the process answer?")
    async def live() -> Live:
        """Always 200 while the event loop turns."""
        return Live()

    @router.get("/health/ready", summary="Can images be refined?", responses=problems(503))
    async def ready() -> Ready:
        """200 when a model is served and the last real inference of every served model went well."""
        readiness = services.models.readiness()
        if not readiness.ready:
            raise NoModelReady(readiness.detail or "No model is ready.")
        return Ready()

    @router.get(
        "/metrics",
        summary="Prometheus metrics",
        response_class=Response,
        responses=content("The metrics.", "text/plain"),
    )
    def show_metrics() -> Response:
        """Requests, refusals, images, verdicts, batches, waiting and inference times, models."""
        return Response(metrics.page(), media_type=CONTENT_TYPE_LATEST)

    return router

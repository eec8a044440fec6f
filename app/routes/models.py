"""GET /models and the loading of models: what is served, what is refused and why."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Final, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from app.errors import InvalidRequest, NoModelReady
from app.refining.models import ModelStatus
from app.routes.json_body import heard, read_bounded, understood
from app.routes.openapi import OpenApi, problems
from app.services import Services
from model.card import ModelCard

CLIENT_CLOSED_REQUEST: Final = 499
JSON: Final = "application/json"
MOST_LOAD_BYTES: Final = 4096


class InferenceView(BaseModel):
    """How the newest real inference of a model went; the warm-up counts."""

    ok: bool
    at_utc: datetime
    error: str | None


class ModelView(BaseModel):
    """One version in the model repository; what is only known of a loaded one is null for others."""

    name: str
    version: int
    state: Literal["serving", "refused", "available"]
    detail: str | None = Field(description="Why it is refused, or what is odd about it.")
    provider: str | None = Field(description="ONNX Runtime provider that it runs on.")
    sha256: str | None
    loaded_utc: datetime | None
    last_inference: InferenceView | None
    card: ModelCard | None


class ModelsView(BaseModel):
    """The model repository; `default` serves requests that name no model."""

    default: str | None
    models: list[ModelView]


class LoadRequest(BaseModel):
    """Which version to serve; none means the newest good one, now and in future."""

    model_config = ConfigDict(extra="forbid")

    version: int | None = Field(default=None, ge=1)


_LOAD_OPERATION: OpenApi = {
    "requestBody": {"content": {"application/json": {"schema": LoadRequest.model_json_schema()}}}
}


def models_router(services: Services) -> APIRouter:
    """The routes under /models."""
    router = APIRouter(tags=["models"])

    @router.get("/models", summary="List the models")
    def list_models() -> ModelsView:
        """Every version in the model repository, with its card when it is loaded."""
        views = [view_of(status) for status in services.models.statuses()]
        return ModelsView(default=_default(services), models=views)

    @router.post(
        "/models/{name}/load",
        summary="Load a model",
        response_model=ModelsView,
        responses=problems(400, 404, 409, 413, 504),
        openapi_extra=_LOAD_OPERATION,
    )
    async def load_model(name: str, request: Request) -> ModelsView | Response:
        """Serve a model again, or another version of it; a bad file is refused and the old one goes on."""
        try:
            wanted = await _load_request(request)
        except ClientDisconnect:
            return Response(status_code=CLIENT_CLOSED_REQUEST)
        await asyncio.to_thread(services.models.load, name, wanted.version)
        return await asyncio.to_thread(list_models)

    @router.post("/models/{name}/unload", summary="Unload a model", responses=problems(404))
    def unload_model(name: str) -> ModelsView:
        """Stop serving a model until it is loaded again; requests that use it already are answered."""
        services.models.unload(name)
        return list_models()

    return router


def view_of(status: ModelStatus) -> ModelView:
    """What is told about one version."""
    model, last = status.model, status.last_inference
    return ModelView(
        name=status.name,
        version=status.version,
        state=status.state,
        detail=status.detail,
        provider=model.provider if model else None,
        sha256=model.sha256 if model else None,
        loaded_utc=model.loaded_utc if model else None,
        last_inference=InferenceView(ok=last.ok, at_utc=last.at_utc, error=last.error) if last else None,
        card=model.card if model else None,
    )


def _default(services: Services) -> str | None:
    try:
        return services.models.get().name
    except NoModelReady:
        return None


async def _load_request(request: Request) -> LoadRequest:
    """What the body asks for; none asks for the newest version."""
    body = await read_bounded(heard(request), MOST_LOAD_BYTES)
    if body.strip() in (b"", b"null"):
        return LoadRequest()
    media_type = request.headers.get("content-type", JSON).partition(";")[0].strip().lower()
    if media_type != JSON:
        raise InvalidRequest(
            f"The Content-Type is {media_type[:80]!r}, but a version is asked for as JSON, with the "
            f"Content-Type {JSON}."
        )
    return understood(body, LoadRequest)

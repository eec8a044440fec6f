"""What /docs says beyond the types: the problem documents and the body and answers of POST /refine."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel, Field

from app.errors import HTTP_STATUS
from app.options import JobOptions, RefineOptions
from app.routes.report import RefineAnswer

OpenApi = dict[str, Any]
"""A fragment of an OpenAPI document; its shape is that standard's, not ours."""


_OF_FRAMEWORK = "HTTPValidationError"
_TEXT_OR_BYTES: OpenApi = {"schema": {"type": "string", "format": "binary"}}


class ImageOfProblem(BaseModel):
    """Which image of the request a problem is about."""

    index: int = Field(description="Position among the images of the request, from 0.")
    filename: str


class Problem(BaseModel):
    """RFC 9457 problem: what is wrong, in one sentence for the person who can act."""

    type: str = Field(examples=["urn:simtrue:problem:unknown-model"])
    title: str = Field(examples=["There is no such model"])
    status: int = Field(examples=[404])
    detail: str = Field(examples=["There is no model 'eyes'; served are: sudoku-digits."])
    instance: str = Field(examples=["/refine"])
    image: ImageOfProblem | None = None


def problems(*statuses: int) -> dict[int | str, OpenApi]:
    """The problem responses with these statuses, each with the types that it can have."""
    return {status: _problem_response(status) for status in statuses}


def _problem_response(status: int) -> OpenApi:
    faces = [face for face in HTTP_STATUS.values() if face.status == status]
    examples = {
        face.slug: {"value": {"type": face.type, "title": face.title, "status": status}} for face in faces
    }
    described = "; ".join(face.title for face in faces) or HTTPStatus(status).phrase
    content = {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": examples}
    return {"description": described, "model": Problem, "content": {"application/problem+json": content}}


def content(description: str, *media_types: str) -> dict[int | str, OpenApi]:
    """The answer 200 with a file or text of one of these media types."""
    return {200: {"description": description, "content": dict.fromkeys(media_types, _TEXT_OR_BYTES)}}


def file_answers(description: str, *media_types: str) -> dict[int | str, OpenApi]:
    """The answers of a route that serves a file, and ranges of it."""
    return content(description, *media_types) | {
        206: {"description": "The ranges of it that the header Range asks for."},
        416: {"description": "The header Range asks for what is behind its end."},
    }


def describe(app: FastAPI) -> None:
    """Correct the description of `app` where the framework cannot know better.

    The options, which arrive as text inside a form, are added to its schemas; refusals of the framework's own
    form, which our error handler never sends, are taken out.
    """
    of_routes = app.openapi

    def openapi() -> OpenApi:
        described = of_routes()
        schemas = described["components"]["schemas"]
        for operations in described["paths"].values():
            for operation in operations.values():
                if _OF_FRAMEWORK in str(operation["responses"].get("422")):
                    del operation["responses"]["422"]
        schemas.pop(_OF_FRAMEWORK, None)
        schemas.pop("ValidationError", None)
        for options in (RefineOptions, JobOptions):
            own = options.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas |= own.pop("$defs") | {options.__name__: own}
        return described

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way


def _binary(media_type: str) -> OpenApi:
    return {media_type: _TEXT_OR_BYTES}


_FORM: OpenApi = {
    "type": "object",
    "required": ["image"],
    "additionalProperties": False,
    "properties": {
        "image": {
            "type": "array",
            "items": {"type": "string", "format": "binary"},
            "minItems": 1,
            "description": "One or more PNG, JPEG, WebP, TIFF or BMP files.",
        },
        "annotations": {
            "type": "string",
            "contentMediaType": "application/json",
            "description": "JSON (COCO, LabelMe, SOLO, UnityEyes or plain), once for the request or once per "
            "image in the same order. It comes back byte for byte.",
            "example": '{"objects": [{"label": "pupil", "box": [10.50, 8.0, 21.25, 17.0]}]}',
        },
        "model": {"type": "string", "description": "Name of a served model; none means the default."},
        "options": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": {"$ref": "#/components/schemas/RefineOptions"},
            "description": "How to refine; every field may be left out.",
            "example": '{"strength": 0.8, "seed": 1, "lock": [{"annotations": ["pupil"]}]}',
        },
    },
}
_QUERY = {
    "model": "string",
    "strength": "number",
    "seed": "integer",
    "variants": "integer",
    "filename": "string",
}

REFINE_OPERATION: OpenApi = {
    "parameters": [
        {
            "name": name,
            "in": "query",
            "schema": {"type": kind},
            "description": "Only for a request whose whole body is one image.",
        }
        for name, kind in _QUERY.items()
    ],
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {"schema": _FORM},
            **_binary("image/*"),
        },
    },
}
REFINE_ANSWERS: dict[int | str, OpenApi] = {
    200: {
        "model": RefineAnswer,
        "description": "The refined images: JSON, or by the Accept header one image or a zip of all.",
        "content": {**_binary("application/zip"), **_binary("image/png"), **_binary("image/*")},
    }
}

_JOB_FORM: OpenApi = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "archive": {
            "type": "string",
            "format": "binary",
            "description": "The set as zip, tar, tar.gz or tar.zst; either this or `source`.",
        },
        "source": {
            "type": "string",
            "description": "Where the set is: a folder below SIMTRUE_SOURCE_ROOTS, or s3:// below "
            "SIMTRUE_S3_PREFIXES.",
        },
        "destination": {
            "type": "string",
            "description": "Where the result goes, instead of an archive for download.",
        },
        "model": {"type": "string", "description": "Name of a served model; none means the default."},
        "options": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": {"$ref": "#/components/schemas/JobOptions"},
            "description": "How to refine; every field may be left out.",
            "example": '{"strength": 0.8, "thresholds": {"below": "drop"}, "exclude": ["left/*"]}',
        },
    },
}
_JOB_QUERY = {"model": "string", "options": "string", "filename": "string"}

JOB_OPERATION: OpenApi = {
    "parameters": [
        {
            "name": "Idempotency-Key",
            "in": "header",
            "schema": {"type": "string", "maxLength": 255},
            "description": "Your own name for this request: sent twice, it makes one job.",
        },
        *(
            {
                "name": name,
                "in": "query",
                "schema": {"type": kind},
                "description": "Only for a request whose whole body is one archive.",
            }
            for name, kind in _JOB_QUERY.items()
        ),
    ],
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {"schema": _JOB_FORM},
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["source"],
                    "additionalProperties": False,
                    "properties": {
                        **{
                            name: _JOB_FORM["properties"][name] for name in ("source", "destination", "model")
                        },
                        "options": {"$ref": "#/components/schemas/JobOptions"},
                    },
                }
            },
            **_binary("application/zip"),
            **_binary("application/x-tar"),
            **_binary("application/gzip"),
            **_binary("application/zstd"),
        },
    },
}

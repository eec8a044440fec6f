"""What /docs says beyond the types: the problem documents and the body and answers of POST /refine."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from pydantic import BaseModel, Field

from app.errors import HTTP_STATUS
from app.options import RefineOptions

OpenApi = dict[str, Any]
"""A fragment of an OpenAPI document; its shape is that standard's, not ours."""


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


def _binary(media_type: str) -> OpenApi:
    return {media_type: {"schema": {"type": "string", "format": "binary"}}}


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
            "description": "JSON (COCO, LabelMe, UnityEyes or plain), once for the whole request or once per "
            "image in the same order. It comes back byte for byte.",
        },
        "model": {"type": "string", "description": "Name of a served model; none means the default."},
        "options": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": RefineOptions.model_json_schema(ref_template="#/components/schemas/{model}"),
            "description": "How to refine; every field may be left out.",
        },
    },
}

REFINE_OPERATION: OpenApi = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {"schema": _FORM},
            **_binary("image/png"),
            **_binary("image/jpeg"),
        },
    }
}

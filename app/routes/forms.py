"""From the body of a /refine request to what it asks for: images, annotations, model and options, all raw."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass

from fastapi import Request

from app.errors import BodyTooLarge, InvalidOptions, InvalidRequest
from app.routes.multipart import read_parts
from app.routes.parts import Part, PartLimit
from app.routes.room import Share
from app.routes.simple_form import read_simple
from app.settings import Settings

MAX_MODEL_BYTES = 256
MAX_OPTIONS_BYTES = 1 << 20
_SHORT_BODY_BYTES = 1 << 20
"""Up to here a body is read whole before it is taken apart; longer ones are checked as they come."""
QUERY_OPTIONS = ("strength", "seed", "variants")


@dataclass(frozen=True)
class Upload:
    """One uploaded image: undecoded bytes, and the name that the client claims."""

    filename: str
    data: bytes


@dataclass(frozen=True)
class RefineForm:
    """One request as it came: `annotations` has no entry, one for all images, or one per image."""

    images: tuple[Upload, ...]
    annotations: tuple[bytes, ...]
    model: str | None
    options: bytes | None


async def read_form(request: Request, settings: Settings, memory: Share) -> RefineForm:
    """Read the request's body within the limits of `settings`; `memory` counts its bytes as they come.

    The body is multipart/form-data, or simply one image (then model and options come in the query).
    Queries of a form are refused, since nothing would read them.
    Raises `BodyTooLarge` before reading when Content-Length already says so, `InvalidRequest`, and
    `EngineBusy` when the requests in flight leave no memory for it.
    """
    _check_content_length(request, settings.max_upload_bytes)
    content_type = request.headers.get("content-type", "")
    body = _counted(request, memory)
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type == "multipart/form-data":
        if request.scope["query_string"]:
            _refuse_query(request)
        return form_of(await _parts(body, content_type, request, settings))
    if media_type.startswith("image/"):
        return _form_of_image(request, await _read_body(body, settings.max_upload_bytes))
    raise InvalidRequest(
        f"The Content-Type is {media_type[:80]!r}, but /refine takes multipart/form-data with a part "
        "`image`, or one image as the whole body with a Content-Type such as image/png."
    )


async def _parts(
    body: AsyncIterator[bytes], content_type: str, request: Request, settings: Settings
) -> list[Part]:
    """The parts of the form: of a short body in one go, of any other piece by piece."""
    limits, most = part_limits(settings), settings.max_upload_bytes
    length = request.headers.get("content-length", "")
    if not (length.isdecimal() and int(length) <= _SHORT_BODY_BYTES):
        return await read_parts(body, content_type, limits, most)
    whole = await _read_body(body, most)
    parts = read_simple(whole, content_type, limits)
    return await read_parts(_only(whole), content_type, limits, most) if parts is None else parts


async def _only(whole: bytes) -> AsyncIterator[bytes]:
    yield whole


def _refuse_query(request: Request) -> None:
    for name in request.query_params:
        raise InvalidRequest(
            f"The query parameter {name[:80]!r} is only for a request whose whole body is one image; a form "
            "has the parts `model` and `options` for it."
        )


async def _counted(request: Request, memory: Share) -> AsyncIterator[bytes]:
    """The body; bytes count when they are here, so that nobody fills the memory by announcing much."""
    async for chunk in request.stream():
        memory.take(len(chunk))
        yield chunk


def _check_content_length(request: Request, most: int) -> None:
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > most:
        raise BodyTooLarge(f"The request body has {length} bytes, but the limit is {most} bytes.")


def part_limits(settings: Settings) -> dict[str, PartLimit]:
    """The parts that a form may have."""
    images = settings.max_images_per_request
    return {
        "image": PartLimit(images, settings.max_upload_bytes),
        "annotations": PartLimit(images, settings.max_annotation_bytes),
        "model": PartLimit(1, MAX_MODEL_BYTES),
        "options": PartLimit(1, MAX_OPTIONS_BYTES),
    }


def form_of(parts: list[Part]) -> RefineForm:
    """What a form asks for. Raises InvalidRequest."""

    def data_of(name: str) -> tuple[bytes, ...]:
        return tuple(part.data for part in parts if part.name == name)

    images = [part for part in parts if part.name == "image"]
    if not images:
        raise InvalidRequest("The request has no part `image`; send at least one image file under that name.")
    annotations = data_of("annotations")
    if len(annotations) not in {0, 1, len(images)}:
        raise InvalidRequest(
            f"The request has {len(annotations)} annotation documents for {len(images)} images; "
            "send none, one for all, or one for each image in the same order."
        )
    uploads = tuple(Upload(part.filename or f"image-{index}", part.data) for index, part in enumerate(images))
    model, options = data_of("model"), data_of("options")
    return RefineForm(uploads, annotations, _model_name(*model), options[0] if options else None)


def _model_name(raw: bytes = b"") -> str | None:
    return raw.decode("utf-8", errors="replace").strip() or None


def _form_of_image(request: Request, body: bytes) -> RefineForm:
    known = {"model", "filename", *QUERY_OPTIONS}
    unknown = [name for name in request.query_params if name not in known]
    if unknown:
        raise InvalidRequest(
            f"The query parameter {unknown[0][:80]!r} is unknown; known are {', '.join(sorted(known))}."
        )
    if not body:
        raise InvalidRequest("The request body is empty; send the bytes of one image.")
    upload = Upload(request.query_params.get("filename") or "image", body)
    model = request.query_params.get("model") or None
    return RefineForm((upload,), (), model, _options_of_query(request))


def _options_of_query(request: Request) -> bytes | None:
    given = {name: request.query_params[name] for name in QUERY_OPTIONS if name in request.query_params}
    return json.dumps({name: _number(name, text) for name, text in given.items()}).encode() if given else None


def _number(name: str, text: str) -> int | float:
    try:
        return int(text) if text.isdecimal() and len(text) < 20 else float(text)
    except ValueError:
        raise InvalidOptions(f"The option {name} is {text[:60]!r}, but must be a number.") from None


async def _read_body(chunks: AsyncIterator[bytes], most: int) -> bytes:
    pieces, received = [], 0
    async for chunk in chunks:
        received += len(chunk)
        if received > most:
            raise BodyTooLarge(f"The request body is larger than the limit of {most} bytes.")
        pieces.append(chunk)
    return b"".join(pieces)

"""From the body of POST /jobs to what it asks for: an archive on the disk or a source, model and options."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from app.errors import BodyTooLarge, InvalidRequest
from app.routes.json_body import heard, read_bounded, understood
from app.routes.multipart import read_parts
from app.routes.parts import PartLimit
from app.routes.spool import Spool
from app.settings import Settings

MOST_TEXT_BYTES: Final = 4096
MOST_OPTIONS_BYTES: Final = 1 << 20
ROOM_FOR_FORM_BYTES: Final = 4 << 20
ARCHIVE_TYPES: Final = frozenset(
    {
        "application/zip",
        "application/x-tar",
        "application/gzip",
        "application/x-gzip",
        "application/zstd",
        "application/octet-stream",
    }
)
QUERY: Final = frozenset({"model", "options", "filename"})

Text = Annotated[str, StringConstraints(min_length=1, max_length=MOST_TEXT_BYTES)]


@dataclass(frozen=True)
class JobForm:
    """One request as it came; `archive` is the name of the uploaded archive, None when there is none."""

    archive: str | None
    source: str | None
    destination: str | None
    model: str | None
    options: bytes | None


class JobDocument(BaseModel):
    """The body as JSON, for a set that need not be uploaded."""

    model_config = ConfigDict(extra="forbid", strict=True)

    source: Text = Field(description="Folder below SIMTRUE_SOURCE_ROOTS, or s3:// below SIMTRUE_S3_PREFIXES.")
    destination: Text | None = Field(
        default=None, description="Where the result goes, instead of an archive."
    )
    model: Text | None = None
    options: dict[str, object] | None = None


async def read_job_form(request: Request, settings: Settings, spool: Spool) -> JobForm:
    """Read the body; an archive in it goes into `spool`.

    It is multipart/form-data, an archive as the whole body (then the rest comes in the query), or JSON.
    Raises InvalidRequest, InvalidJson, BodyTooLarge and RequestTimeout.
    """
    most = settings.max_archive_bytes
    _check_content_length(request, most + ROOM_FOR_FORM_BYTES)
    content_type = request.headers.get("content-type", "")
    media_type = content_type.partition(";")[0].strip().lower()
    body = heard(request)
    if media_type == "multipart/form-data":
        parts = await read_parts(body, content_type, _limits(most), most + ROOM_FOR_FORM_BYTES, spool)
        await spool.finish()
        texts = {part.name: part.data for part in parts if part.name != spool.part}
        names = [part.filename or "archive" for part in parts if part.name == spool.part]
        return _form(names[0] if names else None, texts)
    if media_type == "application/json":
        return _document(await read_bounded(body, MOST_OPTIONS_BYTES))
    if media_type in ARCHIVE_TYPES:
        return await _whole_body(request, body, most, spool)
    raise InvalidRequest(
        f"The Content-Type is {media_type[:80]!r}, but /jobs takes multipart/form-data with a part "
        "`archive`, an archive as the whole body (such as application/zip), or JSON with a `source`."
    )


def _limits(most: int) -> dict[str, PartLimit]:
    return {
        "archive": PartLimit(1, most),
        "source": PartLimit(1, MOST_TEXT_BYTES),
        "destination": PartLimit(1, MOST_TEXT_BYTES),
        "model": PartLimit(1, MOST_TEXT_BYTES),
        "options": PartLimit(1, MOST_OPTIONS_BYTES),
    }


def _form(archive: str | None, texts: Mapping[str, bytes]) -> JobForm:
    source, destination, model = (_text(texts.get(name)) for name in ("source", "destination", "model"))
    if (archive is None) == (source is None):
        raise InvalidRequest(
            "A job needs either a part `archive` with the set, or a `source` that says where it is."
        )
    return JobForm(archive, source, destination, model, texts.get("options"))


def _document(body: bytes) -> JobForm:
    document = understood(body, JobDocument)
    options = None if document.options is None else json.dumps(document.options).encode()
    return JobForm(None, document.source, document.destination, document.model, options)


async def _whole_body(request: Request, body: AsyncIterator[bytes], most: int, spool: Spool) -> JobForm:
    for name in request.query_params:
        if name not in QUERY:
            raise InvalidRequest(f"The query parameter {name[:80]!r} is unknown; known are {_listed(QUERY)}.")
    async for piece in body:
        spool.take(piece)
        if spool.bytes > most:
            raise BodyTooLarge(f"The archive is larger than the limit of {most} bytes.")
        await spool.drain()
    await spool.finish()
    if not spool.bytes:
        raise InvalidRequest("The request body is empty; send the bytes of one archive.")
    query = request.query_params
    options = query["options"].encode() if "options" in query else None
    return JobForm(query.get("filename") or "archive", None, None, query.get("model") or None, options)


def _check_content_length(request: Request, most: int) -> None:
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > most:
        raise BodyTooLarge(f"The request body has {length} bytes, but the limit is {most} bytes.")


def _text(raw: bytes | None) -> str | None:
    return None if raw is None else raw.decode("utf-8", errors="replace").strip() or None


def _listed(names: frozenset[str]) -> str:
    return ", ".join(sorted(names))

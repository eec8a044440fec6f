"""A small JSON document as the whole body of a request: read within bounds, understood or refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError

from app.errors import BodyTooLarge, InvalidJson, InvalidRequest, RequestTimeout

SILENCE_S: Final = 60.0
"""A body may take long; a client from which nothing comes for so long is gone."""
_LONGEST_PLACE: Final = 80
T = TypeVar("T", bound=BaseModel)


async def heard(request: Request) -> AsyncIterator[bytes]:
    """The body as it comes. Raises RequestTimeout when nothing comes any more."""
    stream = aiter(request.stream())
    while True:
        try:
            async with asyncio.timeout(SILENCE_S):
                piece = await anext(stream)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise RequestTimeout(f"Nothing of the request came for {SILENCE_S:g} s.") from None
        yield piece


async def read_bounded(body: AsyncIterator[bytes], most: int) -> bytes:
    """All of a body of at most so many bytes. Raises BodyTooLarge."""
    read = bytearray()
    async for piece in body:
        read += piece
        if len(read) > most:
            raise BodyTooLarge(f"The request body is larger than the limit of {most} bytes.")
    return bytes(read)


def understood(body: bytes, kind: type[T]) -> T:
    """The document that a body is. Raises InvalidJson and InvalidRequest, with the place."""
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        found = error.errors(include_url=False)[0]
        if found["type"] == "json_invalid":
            raise InvalidJson(f"The body is not valid JSON: {found['ctx']['error']}.") from error
        where = ".".join(str(step) for step in found["loc"])[:_LONGEST_PLACE]
        said = f"In the body, {where}" if where else "The body"
        raise InvalidRequest(f"{said}: {found['msg']}.") from error

"""How many bytes of requests may be in memory at once; the requests beyond are told to come back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fastapi import Request

from app.errors import EngineBusy

LARGEST_REQUESTS_AT_ONCE = 8
"""Requests of `max_upload_bytes` that fit side by side; smaller ones are as many more."""


class UploadRoom:
    """Owns the count of bytes of the requests in flight, for one event loop."""

    def __init__(self, max_upload_bytes: int) -> None:
        self._largest = max_upload_bytes
        self._free = max_upload_bytes * LARGEST_REQUESTS_AT_ONCE

    @contextmanager
    def reserve(self, request: Request) -> Iterator[None]:
        """Keep room for the body of `request` while inside; one of unknown length counts as the largest.

        Raises EngineBusy at once when there is no room.
        """
        length = request.headers.get("content-length", "")
        wanted = min(int(length), self._largest) if length.isdecimal() else self._largest
        if wanted > self._free:
            raise EngineBusy("The requests in flight fill the memory set aside for them; try again later.")
        self._free -= wanted
        try:
            yield
        finally:
            self._free += wanted

"""An uploaded archive on its way to the disk: hashed and written as it comes, never all in memory."""

from __future__ import annotations

import asyncio
import hashlib
from typing import IO, Final

WRITTEN_AT_ONCE: Final = 1 << 20


class Spool:
    """Owns the bytes that are not written yet; the file belongs to the caller."""

    part = "archive"

    def __init__(self, file: IO[bytes]) -> None:
        self.bytes = 0
        self._file = file
        self._hashing = hashlib.sha256()
        self._waiting = bytearray()

    @property
    def sha256(self) -> str:
        """Of all bytes written."""
        return self._hashing.hexdigest()

    def take(self, data: bytes) -> None:
        """Keep some bytes until they are worth a write."""
        self._waiting += data
        self.bytes += len(data)

    async def drain(self) -> None:
        """Write what waits when it is enough; the event loop goes on meanwhile. Raises OSError."""
        if len(self._waiting) >= WRITTEN_AT_ONCE:
            await self.finish()

    async def finish(self) -> None:
        """Write all of it. Raises OSError."""
        data, self._waiting = bytes(self._waiting), bytearray()
        await asyncio.to_thread(self._write, data)

    def _write(self, data: bytes) -> None:
        self._hashing.update(data)
        self._file.write(data)

"""How many decoded pixels a request may hold at once, so that its memory is bounded whatever it sends."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class PixelBudget:
    """A semaphore with weights, first come first served, for one event loop.

    A weight above the capacity waits for all of it, so every image gets through in the end.
    """

    def __init__(self, pixels: int) -> None:
        self._capacity = self._free = pixels
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def hold(self, pixels: int) -> AsyncIterator[None]:
        """Keep `pixels` of the budget while inside; waits for them first."""
        weight = min(pixels, self._capacity)
        await self._take(weight)
        try:
            yield
        finally:
            self._give(weight)

    async def _take(self, weight: int) -> None:
        if not self._waiting and weight <= self._free:
            self._free -= weight
            return
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((weight, granted))
        self._give(0)
        try:
            await granted
        except asyncio.CancelledError:
            self._give(0 if granted.cancelled() else weight)
            raise

    def _give(self, weight: int) -> None:
        self._free += weight
        while self._waiting and (self._waiting[0][1].cancelled() or self._waiting[0][0] <= self._free):
            asked, granted = self._waiting.popleft()
            if not granted.cancelled():
                self._free -= asked
                granted.set_result(None)

"""How many decoded pixels a request may hold at once, so that its memory is bounded whatever it sends."""

from __future__ import annotations

import asyncio
from collections import deque


class PixelBudget:
    """A semaphore with weights, first come first served, for one event loop.

    A weight above the capacity waits for all of it, so every image gets through in the end.
    """

    def __init__(self, pixels: int) -> None:
        self._capacity = self._free = pixels
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    def hold(self, pixels: int) -> _Held:
        """Keep `pixels` of the budget while inside `async with`; waits for them first."""
        return _Held(self, min(pixels, self._capacity))

    async def take(self, weight: int) -> None:
        """Wait for so many pixels, at most the capacity, and take them."""
        if not self._waiting and weight <= self._free:
            self._free -= weight
            return
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((weight, granted))
        self.give(0)
        try:
            await granted
        except asyncio.CancelledError:
            self.give(0 if granted.cancelled() else weight)
            raise

    def give(self, weight: int) -> None:
        """Give them back, and to whoever waits."""
        self._free += weight
        while self._waiting and (self._waiting[0][1].cancelled() or self._waiting[0][0] <= self._free):
            asked, granted = self._waiting.popleft()
            if not granted.cancelled():
                self._free -= asked
                granted.set_result(None)


class _Held:
    """Part of a budget, while inside."""

    def __init__(self, budget: PixelBudget, weight: int) -> None:
        self._budget = budget
        self._weight = weight

    async def __aenter__(self) -> None:
        await self._budget.take(self._weight)

    async def __aexit__(self, *_: object) -> None:
        self._budget.give(self._weight)

"""Work that ends when the client hangs up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from fastapi import Request
from starlette.requests import ClientDisconnect

T = TypeVar("T")
_LOOK_AFTER_S = 0.1
"""Most requests are answered before; to watch each of them would cost a task."""


async def unless_disconnected(request: Request, work: Awaitable[T]) -> T:
    """Do the work in the task that asks; cancel it and raise ClientDisconnect once the client hangs up."""
    watch = _Watch(request)
    try:
        return await work
    except asyncio.CancelledError:
        if watch.hung_up and watch.task.uncancel() <= watch.cancelled_before:
            raise ClientDisconnect from None
        raise
    finally:
        watch.end()


class _Watch:
    """Waits a moment, then for the client to hang up, and cancels the task that made it."""

    def __init__(self, request: Request) -> None:
        self._request = request
        task = asyncio.current_task()
        assert task is not None, "only a task can be cancelled"
        self.task: asyncio.Task[object] = task
        self.cancelled_before = task.cancelling()
        self.hung_up = False
        self._watching: asyncio.Task[None] | None = None
        self._timer = asyncio.get_running_loop().call_later(_LOOK_AFTER_S, self._begin)

    def end(self) -> None:
        """Watch no more."""
        self._timer.cancel()
        if self._watching is not None:
            self._watching.cancel()

    def _begin(self) -> None:
        self._watching = asyncio.ensure_future(self._wait())

    async def _wait(self) -> None:
        while (await self._request.receive())["type"] != "http.disconnect":
            pass
        self.hung_up = True
        self.task.cancel()

"""Waiting for work in threads, from an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from contextlib import suppress
from threading import Lock
from typing import Any, TypeVar

T = TypeVar("T")


async def in_threads(pool: Executor | None, work: Callable[[], T]) -> T:
    """What `work` returns in a thread of the pool, None for the loop's own.

    A thread cannot be stopped: what was begun is over afterwards, also for who is cancelled meanwhile.
    """
    begun = asyncio.get_running_loop().run_in_executor(pool, work)
    try:
        return await asyncio.shield(begun)
    except asyncio.CancelledError:
        await asyncio.wait([begun])
        raise


async def all_over(futures: Sequence[Future[Any]]) -> None:
    """Wait for many futures and wake once; when cancelled, those that are not over are cancelled."""
    if not futures:
        return
    loop, lock, left = asyncio.get_running_loop(), Lock(), len(futures)
    woken = asyncio.Event()

    def count(_: Future[Any]) -> None:
        nonlocal left
        with lock:
            left -= 1
            last = left == 0
        if last:
            with suppress(RuntimeError):  # nobody waits: the loop is closed
                loop.call_soon_threadsafe(woken.set)

    for future in futures:
        future.add_done_callback(count)
    try:
        await woken.wait()
    finally:
        for future in futures:
            future.cancel()

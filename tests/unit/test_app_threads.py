"""Waiting for threads from an event loop, also for who is cancelled meanwhile."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from app.threads import all_over, in_threads


def test_who_is_cancelled_goes_on_when_what_was_begun_is_over() -> None:
    over: list[bool] = []

    def slow() -> None:
        time.sleep(0.2)
        over.append(True)

    async def cancelled() -> None:
        task = asyncio.ensure_future(in_threads(None, slow))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert over == [True]

    asyncio.run(cancelled())


def test_an_error_comes_out_of_the_thread() -> None:
    with pytest.raises(ZeroDivisionError):
        asyncio.run(in_threads(None, lambda: 1 // 0))


def test_many_futures_are_over_when_the_last_is() -> None:
    async def waits() -> list[int]:
        with ThreadPoolExecutor(4) as pool:
            futures = [pool.submit(lambda i=i: (time.sleep(0.01 * (i % 3)), i)[1]) for i in range(50)]
            await all_over(futures)
            assert all(future.done() for future in futures)
            return [future.result() for future in futures]

    assert asyncio.run(waits()) == list(range(50))
    asyncio.run(all_over([]))


def test_futures_that_nobody_waits_for_any_more_are_cancelled() -> None:
    done: Future[int] = Future()
    done.set_result(1)
    futures = [done, Future[int]()]

    async def cancelled() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(all_over(futures), 0.05)

    asyncio.run(cancelled())
    assert [future.cancelled() for future in futures] == [False, True]

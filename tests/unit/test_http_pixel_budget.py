"""The pixel budget never grants more than it has, serves in order, and survives cancellation."""

from __future__ import annotations

import asyncio

from app.pixel_budget import PixelBudget


def test_no_more_pixels_are_held_than_there_are() -> None:
    held = most = 0

    async def hold(budget: PixelBudget, pixels: int) -> None:
        nonlocal held, most
        async with budget.hold(pixels):
            held += pixels
            most = max(most, held)
            await asyncio.sleep(0)
            held -= pixels

    async def run() -> None:
        budget = PixelBudget(10)
        await asyncio.gather(*(hold(budget, pixels) for pixels in (3, 7, 5, 10, 1, 1, 9, 2)))

    asyncio.run(run())
    assert most == 10


def test_an_image_above_the_budget_gets_all_of_it() -> None:
    async def run() -> None:
        budget = PixelBudget(10)
        async with budget.hold(1000):
            assert await _is_refused(budget, 1)
        async with budget.hold(10):
            pass

    asyncio.run(run())


def test_a_large_image_is_not_overtaken_for_ever() -> None:
    order: list[str] = []

    async def run() -> None:
        budget = PixelBudget(10)

        async def hold(name: str, pixels: int) -> None:
            async with budget.hold(pixels):
                order.append(name)
                await asyncio.sleep(0.001)

        await asyncio.gather(hold("small", 6), hold("large", 10), hold("late", 1))

    asyncio.run(run())
    assert order == ["small", "large", "late"]


def test_who_is_cancelled_while_waiting_blocks_nobody() -> None:
    async def run() -> None:
        budget = PixelBudget(10)
        async with budget.hold(6):
            assert await _is_refused(budget, 10)
            async with asyncio.timeout(1), budget.hold(4):
                pass
        async with asyncio.timeout(1), budget.hold(10):
            pass

    asyncio.run(run())


def test_who_is_cancelled_when_just_granted_gives_back() -> None:
    async def run() -> None:
        budget = PixelBudget(10)

        async def hold() -> None:
            async with budget.hold(10):
                await asyncio.sleep(10)

        async with budget.hold(10):
            waiting = asyncio.create_task(hold())
            await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        async with asyncio.timeout(1), budget.hold(10):
            pass

    asyncio.run(run())


async def _is_refused(budget: PixelBudget, pixels: int) -> bool:
    try:
        async with asyncio.timeout(0.01), budget.hold(pixels):
            return False
    except TimeoutError:
        return True

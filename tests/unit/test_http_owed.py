"""An answer that is owed is told once or never, wakes the event loop once with others, and leaves nothing."""

import asyncio
import gc
import weakref
from concurrent.futures import Future

import pytest
from starlette.responses import Response

from app.routes.owed import Arrivals, Owed
from app.routes.together import Together


class Ending:
    """Answers with what came of the inference, and remembers how it ended."""

    def __init__(self):
        self.ends = []

    def finished(self, inference):
        yield
        error = inference.exception()
        return Response(inference.result() if error is None else type(error).__name__)

    def expired(self):
        return Response("too late")

    def ended(self, response):
        self.ends.append(response and bytes(response.body))


async def turns(count=10):
    for _ in range(count):
        await asyncio.sleep(0)


def owed(left_s=60.0, arrivals=None):
    inference, ending = Future(), Ending()
    return inference, ending, Owed(inference, ending, arrivals or Arrivals(Together()), left_s)


def test_what_comes_from_a_thread_is_told():
    async def scenario():
        (inference, ending, one), told = owed(), []
        one.then(lambda response: told.append(bytes(response.body)))
        await asyncio.to_thread(inference.set_result, "refined")
        await turns()
        one.give_up()  # too late to matter
        return told, ending.ends

    assert asyncio.run(scenario()) == ([b"refined"], [b"refined"])


def test_what_failed_is_told_too():
    async def scenario():
        (inference, _, one), told = owed(), []
        inference.set_exception(ValueError())
        one.then(lambda response: told.append(bytes(response.body)))
        await turns()
        return told

    assert asyncio.run(scenario()) == [b"ValueError"]


def test_what_comes_together_wakes_the_event_loop_once(monkeypatch):
    async def scenario():
        arrivals, told, woken = Arrivals(Together()), [], []
        debts = [owed(arrivals=arrivals) for _ in range(20)]
        for _, _, one in debts:
            one.then(lambda response: told.append(bytes(response.body)))
        loop = asyncio.get_running_loop()
        wake = loop.call_soon_threadsafe
        monkeypatch.setattr(loop, "call_soon_threadsafe", lambda *given: (woken.append(1), wake(*given)))
        for round_ in range(2):
            for number in range(10):
                debts[10 * round_ + number][0].set_result(str(10 * round_ + number))
            await turns()
        return told, len(woken)

    told, woken = asyncio.run(scenario())
    assert told == [str(number).encode() for number in range(20)]
    assert woken == 2, "once for each ten that came before it looked"


def test_time_over_is_told_instead_and_frees_the_engine():
    async def scenario():
        (inference, ending, one), told = owed(left_s=0.01), []
        one.then(lambda response: told.append(bytes(response.body)))
        await asyncio.sleep(0.05)
        await turns()
        return told, ending.ends, inference.cancelled()

    assert asyncio.run(scenario()) == ([b"too late"], [b"too late"], True)


@pytest.mark.parametrize("asked", [False, True])
def test_what_is_given_up_is_not_told_and_frees_the_engine(asked):
    async def scenario():
        (inference, ending, one), told = owed(), []
        if asked:
            one.then(told.append)
        one.give_up()
        one.give_up()
        await turns()
        return told, ending.ends, inference.cancelled()

    assert asyncio.run(scenario()) == ([], [None], True)


def test_what_is_given_up_between_its_pixels_and_its_answer_is_not_told():
    async def scenario():
        (inference, ending, one), told = owed(), []
        one.then(told.append)
        inference.set_result("refined")
        await asyncio.sleep(0)
        one.give_up()
        await turns()
        return told, ending.ends

    assert asyncio.run(scenario()) == ([], [None])


def test_nothing_lasts_behind_an_answer():
    """Pixels and body of a request would otherwise wait for the collector, which comes seldom."""

    async def scenario(end):
        inference, ending, one = owed(left_s=0.01 if end == "late" else 60.0)
        kept = [weakref.ref(thing) for thing in (inference, ending, one)]
        one.then(lambda _: None)
        if end == "refined":
            inference.set_result("refined")
        elif end == "gone":
            one.give_up()
        await asyncio.sleep(0.05)
        await turns()
        del inference, ending, one
        return [reference() for reference in kept]

    gc.disable()
    try:
        for end in ("refined", "gone", "late"):
            assert asyncio.run(scenario(end)) == [None] * 3, end
    finally:
        gc.enable()


def test_a_closed_event_loop_is_not_missed():
    arrivals = Arrivals(Together())

    async def scenario():
        inference, _, one = owed(arrivals=arrivals)
        one.then(lambda _: None)
        return inference

    asyncio.run(scenario()).set_result("nobody waits")

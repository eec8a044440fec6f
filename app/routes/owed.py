"""The answers to small requests whose images wait for the engine: no task waits for them, only a timer."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Protocol

from starlette.responses import Response

from app.refining.session import Pixels
from app.routes.together import Steps, Together


class Ending(Protocol):
    """How a request whose image waits ends; called in the event loop."""

    def finished(self, inference: Future[Pixels]) -> Steps[Response]:
        """The steps to its answer, whatever became of its pixels; they raise nothing."""
        ...

    def expired(self) -> Response:
        """The answer when its time is over."""
        ...

    def ended(self, response: Response | None) -> None:
        """Give back all that it holds: this is its answer, or nobody wants one any more."""
        ...


class Arrivals:
    """Owns what the engine's threads are done with and the event loop has not seen yet.

    However much comes at a time, the event loop is woken once: a thread that wakes it lets go of the
    interpreter, and waits to get it back.
    """

    def __init__(self, together: Together) -> None:
        self._together = together
        self._come: deque[Owed] = deque()
        self._woken = False

    def come(self, owed: Owed, loop: asyncio.AbstractEventLoop) -> None:
        """Take what has come; called in any thread."""
        self._come.append(owed)
        if self._woken:  # and has not looked yet, or it would have said so
            return
        self._woken = True
        try:
            loop.call_soon_threadsafe(self._look)
        except RuntimeError:  # the loop is closed, so nobody waits
            self._woken = False

    def _look(self) -> None:
        self._woken = False
        while self._come:  # nobody else takes out
            self._come.popleft().go_on(self._together)


class Owed:
    """An answer that is told to whoever asks, within `left_s` seconds; its image is in the engine."""

    def __init__(self, inference: Future[Pixels], ending: Ending, arrivals: Arrivals, left_s: float) -> None:
        self._inference: Future[Pixels] | None = inference
        self._ending = ending
        self._arrivals = arrivals
        self._left_s = left_s
        self._tell: Callable[[Response], None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def then(self, tell: Callable[[Response], None]) -> None:
        """Call `tell` with the answer once it is there; to be called once, in the event loop."""
        assert self._inference is not None, "nothing is owed any more"
        loop = asyncio.get_running_loop()
        self._tell = tell
        self._timer = loop.call_later(max(0.0, self._left_s), self._expire)
        self._inference.add_done_callback(lambda _: self._arrivals.come(self, loop))

    def give_up(self) -> None:
        """Tell nothing any more, and take the image from the engine, if it has not been refined."""
        if self._inference is not None:
            self._end(None)

    def go_on(self, together: Together) -> None:
        """Go on to the answer, beside others; only for `Arrivals`."""
        if self._inference is not None:
            together.begin(self._ending.finished(self._inference), self._finish)

    def _finish(self, response: Response | None) -> None:
        assert response is not None, "it answers also what fails"
        if self._inference is not None:
            self._end(response)

    def _expire(self) -> None:
        if self._inference is not None:
            self._end(self._ending.expired())

    def _end(self, response: Response | None) -> None:
        inference, self._inference = self._inference, None  # whose callback holds this: nothing shall last
        assert inference is not None, "it ends once"
        inference.cancel()
        if self._timer is not None:
            self._timer.cancel()
        self._ending.ended(response)
        tell, self._tell = self._tell, None
        if tell is not None and response is not None:
            tell(response)

"""A job followed to its end by its events, over broken connections and restarts of the service."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

from app.client.answers import Job
from app.client.service import Service, passes, path_of
from app.errors import BadAnswer, SimtrueError

LONGEST_LINE_BYTES: Final = 1 << 20
LOOK_EVERY_S: Final = 0.5
FIRST_PAUSE_S: Final = 0.25
LONGEST_PAUSE_S: Final = 5.0
PATIENCE_S: Final = 600.0
"""A service that is away for so long is given up."""


class Event(NamedTuple):
    """One event; `number` 0 for one without."""

    number: int
    kind: str


class Away(NamedTuple):
    """The service does not answer now; it is tried again."""

    detail: str


def follow(
    service: Service,
    job_id: str,
    *,
    clock_s: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Job | Away]:
    """What there is to see of a job whenever something happens, until it is finished.

    Raises at once what will not pass, such as ServiceRefused when the job is deleted, and the last NoService
    when the service stays away.
    """
    following = _Following(service, job_id, clock_s)
    heard_s, pause_s = clock_s(), FIRST_PAUSE_S
    while True:
        try:
            for job in following.until_it_breaks():
                heard_s, pause_s = clock_s(), FIRST_PAUSE_S
                yield job
                if job.finished:
                    return
        except SimtrueError as error:
            if not passes(error) or clock_s() - heard_s > PATIENCE_S:
                raise
            yield Away(error.detail)
        sleep(pause_s)
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


class _Following:
    """Remembers the last event that was seen, so that the next connection goes on behind it."""

    def __init__(self, service: Service, job_id: str, clock_s: Callable[[], float]) -> None:
        self._service, self._id, self._clock_s = service, job_id, clock_s
        self._last = 0
        self._looked_s = 0.0

    def until_it_breaks(self) -> Iterator[Job]:
        """A look at the beginning, at events, and when the stream of events is over."""
        yield self._look()
        headers = {"Accept": "text/event-stream", "Last-Event-ID": str(self._last)}
        with self._service.open("GET", path_of(self._id, "/events"), headers=headers) as answer:
            for event in events_in(answer.iter_raw()):
                self._last = max(self._last, event.number)
                if event.kind == "state" or self._clock_s() - self._looked_s >= LOOK_EVERY_S:
                    yield self._look()
        yield self._look()

    def _look(self) -> Job:
        job = self._service.look(self._id)
        self._looked_s = self._clock_s()
        return job


def events_in(pieces: Iterable[bytes]) -> Iterator[Event]:
    """The events of a stream as they come. Raises BadAnswer for a line that is too long to be one."""
    number, kind, waiting = 0, "", bytearray()
    for piece in pieces:
        waiting += piece
        *lines, rest = bytes(waiting).split(b"\n")
        waiting = bytearray(rest)
        if len(waiting) > LONGEST_LINE_BYTES:
            raise BadAnswer("The service sends events that no Simtrue service sends.")
        for line in lines:
            name, _, value = line.rstrip(b"\r").decode("utf-8", "replace").partition(":")
            said = value.removeprefix(" ")
            if name == "id" and said.isdecimal() and said.isascii() and len(said) <= 18:
                number = int(said)
            elif name == "event":
                kind = said
            elif not line.rstrip(b"\r") and kind:
                yield Event(number, kind)
                kind = ""

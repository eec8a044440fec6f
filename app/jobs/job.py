"""A dataset job as the ledger remembers it: its states, which may follow which, and its parts."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from app.jobs.counts import Counts

State = Literal["queued", "preparing", "running", "finishing", "done", "failed", "cancelled"]
"""queued: nobody has begun. preparing: the set is unpacked and its files are found. running: chunks of files
are refined. finishing: manifest, report and result are written. done, failed, cancelled: it is over."""

FOLLOWERS: Final[dict[State, frozenset[State]]] = {
    "queued": frozenset({"preparing", "failed", "cancelled"}),
    "preparing": frozenset({"running", "failed", "cancelled"}),
    "running": frozenset({"finishing", "failed", "cancelled"}),
    "finishing": frozenset({"done", "failed", "cancelled"}),
    "done": frozenset(),
    "failed": frozenset(),
    "cancelled": frozenset(),
}
"""Which states may follow a state."""

FINISHED: Final = frozenset(state for state, followers in FOLLOWERS.items() if not followers)
"""The states in which a job stays for ever."""

ACTIVE: Final = frozenset(FOLLOWERS) - FINISHED
"""The states in which there is still something to do."""

ID_CHARACTERS: Final = 26
_DIGITS: Final = "0123456789abcdefghjkmnpqrstvwxyz"
_ID = re.compile(f"[{_DIGITS}]{{{ID_CHARACTERS}}}")


@dataclass(frozen=True)
class NewJob:
    """What is written down when a job is submitted."""

    id: str
    """From `new_job_id`."""
    request_json: str
    """What was asked for; the ledger keeps the text as it is."""
    request_digest: str
    """The same for two requests that ask for the same."""
    idempotency_key: str | None = None
    """The caller's own name for this request, so that it may be sent twice."""


@dataclass(frozen=True)
class Job:
    """One look at a job; times are seconds since 1970, UTC."""

    id: str
    state: State
    detail: str
    """A sentence: why it waits, or why it failed."""
    waiting: bool
    """It cannot go on for the reason in `detail`, and is tried again without anybody's doing."""
    cancel: bool
    """Somebody asked for its end."""
    request_json: str
    request_digest: str
    idempotency_key: str | None
    owner: str | None
    """Who drives it, or drove it to its end."""
    beat: int
    """Grows as long as its owner lives."""
    created_utc: float
    started_utc: float | None
    finished_utc: float | None
    files: int
    images: int
    chunks: int
    """Known, like `files` and `images`, once it is running; 0 before."""
    chunks_done: int
    bytes_on_disk: int
    counts: Counts
    result_json: str | None
    last_event: int
    """The number of its newest event."""

    @property
    def finished(self) -> bool:
        """Nothing more comes."""
        return self.state in FINISHED


class Lease(NamedTuple):
    """Who drives a job. A driver whose `beat` stands still is gone."""

    job_id: str
    owner: str
    beat: int


class Chunk(NamedTuple):
    """A part of a job that is still to be done; `attempts`: how often it was begun."""

    number: int
    attempts: int


class Event(NamedTuple):
    """Something that happened to a job; its events are numbered 1, 2, 3, … without a gap."""

    seq: int
    at_utc: float
    kind: str
    data_json: str


class JobPage(NamedTuple):
    """Jobs, newest first, and the cursor behind which older ones follow, if there are any."""

    jobs: tuple[Job, ...]
    cursor: str | None


def new_job_id(clock: Callable[[], float], random: Callable[[int], bytes]) -> str:
    """An id that sorts by time: 48 bits of milliseconds and 80 of chance, in Crockford's base 32.

    clock: seconds since 1970, such as `time.time`. random: so many random bytes, such as `os.urandom`.
    """
    milliseconds = int(clock() * 1000)
    assert 0 <= milliseconds < 1 << 48, milliseconds
    number = milliseconds << 80 | int.from_bytes(random(10), "big")
    return "".join(_DIGITS[number >> 5 * place & 31] for place in reversed(range(ID_CHARACTERS)))


def is_job_id(text: str) -> bool:
    """Whether `text` could be the id of a job: safe as a name of a file, in a URL and in a database."""
    return _ID.fullmatch(text) is not None

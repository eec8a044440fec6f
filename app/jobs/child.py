"""Work on a whole set in a process of its own, so that neither its memory nor its end is the service's.

The order goes to the child's standard input, which stays open: when it closes, the parent is gone, and the
child ends at once instead of working on beside a successor. Its answer is one line on standard output.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final

from app.errors import SimtrueError, StorageFull
from app.jobs.order import error_of
from model.files import DISK_FULL

Order = Mapping[str, Any]
NICENESS: Final = 10
LONGEST_ANSWER_BYTES: Final = 16 << 20


class ChildDied(Exception):  # noqa: N818 (it says what happened)
    """A child ended without an answer: it was killed, or it is broken."""


async def ask_child(module: str, order: Order) -> dict[str, Any]:
    """Let `python -m module` carry out an order; its answer.

    Cancelling kills it. Raises the SimtrueError that it ended with, and ChildDied.
    """
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        module,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=LONGEST_ANSWER_BYTES,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        with contextlib.suppress(ConnectionError):  # it is gone; its exit code says more
            child.stdin.write(json.dumps(order).encode() + b"\n")
            await child.stdin.drain()
        answer = await child.stdout.readline()
        code = await child.wait()
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
        child.stdin.close()
    if code != 0 or not answer.endswith(b"\n"):
        raise ChildDied(f"{module} ended with {code}")
    return _result_of(json.loads(answer))


def _result_of(answer: dict[str, Any]) -> dict[str, Any]:
    if "error" not in answer:
        return answer
    raise error_of(answer)


def carry_out(work: Callable[[Order], Mapping[str, object]]) -> None:
    """The child's side: read the order, do the work, answer."""
    order = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_parent, args=[sys.stdin.fileno()], daemon=True).start()
    with contextlib.suppress(OSError):
        os.nice(NICENESS)
    try:
        answer = work(order)
    except SimtrueError as error:
        answer = {"error": type(error).__name__, "detail": error.detail}
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        answer = {"error": StorageFull.__name__, "detail": f"The disk is full: {error.strerror}."}
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def _end_with_parent(standard_input: int) -> None:
    """Past Python's own buffer, whose lock would still be held when this process ends by itself."""
    while os.read(standard_input, 1024):
        pass
    os._exit(1)

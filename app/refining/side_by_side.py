"""Several windows at once on a processor: a thread for each instead of all threads for each layer."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

_SMALL_PIXELS = 1 << 12
"""An image of so few px is refined as fast by one thread as by two, for half the processor time."""

Feed = dict[str, Any]
Run = Callable[[ort.InferenceSession | None, Feed], NDArray[Any]]


class SideBySide:
    """A session of one thread, run by as many threads as there are cores, each on its share of a batch.

    Threads that share every layer of a small image wait for each other after every layer; threads with images
    of their own do not. ONNX Runtime sums in the same order either way, so that the bytes are the same.
    """

    def __init__(self, session: ort.InferenceSession, threads: int) -> None:
        self._session: ort.InferenceSession | None = session
        self._threads = threads
        self._pool: ThreadPoolExecutor | None = None

    def is_faster(self, shape: tuple[int, ...]) -> bool:
        """Whether a batch [N, H, W, C] of this shape gives every thread something, or needs only one."""
        return shape[0] >= self._threads or shape[0] * shape[1] * shape[2] <= _SMALL_PIXELS

    def map(self, run: Run, feed: Feed) -> NDArray[Any]:
        """Call `run` for the shares of the batch, all at once; the results in their order.

        Raises what a share raised, once all have ended.
        """
        count = len(feed["image"])
        shares = min(count, self._threads)
        if shares == 1:
            return run(self._session, feed)
        cuts = [count * share // shares for share in range(shares + 1)]
        parts = [{name: values[start:end] for name, values in feed.items()} for start, end in pairwise(cuts)]
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads - 1, thread_name_prefix="share of a batch")
        others = [self._pool.submit(run, self._session, part) for part in parts[1:]]
        try:
            first = run(self._session, parts[0])
        finally:
            failures = [other.exception() for other in others]
        for failure in failures:
            if failure is not None:
                raise failure
        return np.concatenate([first, *(other.result() for other in others)])

    def close(self) -> None:
        """Let go of the session and the threads. Idempotent."""
        self._session = None
        if self._pool is not None:
            self._pool.shutdown(wait=False)

"""Owns the wish to stop: Ctrl-C and SIGTERM are remembered until the step is done and can be saved."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from trainer.errors import StoppedError

_HEARD = b"\nstopping as soon as this step is done and saved; a second time, at once\n"
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopping:
    """Whether somebody asked this process to stop, and with which signal."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._nothing_to_save = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Remember the first signal instead of dying from it; a second one interrupts at once."""
        if threading.current_thread() is not threading.main_thread():
            yield  # signals belong to the main thread
            return
        before = {number: signal.signal(number, self._remember) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Where there is nothing to save, do not wait: a signal raises StoppedError."""
        self._nothing_to_save = True
        try:
            yield
        finally:
            self._nothing_to_save = False

    def _remember(self, number: int, _frame: FrameType | None) -> None:
        if self.signal is not None:
            raise KeyboardInterrupt
        self.signal = signal.Signals(number)
        if self._nothing_to_save:
            raise StoppedError(
                self.signal, f"stopped by {self.signal.name} before there was anything to save"
            )
        os.write(2, _HEARD)  # print may have been interrupted, and would not be entered twice

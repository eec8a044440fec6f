"""The thread that looks at the model repository again and again."""

from __future__ import annotations

import logging
from threading import Event, Thread

from app.refining.models import ModelRepository

_log = logging.getLogger(__name__)


class RepositoryPoll:
    """Calls `refresh` every `period_s` seconds until it is closed."""

    def __init__(self, models: ModelRepository, period_s: float) -> None:
        self._models = models
        self._period_s = period_s
        self._stop = Event()
        self._thread = Thread(target=self._run, name="model repository poll", daemon=True)

    def start(self) -> None:
        """Start looking; the first look comes after one period."""
        self._thread.start()

    def close(self) -> None:
        """Stop at once, or as soon as a model that is being loaded is loaded. Idempotent."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._period_s):
            try:
                self._models.refresh()
            except Exception:  # noqa: BLE001 (outermost loop of its thread)
                _log.exception("looking at the model repository %s failed", self._models.root)

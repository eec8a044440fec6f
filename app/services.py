"""What one service process works with, and the one place that constructs it."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass

from app.refining.devices import available_cores, choose_provider
from app.refining.engine import Engine
from app.refining.models import ModelRepository
from app.refining.poll import RepositoryPoll
from app.settings import Settings

_BACKGROUND_NICENESS = 5
"""Added to that of the process: a thread then gets a quarter of a core that an ordinary one wants, too.

With 10 it is a tenth, and small images make requests wait: a thread that is hardly ever run may hold Python's
lock meanwhile (99 of 100 requests within 330 ms, not 150). With 0 large images make them wait, twice as long.
"""


@dataclass(frozen=True)
class Services:
    """The open resources of a service; routes and commands receive them, nobody else makes them."""

    settings: Settings
    models: ModelRepository
    engine: Engine
    codecs: ThreadPoolExecutor
    """Threads that decode and encode images, so that nothing heavy runs on the event loop."""
    background_codecs: ThreadPoolExecutor
    """The same for the images of jobs; the scheduler lets all other threads go first, where it can."""


@contextmanager
def open_services(settings: Settings) -> Iterator[Services]:
    """Load the models and open everything; at the end finish what is in flight and close everything.

    Leaving waits at most `shutdown_grace_s` for images in the engine, then fails those that still wait.
    Raises DeviceUnavailable when `device` is "cuda" and there is none.
    """
    with ExitStack() as stack:
        codecs = ThreadPoolExecutor(settings.codec_threads or available_cores(), "codec")
        stack.callback(codecs.shutdown, wait=True, cancel_futures=True)
        background_codecs = ThreadPoolExecutor(
            settings.background_codec_threads or available_cores(), "background codec", _let_others_go_first
        )
        stack.callback(background_codecs.shutdown, wait=True, cancel_futures=True)
        provider = choose_provider(settings.device)
        engine = Engine(settings)
        models = ModelRepository(
            settings.models,
            provider,
            settings.threads,
            default_model=settings.default_model,
            on_retired=engine.release,
        )
        stack.enter_context(closing(models))
        stack.enter_context(closing(engine))
        engine.observe(lambda report: models.record(report.model, report.error))
        models.open()
        poll = RepositoryPoll(models, settings.models_poll_s)
        stack.callback(poll.close)
        poll.start()
        stack.callback(engine.drain, settings.shutdown_grace_s)
        yield Services(settings, models, engine, codecs, background_codecs)


def _let_others_go_first() -> None:
    """Lower the priority of this thread alone, which only Linux can; a pool's threads call it once."""
    if sys.platform != "linux":
        return
    thread = threading.get_native_id()
    with suppress(OSError):  # a sandbox may forbid it, and then all threads are equal
        os.setpriority(
            os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + _BACKGROUND_NICENESS
        )

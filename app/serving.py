"""One service process from its socket to its end: bind, load, answer, drain."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator
from functools import partial
from math import ceil

import uvicorn
from fastapi import FastAPI

from app.errors import BadSettings
from app.jobs.service import open_jobs
from app.logs import configure_logs
from app.main import create_app
from app.refining.models import ModelRepository
from app.routes.whole import WholeRequests
from app.services import open_services
from app.settings import Settings, unknown_variables
from app.swift_http import SwiftHttpProtocol

_log = logging.getLogger(__name__)
_BACKLOG = 2048
_NEW_OBJECTS_BETWEEN_COLLECTIONS = 50_000
"""With Python's own 700, large annotation documents take five times as long, and the event loop waits."""
_TURN_OF_THE_INTERPRETER_S = 100e-6
"""With Python's own 5 ms, a thread that is done with an inference idles until it gets the interpreter."""


def serve_until_stopped(settings: Settings) -> None:
    """Serve until SIGTERM or Ctrl-C; requests in flight are then answered within `shutdown_grace_s`.

    Prints one line once it listens. Raises BadSettings when the address cannot be used, before any model is
    loaded, and what `open_services` raises.
    """
    configure_logs(settings.log_level)
    sys.setswitchinterval(_TURN_OF_THE_INTERPRETER_S)
    gc.set_threshold(_NEW_OBJECTS_BETWEEN_COLLECTIONS)
    for name in unknown_variables(os.environ):
        _log.warning("the environment variable %s sets nothing; is it misspelt?", name)
    with (
        _bound_socket(settings.host, settings.port) as listener,
        open_services(settings) as services,
        open_jobs(services) as jobs,
        _polite_signals(),
    ):
        server = _Server(_server_config(create_app(services, jobs), settings))
        server.greeting = _greeting(listener, services.models)
        server.run(sockets=[listener])


class _Server(uvicorn.Server):
    """Says its greeting once connections are accepted."""

    greeting = ""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        print(self.greeting, flush=True)  # noqa: T201 (the one line that `simtrue serve` promises)


def _server_config(app: FastAPI, settings: Settings) -> uvicorn.Config:
    whole: WholeRequests = app.state.whole_requests
    return uvicorn.Config(
        app,
        log_config=None,
        access_log=False,  # app.routes.access writes it
        lifespan="off",
        http=partial(SwiftHttpProtocol, begin=whole.begin),  # type: ignore[arg-type]  # it only calls it
        ws="none",  # the reader answers requests for them as others
        server_header=False,
        backlog=_BACKLOG,
        timeout_graceful_shutdown=ceil(settings.shutdown_grace_s),
    )


@contextlib.contextmanager
def _bound_socket(host: str, port: int) -> Iterator[socket.socket]:
    """Take the address now, so that a port in use is told before models are loaded; listening comes later."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        raise BadSettings(f"The host {host!r} cannot be listened on: {_reason(error)}.") from error
    with listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
        except OSError as error:
            raise BadSettings(
                f"Port {port} of {host} cannot be used: {_reason(error)}; choose another with --port."
            ) from error
        yield listener


def _reason(error: OSError | UnicodeError) -> str:
    return (getattr(error, "strerror", None) or str(error)).lower()


@contextlib.contextmanager
def _polite_signals() -> Iterator[None]:
    """Let the server take SIGTERM and SIGINT as an orderly end: it would otherwise die of them afterwards."""
    before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _greeting(listener: socket.socket, models: ModelRepository) -> str:
    host, port = listener.getsockname()[:2]
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    served = [f"{status.name} v{status.version}" for status in models.statuses() if status.state == "serving"]
    choice = models.provider
    device = "the GPU" if choice.name == "CUDAExecutionProvider" else "the processor"
    what = ", ".join(served) or f"no model ({models.readiness().detail})"
    return f"Simtrue serves {what} on {device} ({choice.name}: {choice.reason}) at {url}"

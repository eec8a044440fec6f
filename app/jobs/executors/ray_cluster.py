"""The connection of this process to a Ray cluster: which machines there are, and workers hired on them.

It is Ray's client connection, not a driver in this process: Ray ends the process of a driver whose cluster is
gone. Ray itself is imported when it is first connected.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Any, Final, TypeVar

from app.errors import BadSettings, ClusterUnavailable, SimtrueError, WorkerLost
from app.jobs.executors.ray_worker import RayWorker
from app.settings import Device, Settings

NAMESPACE: Final = "simtrue"
CONNECT_S: Final = 5.0
CALLS_AT_ONCE: Final = 64
"""Of one worker, by all replicas together."""
STOPPED_WITHIN_S: Final = 10.0

T = TypeVar("T")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Berth:
    """Room for one worker on one machine; `threads`: its share of that machine's processor."""

    name: str
    node: str
    device: Device
    gpus: float
    cpus: float
    threads: int


class RayCluster:
    """Owns the connection; for one event loop. Every method may raise ClusterUnavailable."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._connected = False

    async def connect(self) -> None:
        """Connect; when it is connected already, nothing. Raises BadSettings when Ray is not installed."""
        if not self._connected:
            await asyncio.to_thread(self._connect)
            self._connected = True

    async def disconnect(self) -> None:
        """Let go of the connection. Workers end by themselves when nobody asks them any more."""
        if self._connected:
            self._connected = False
            with suppress(ClusterUnavailable):
                await asyncio.to_thread(_telling(_disconnect))

    async def berths(self) -> list[Berth]:
        """Room for workers on the machines that are there now."""
        import ray

        nodes = await self._asked(ray.nodes)
        return berths_on(nodes, self._settings)

    async def hire(self, berth: Berth) -> Any:
        """The worker of a berth: the one that is there, for whichever replica, or a new one."""
        return await self._asked(partial(_hire, berth))

    async def dismiss(self, worker: Any) -> None:
        """End a worker, for all replicas."""
        import ray

        await self._asked(partial(ray.kill, worker))

    async def ask(self, worker: Any, method: str, *words: str) -> str:
        """Call a method; cancelling this stops it there. Raises WorkerLost when the worker is gone."""
        submitting = asyncio.ensure_future(self._asked(partial(_submit, worker, method, *words)))
        try:
            _, answer = await asyncio.shield(submitting)
            await _until_done(answer)
        except asyncio.CancelledError:
            with suppress(SimtrueError, TimeoutError):
                await asyncio.wait_for(self._stop(submitting), STOPPED_WITHIN_S)
            raise
        return _telling(answer.result)()

    async def _stop(self, submitting: asyncio.Future[tuple[Any, Future[str]]]) -> None:
        import ray

        call, answer = await submitting
        await self._asked(partial(ray.cancel, call))
        await _until_done(answer)

    async def _asked(self, question: Callable[[], T]) -> T:
        try:
            return await asyncio.to_thread(_telling(question))
        except ClusterUnavailable:
            await self.disconnect()
            raise

    def _connect(self) -> None:
        address = str(self._settings.ray_address)
        host, _, port = address.removeprefix("ray://").rpartition(":")
        try:  # Ray itself would try for half a minute
            socket.create_connection((host, int(port)), CONNECT_S).close()
        except OSError as error:
            raise ClusterUnavailable(
                f"The Ray cluster at {address} cannot be reached: {error.strerror or error}."
            ) from error
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            import ray
        except ImportError:
            raise BadSettings(
                "SIMTRUE_EXECUTOR=ray needs more packages: pip install 'simtrue[ray]'."
            ) from None
        silent = {"log_to_driver": False, "configure_logging": False}
        _telling(partial(ray.init, address, namespace=NAMESPACE, **silent))()


def berths_on(nodes: list[dict[str, Any]], settings: Settings) -> list[Berth]:
    """A worker for every share of a GPU; where the cluster has no GPUs, for every few processor threads.

    nodes: as `ray.nodes()` tells of them. Machines that lend no processor, as heads of clusters often do, get
    no workers.
    """
    alive = [node for node in nodes if node["Alive"]]
    with_gpus = settings.device == "cuda" or any(node["Resources"].get("GPU") for node in alive)
    on_gpus = with_gpus and settings.device != "cpu"
    return [berth for node in alive for berth in _berths_of(node, settings, on_gpus=on_gpus)]


def _berths_of(node: dict[str, Any], settings: Settings, *, on_gpus: bool) -> list[Berth]:
    resources, node_id = node["Resources"], str(node["NodeID"])
    cores, gpus = int(resources.get("CPU", 0)), settings.ray_gpus_per_worker
    workers = int(resources.get("GPU", 0) / gpus) if on_gpus else -(-cores // settings.ray_cpus_per_worker)
    if workers == 0:
        return []
    threads = max(1, cores // workers)
    # Ray keeps books of GPUs, which it hands out; of processors it need not, since we divide them here.
    device: Device = "cuda" if on_gpus else "cpu"
    taken = (gpus, 0.0) if on_gpus else (0.0, float(threads))
    return [
        Berth(f"worker-{version('simtrue')}-{node_id}-{number}", node_id, device, *taken, threads)
        for number in range(workers)
    ]


def _hire(berth: Berth) -> Any:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return (
        ray.remote(RayWorker)
        .options(
            name=berth.name,
            namespace=NAMESPACE,
            get_if_exists=True,
            lifetime="detached",
            num_gpus=berth.gpus,
            num_cpus=berth.cpus,
            max_concurrency=CALLS_AT_ONCE,
            max_restarts=0,
            scheduling_strategy=NodeAffinitySchedulingStrategy(berth.node, soft=False),
        )
        .remote(berth.device, berth.threads)
    )


def _submit(worker: Any, method: str, *words: str) -> tuple[Any, Future[str]]:
    call = getattr(worker, method).remote(*words)
    return call, call.future()


def _disconnect() -> None:
    import ray

    ray.shutdown()


async def _until_done(answer: Future[str]) -> None:
    """Unlike a wrapped future, this neither stops what it waits for nor complains of what nobody reads."""
    done, loop = asyncio.Event(), asyncio.get_running_loop()

    def tell(_: object) -> None:
        with suppress(RuntimeError):  # nobody waits any more
            loop.call_soon_threadsafe(done.set)

    answer.add_done_callback(tell)
    await done.wait()


def _telling(question: Callable[[], T]) -> Callable[[], T]:
    """The same question, whose failures are told in our words."""

    def asked() -> T:
        from grpc import RpcError
        from ray import exceptions as said

        try:
            return question()
        except (said.TaskCancelledError, said.RayTaskError):
            raise
        except said.RayError as error:
            raise WorkerLost(f"A worker of the Ray cluster is gone: {_first_line(error)}.") from error
        except (ConnectionError, RuntimeError, ValueError, RpcError) as error:
            raise ClusterUnavailable(f"The Ray cluster does not answer: {_first_line(error)}.") from error

    return asked


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).partition("\n")[0].rstrip(".:")

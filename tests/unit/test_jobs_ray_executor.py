"""The workers of a Ray cluster, without Ray: who is hired, who gets a chunk, who is trusted."""

from __future__ import annotations

import asyncio
import errno
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.datasets.folder_place import FolderPlace
from app.datasets.manifest import Entry
from app.datasets.set_plan import PlannedFile
from app.errors import ClusterUnavailable, DeviceUnavailable, PlaceUnavailable, StorageFull, WorkerLost
from app.jobs.chunk import ChunkWork
from app.jobs.chunk_text import entries_of, entries_to_text, error_to_text, work_of, work_to_text
from app.jobs.executors import ray as ray_executor
from app.jobs.executors.ray import RayExecutor
from app.jobs.executors.ray_cluster import Berth, RayCluster, berths_on
from app.jobs.executors.ray_worker import RayWorker
from app.jobs.request import JobRequest, PinnedModel
from app.settings import Settings

ADDRESS = "ray://127.0.0.1:10001"
Answer = Callable[[], Any]


def settings(**given: Any) -> Settings:
    return Settings(executor="ray", ray_address=ADDRESS, **given)


def work(folder: Path, name: str = "a.txt") -> ChunkWork:
    model = PinnedModel(name="tiny", version=1, sha256="0" * 64)
    files = [PlannedFile("copy", name, name)]
    places = (FolderPlace(folder / "source"), FolderPlace(folder / "result", (folder,)))
    return ChunkWork("a" * 26, 3, JobRequest(model=model), *places, files, FolderPlace(folder / "dropped"))


class FakeCluster(RayCluster):
    """A cluster that answers as it is told; machines are lists of names of workers."""

    def __init__(self, **machines: int) -> None:
        super().__init__(settings())
        self.machines = machines
        self.answers: dict[str, Answer] = {}
        self.asked: list[tuple[str, str]] = []
        self.held = asyncio.Event()
        self.held.set()
        self.dismissed: list[str] = []

    async def connect(self) -> None: ...

    async def disconnect(self) -> None: ...

    async def berths(self) -> list[Berth]:
        counted = ((node, number) for node, count in self.machines.items() for number in range(count))
        return [Berth(f"{node}{number}", node, "cpu", 0, 1, 1) for node, number in counted]

    async def hire(self, berth: Berth) -> str:
        return berth.name

    async def dismiss(self, worker: str) -> None:
        self.dismissed.append(worker)

    async def ask(self, worker: str, method: str, *words: str) -> str:
        self.asked.append((worker, method))
        await asyncio.sleep(0)
        if method == "refine":
            await self.held.wait()
        if (answer := self.answers.get(f"{worker} {method}")) is not None:
            return str(answer())
        return entries_to_text([Entry(worker, "copied")] if method == "refine" else [])


def lost() -> str:
    raise WorkerLost("It is gone.")


def run(cluster: FakeCluster, test: Callable[[RayExecutor], Any]) -> None:
    async def all_of_it() -> None:
        executor = RayExecutor(cluster, clock_s=time.monotonic)
        try:
            await asyncio.wait_for(test(executor), 10)
        finally:
            await executor.close()

    asyncio.run(all_of_it())


def test_a_chunk_is_told_as_text_and_understood_whatever_its_files_are_called(tmp_path: Path) -> None:
    told = work(tmp_path, "no unicode \udcff.txt")

    assert work_to_text(told).isascii()
    assert work_of(work_to_text(told)) == told


@pytest.mark.parametrize("error", [StorageFull("The disk is full."), PlaceUnavailable("It is away.")])
def test_an_error_of_ours_comes_back_as_itself(error: Exception) -> None:
    with pytest.raises(type(error), match=str(error)):
        entries_of(error_to_text(error))


def test_an_error_of_the_disk_keeps_its_number() -> None:
    with pytest.raises(OSError, match="No space") as caught:
        entries_of(error_to_text(OSError(errno.ENOSPC, "No space left on device")))
    assert caught.value.errno == errno.ENOSPC


def node(name: str, *, alive: bool = True, **resources: float) -> dict[str, Any]:
    return {"NodeID": name, "Alive": alive, "Resources": resources}


def test_every_gpu_gets_a_worker_with_its_share_of_the_processor() -> None:
    nodes = [node("a", CPU=32.0, GPU=4.0), node("b", CPU=8.0), node("c", alive=False, GPU=8.0)]

    berths = berths_on(nodes, settings())

    assert [(berth.node, berth.device, berth.gpus, berth.threads) for berth in berths] == [
        ("a", "cuda", 1.0, 8)
    ] * 4
    assert len({berth.name for berth in berths}) == 4


def test_workers_may_share_a_gpu() -> None:
    assert len(berths_on([node("a", CPU=4.0, GPU=2.0)], settings(ray_gpus_per_worker=0.25))) == 8


def test_where_there_is_no_gpu_every_few_threads_get_a_worker() -> None:
    nodes = [node("head", CPU=0.0), node("a", CPU=2.0), node("b", CPU=20.0)]

    berths = berths_on(nodes, settings(ray_cpus_per_worker=8))

    assert [(berth.node, berth.device, berth.threads) for berth in berths] == [("a", "cpu", 2)] + [
        ("b", "cpu", 6)
    ] * 3


def test_a_cluster_without_gpus_has_no_room_for_those_who_insist_on_them() -> None:
    assert berths_on([node("a", CPU=4.0)], settings(device="cuda")) == []


def test_chunks_spread_over_all_workers(tmp_path: Path) -> None:
    cluster = FakeCluster(left=1, right=1)

    async def test(executor: RayExecutor) -> None:
        await executor.refine(work(tmp_path))
        cluster.held.clear()
        asked = [asyncio.create_task(executor.refine(work(tmp_path))) for _ in range(4)]
        while [method for _, method in cluster.asked].count("refine") < 5:
            await asyncio.sleep(0)
        cluster.held.set()
        told = sorted([entries[0].path for entries in await asyncio.gather(*asked)])
        assert told == ["left0", "left0", "right0", "right0"]
        assert executor.slots == 4

    run(cluster, test)


def test_where_one_worker_is_lost_the_others_of_its_machine_are_asked_before_they_get_a_chunk(
    tmp_path: Path,
) -> None:
    cluster = FakeCluster(bad=2)
    cluster.answers = {"bad0 refine": lost, "bad1 refine": lost}

    async def test(executor: RayExecutor) -> None:
        with pytest.raises(WorkerLost):
            await executor.refine(work(tmp_path))
        assert executor.slots == 1
        cluster.machines = {"good": 1}
        cluster.asked.clear()
        assert [entry.path for entry in await executor.refine(work(tmp_path))] == ["good0"]
        assert cluster.asked == [("good0", "ready"), ("good0", "refine")]

    run(cluster, test)


def test_a_worker_that_cannot_work_gets_no_chunk_and_is_replaced(tmp_path: Path) -> None:
    cluster = FakeCluster(bad=1)
    cluster.answers["bad0 ready"] = lambda: error_to_text(DeviceUnavailable("There is no GPU."))

    async def test(executor: RayExecutor) -> None:
        with pytest.raises(ClusterUnavailable, match=r"cannot work: There is no GPU\."):
            await executor.refine(work(tmp_path))
        assert cluster.dismissed == ["bad0"]
        assert ("bad0", "refine") not in cluster.asked

    run(cluster, test)


def test_a_machine_that_joins_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_executor, "LOOK_EVERY_S", 0.01)
    cluster = FakeCluster(first=1)

    async def test(executor: RayExecutor) -> None:
        await executor.refine(work(tmp_path))
        cluster.machines["second"] = 3
        while executor.slots < 8:
            await asyncio.sleep(0.01)

    run(cluster, test)


def test_a_cluster_without_machines_is_waited_for(tmp_path: Path) -> None:
    async def test(executor: RayExecutor) -> None:
        with pytest.raises(ClusterUnavailable, match="no machines that may refine"):
            await executor.refine(work(tmp_path))

    run(FakeCluster(), test)


def test_a_cluster_that_is_not_there_is_told_at_once() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"ray://127.0.0.1:{taken.getsockname()[1]}"

    with pytest.raises(ClusterUnavailable, match=f"{address} cannot be reached: Connection refused"):
        asyncio.run(RayCluster(Settings(executor="ray", ray_address=address)).connect())


def test_a_worker_that_does_not_share_a_folder_says_so_and_writes_nothing(
    tmp_path: Path, tiny_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIMTRUE_MODELS", str(tiny_root))
    (tmp_path / "source").mkdir()

    async def asked() -> str:
        worker = RayWorker("cpu", 1)
        try:
            return await worker.refine(work_to_text(work(tmp_path)))
        finally:
            worker.close()

    with pytest.raises(PlaceUnavailable, match=r"does not see .*/result; all machines must share"):
        entries_of(asyncio.run(asked()))
    assert not (tmp_path / "result").exists()

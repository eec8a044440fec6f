"""The model repository: what is loaded, refused, swapped, unloaded, and what is said about it."""

import gc
import json
import os
import queue
import shutil
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import pytest

from app.errors import BadModel, NoModelReady, ShuttingDown, UnknownModel
from app.refining.devices import choose_provider
from app.refining.engine import Engine
from app.refining.models import ModelRepository
from app.refining.poll import RepositoryPoll
from app.settings import Settings


@pytest.fixture
def repository(tmp_path):
    """Open the repository under tmp_path / "models" as it lies there now."""
    opened = []

    def open_now(**options):
        repo = ModelRepository(tmp_path / "models", choose_provider("cpu"), 1, **options)
        opened.append(repo)
        repo.open()
        return repo

    yield open_now
    for repo in opened:
        repo.close()


@pytest.fixture
def root(tmp_path):
    return tmp_path / "models"


def _states(repository):
    return {(status.name, status.version): status.state for status in repository.statuses()}


def _detail(repository, name, version):
    return next(s.detail for s in repository.statuses() if (s.name, s.version) == (name, version))


def test_the_newest_version_of_every_model_is_served(root, write_model, repository):
    for name, version in [("a", 1), ("a", 2), ("a", 10), ("b", 3)]:
        write_model(root, name, version)
    repo = repository()
    assert (repo.get("a").version, repo.get("b").version) == (10, 3)
    assert _states(repo) == {
        ("a", 10): "serving",
        ("a", 2): "available",
        ("a", 1): "available",
        ("b", 3): "serving",
    }


def test_a_request_without_a_name_gets_the_first_model_by_name(root, write_model, repository):
    write_model(root, "b")
    write_model(root, "a")
    assert repository().get().name == "a"


def test_a_request_without_a_name_gets_the_default_model_that_is_set(root, write_model, repository):
    write_model(root, "a")
    write_model(root, "b")
    assert repository(default_model="b").get().name == "b"


def test_a_default_model_that_is_not_there_is_not_replaced_by_another(root, write_model, repository):
    write_model(root, "a")
    with pytest.raises(
        NoModelReady, match=r"The default model is not served. There is no model 'b'; served are: a"
    ):
        repository(default_model="b").get()


def test_an_unknown_name_is_answered_with_the_names_there_are(root, write_model, repository):
    write_model(root, "a")
    write_model(root, "b")
    with pytest.raises(UnknownModel, match=r"There is no model '\.\./x'; served are: a, b\."):
        repository().get("../x")


def test_a_missing_root_starts_not_ready_and_says_so(repository, root):
    repo = repository()
    assert repo.statuses() == ()
    assert not repo.readiness().ready
    assert str(root) in repo.readiness().detail
    with pytest.raises(NoModelReady, match="cannot be read: No such file or directory"):
        repo.get()


def test_an_empty_root_starts_not_ready_and_is_ready_once_a_model_is_there(repository, root, write_model):
    root.mkdir()
    repo = repository()
    assert "holds no <name>/<version>/refiner.onnx" in repo.readiness().detail
    write_model(root, "late")
    repo.refresh()
    assert repo.readiness().ready
    assert repo.get().name == "late"


@pytest.mark.parametrize(
    "folder", ["tiny/.tmp-2", ".tiny/2", "tiny/v2", "tiny/02", "tiny/0", "tiny/-2", "tiny/٢"]
)
def test_folders_that_are_no_version_are_ignored(root, write_model, repository, folder):
    path = write_model(root, "tiny", 1)
    target = root / folder
    target.mkdir(parents=True)
    shutil.copy(path, target)
    repo = repository()
    assert _states(repo) == {("tiny", 1): "serving"}


def test_a_version_without_its_file_yet_is_ignored_until_the_file_is_there(root, write_model, repository):
    write_model(root, "tiny", 1)
    (root / "tiny" / "2").mkdir()
    repo = repository()
    assert _states(repo) == {("tiny", 1): "serving"}
    write_model(root, "tiny", 2)
    repo.refresh()
    assert repo.get("tiny").version == 2


def test_a_file_that_is_still_growing_is_not_served_before_it_is_whole(
    root, write_model, repository, tmp_path
):
    write_model(root, "tiny", 1)
    whole = write_model(tmp_path / "elsewhere", "tiny", 2).read_bytes()
    repo = repository()
    growing = root / "tiny" / "2" / "refiner.onnx"
    growing.parent.mkdir()
    for kept in (0, len(whole) // 2, len(whole) - 1):
        growing.write_bytes(whole[:kept])
        repo.refresh()
        assert repo.get("tiny").version == 1
    growing.write_bytes(whole)
    repo.refresh()
    assert repo.get("tiny").version == 2


BAD = {
    "corrupt": {"content": b"\x08garbage"},
    "missing card field": {"card": {"licence": None}},
    "wrong signature": {"card": {"channels": 3}},
    "failing warm-up": {"poison": 0},
}


def _write_bad(write_model, root, name, version, *, content=None, **options):
    path = write_model(root, name, version, **options)
    if content is not None:
        path.write_bytes(content)
    return path


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
def test_a_bad_newer_version_is_refused_with_a_sentence_and_the_old_goes_on(
    root, write_model, repository, bad
):
    write_model(root, "tiny", 1)
    repo = repository()
    path = _write_bad(write_model, root, "tiny", 2, **bad)
    repo.refresh()
    assert repo.get("tiny").version == 1
    assert _states(repo) == {("tiny", 2): "refused", ("tiny", 1): "serving"}
    assert _detail(repo, "tiny", 2).startswith(str(path))
    assert repo.readiness().ready


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
def test_at_the_start_the_newest_good_version_is_served(root, write_model, repository, bad):
    write_model(root, "tiny", 1)
    write_model(root, "tiny", 2)
    _write_bad(write_model, root, "tiny", 3, **bad)
    assert repository().get("tiny").version == 2


def test_a_refused_file_is_read_again_only_when_it_changed(root, write_model, repository, tmp_path):
    good = write_model(tmp_path / "elsewhere").read_bytes()
    path = root / "tiny" / "1" / "refiner.onnx"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x" * len(good))
    os.utime(path, ns=(10**18, 10**18))
    repo = repository()
    path.write_bytes(good)
    os.utime(path, ns=(10**18, 10**18))
    repo.refresh()
    assert _states(repo) == {("tiny", 1): "refused"}, "same time, size and inode: not read again"
    os.utime(path, ns=(10**18 + 1, 10**18 + 1))
    repo.refresh()
    assert _states(repo) == {("tiny", 1): "serving"}


def test_when_all_are_refused_the_reason_is_the_answer(root, write_model, repository):
    write_model(root, "tiny", 1, card={"channels": 3})
    repo = repository()
    with pytest.raises(NoModelReady, match="must be"):
        repo.get()
    with pytest.raises(UnknownModel, match=r"'tiny' is not served: .*must be"):
        repo.get("tiny")
    assert "must be" in repo.readiness().detail


def test_a_version_whose_file_is_replaced_is_loaded_again(root, write_model, repository):
    write_model(root, "tiny", 1, offset=1)
    repo = repository()
    before = repo.get("tiny").sha256
    write_model(root, "tiny", 1, offset=2)
    repo.refresh()
    assert repo.get("tiny").sha256 != before


def test_a_serving_version_whose_folder_is_removed_is_served_until_it_is_unloaded(
    root, write_model, repository
):
    write_model(root, "tiny", 1)
    write_model(root, "tiny", 2)
    repo = repository()
    shutil.rmtree(root / "tiny" / "2")
    repo.refresh()
    repo.get("tiny").session.warm_up()
    assert repo.get("tiny").version == 2
    assert "gone" in _detail(repo, "tiny", 2)
    repo.unload("tiny")
    assert _states(repo) == {("tiny", 1): "available"}


def test_an_unloaded_model_stays_unloaded_until_it_is_loaded(root, write_model, repository):
    write_model(root, "tiny", 1)
    repo = repository()
    repo.unload("tiny")
    repo.refresh()
    with pytest.raises(UnknownModel, match="it is unloaded"):
        repo.get("tiny")
    assert not repo.readiness().ready
    assert repo.load("tiny").version == 1
    assert repo.get("tiny").version == 1


def test_a_model_loaded_at_a_version_stays_there_until_it_is_loaded_without_one(
    root, write_model, repository
):
    write_model(root, "tiny", 1)
    write_model(root, "tiny", 2)
    repo = repository()
    assert repo.load("tiny", 1).version == 1
    write_model(root, "tiny", 3)
    repo.refresh()
    assert repo.get("tiny").version == 1
    assert repo.load("tiny").version == 3
    write_model(root, "tiny", 4)
    repo.refresh()
    assert repo.get("tiny").version == 4


def test_loading_a_bad_version_is_refused_and_what_was_served_goes_on(root, write_model, repository):
    write_model(root, "tiny", 1)
    repo = repository()
    write_model(root, "tiny", 2, card={"channels": 3})
    with pytest.raises(BadModel, match="must be"):
        repo.load("tiny", 2)
    assert repo.get("tiny").version == 1


@pytest.mark.parametrize(("name", "version"), [("other", None), ("tiny", 9), ("..", None), ("", None)])
def test_loading_or_unloading_what_is_not_there_is_refused(root, write_model, repository, name, version):
    write_model(root, "tiny", 1)
    repo = repository()
    with pytest.raises(UnknownModel):
        repo.load(name, version)
    with pytest.raises(UnknownModel):
        repo.unload(name + "x")


def test_the_last_inference_decides_readiness_and_a_probe_clears_it(root, write_model, repository):
    write_model(root, "tiny", 1)
    repo = repository()
    assert repo.statuses()[0].last_inference.ok, "the warm-up counts"
    repo.record(repo.get("tiny"), "out of memory")
    assert repo.readiness().detail == "Model 'tiny' failed last: out of memory"
    repo.refresh()
    assert repo.readiness().ready


def test_a_replaced_model_does_not_speak_for_the_one_that_serves(root, write_model, repository):
    write_model(root, "tiny", 1)
    repo = repository()
    old = repo.get("tiny")
    write_model(root, "tiny", 2)
    repo.refresh()
    repo.record(old, "out of memory")
    assert repo.readiness().ready


def test_a_replaced_session_is_freed_when_its_last_user_lets_go(root, write_model, repository):
    write_model(root, "tiny", 1)
    engine = Engine(Settings())
    repo = repository(on_retired=engine.release)
    held = repo.get("tiny")
    image = np.zeros((4, 4, 1), np.uint8)
    engine.submit(held, image, 0).result(10)
    write_model(root, "tiny", 2, offset=20)
    repo.refresh()
    assert held.session.retired
    assert engine.submit(held, image, 0).result(10)[0, 0, 0] == 10, "it can still be used"
    freed = threading.Event()
    weakref.finalize(held.session, freed.set)
    del held
    gc.collect()
    assert freed.wait(10)
    engine.close()


def test_no_request_fails_while_models_are_swapped(root, write_model, repository):
    write_model(root, "tiny", 1, offset=1)
    engine = Engine(Settings())
    repo = repository(on_retired=engine.release)
    image = np.zeros((8, 8, 1), np.uint8)
    answers = queue.SimpleQueue()
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            model = repo.get("tiny")
            answers.put((model.version, int(engine.submit(model, image, 0).result(30)[0, 0, 0])))

    def await_answer_of(version: int) -> None:
        while (answer := answers.get(timeout=30))[0] != version:
            assert answer[0] == answer[1], "the offset of a version is its number"

    with ThreadPoolExecutor(4) as pool:
        askers = [pool.submit(ask) for _ in range(4)]
        for version in range(2, 12):
            await_answer_of(version - 1)
            write_model(root, "tiny", version, offset=version)
            repo.refresh()
        await_answer_of(11)
        stop.set()
        assert [asker.result(60) for asker in askers] == [None] * 4
    engine.close()


def test_after_closing_nothing_is_served_or_loaded(root, write_model, repository):
    write_model(root, "tiny", 1)
    repo = repository()
    repo.close()
    repo.close()
    repo.refresh()
    with pytest.raises(NoModelReady):
        repo.get()
    with pytest.raises(ShuttingDown):
        repo.load("tiny")


def test_the_poll_picks_up_a_new_version_and_stops_promptly(root, write_model, repository):
    write_model(root, "tiny", 1)
    repo = repository()
    before = set(threading.enumerate())
    poll = RepositoryPoll(repo, 0.05)
    poll.start()
    write_model(root, "tiny", 2)
    until = time.monotonic() + 10
    while repo.get("tiny").version != 2 and time.monotonic() < until:
        time.sleep(0.01)
    poll.close()
    assert repo.get("tiny").version == 2
    assert not set(threading.enumerate()) - before


def test_a_slow_poll_stops_at_once(root, write_model, repository):
    poll = RepositoryPoll(repository(), 3600)
    poll.start()
    begun = time.monotonic()
    poll.close()
    poll.close()
    assert time.monotonic() - begun < 5


def test_halves_on_a_processor_are_served_with_a_warning(tmp_path, write_model, caplog):
    path = write_model(tmp_path, name="half")
    model = onnx.load(path)
    (entry,) = model.metadata_props
    entry.value = json.dumps({**json.loads(entry.value), "precision": "fp16"})
    path.write_bytes(model.SerializeToString())
    repository = ModelRepository(tmp_path, choose_provider("cpu"), 1)
    repository.open()
    assert repository.get("half").card.precision == "fp16"
    assert "model half is fp16, which is slow here" in caplog.text
    repository.close()

"""The services as a whole: opened from settings, wired to each other, closed without a trace."""

import os
import sys
import threading
import time

import numpy as np
import pytest

from app.errors import DeviceUnavailable, InferenceFailed, ShuttingDown
from app.refining.devices import CUDA, choose_provider
from app.services import open_services
from app.settings import Settings


@pytest.fixture(autouse=True)
def _no_thread_is_left():
    before = set(threading.enumerate())
    yield
    left = set(threading.enumerate()) - before
    assert not left, f"threads are left: {[thread.name for thread in left]}"


def _settings(root, **others):
    return Settings(models=root, threads=1, device="cpu", **others)


def test_an_image_goes_in_and_comes_back_refined(tiny_root):
    with open_services(_settings(tiny_root)) as services:
        model = services.models.get()
        refined = services.engine.submit(model, np.full((3, 4, 1), 250, np.uint8), 0).result(30)
    assert (refined == 255).all()


def test_without_models_the_service_opens_but_is_not_ready(tmp_path):
    with open_services(_settings(tmp_path / "nowhere")) as services:
        assert not services.models.readiness().ready


def test_a_failed_inference_shows_in_readiness_until_one_goes_well(tmp_path, write_model):
    write_model(tmp_path, poison=200)
    with open_services(_settings(tmp_path, models_poll_s=3600)) as services:
        model = services.models.get()
        with pytest.raises(InferenceFailed):
            services.engine.submit(model, np.full((2, 2, 1), 200, np.uint8), 0).result(30)
        assert "Model 'tiny' failed last" in services.models.readiness().detail
        services.engine.submit(model, np.zeros((2, 2, 1), np.uint8), 0).result(30)
        assert services.models.readiness().ready


def test_a_new_version_is_served_without_a_restart(tiny_root, write_model):
    with open_services(_settings(tiny_root, models_poll_s=0.05)) as services:
        write_model(tiny_root, "tiny", 2)
        until = time.monotonic() + 30
        while services.models.get().version != 2 and time.monotonic() < until:
            time.sleep(0.01)
        assert services.models.get().version == 2


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux gives threads priorities of their own")
def test_the_codecs_of_background_work_let_all_other_threads_go_first(tiny_root):
    def niceness():
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    with open_services(_settings(tiny_root, background_codec_threads=1)) as services:
        assert services.background_codecs.submit(niceness).result(30) > niceness()
        assert services.codecs.submit(niceness).result(30) == niceness()


def test_background_codecs_work_where_priorities_may_not_be_changed(tiny_root, monkeypatch):
    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr(os, "setpriority", refuse)
    with open_services(_settings(tiny_root)) as services:
        assert services.background_codecs.submit(lambda: 7).result(30) == 7


def test_leaving_finishes_what_is_in_flight(tmp_path, write_model):
    write_model(tmp_path, work=50)
    with open_services(_settings(tmp_path, max_batch_images=1)) as services:
        model = services.models.get()
        futures = [services.engine.submit(model, np.zeros((9, 9, 1), np.uint8), 0) for _ in range(10)]
    assert all((future.result(0) == 10).all() for future in futures)


def test_leaving_fails_what_is_not_finished_within_the_grace(tmp_path, write_model):
    write_model(tmp_path, radius=1, work=200)
    with open_services(_settings(tmp_path, shutdown_grace_s=0, tile_pixels=1024)) as services:
        model = services.models.get()
        giant = services.engine.submit(model, np.zeros((600, 3000, 1), np.uint8), 0)
    with pytest.raises(ShuttingDown):
        giant.result(0)


def test_an_error_inside_still_closes_everything(tiny_root):
    with pytest.raises(KeyError), open_services(_settings(tiny_root)):
        raise KeyError


def test_a_required_gpu_that_is_missing_stops_the_start(tiny_root):
    if choose_provider("auto").name == CUDA:
        pytest.skip("this machine has a GPU")
    with pytest.raises(DeviceUnavailable), open_services(Settings(models=tiny_root, device="cuda")):
        pass

"""A model with several threads: every thread a share, the bytes of one thread, what they hold, their end."""

import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from engine_gate import PATIENCE_S, Gate, blank, random, results, whole

from app.errors import InferenceFailed
from app.refining import lane as lane_module
from app.refining.devices import CPU
from model.noise import noise_field

THREADS = 3


@pytest.fixture
def runs(monkeypatch):
    """Keep (windows, whether on one thread) of every inference of a model."""

    def watch(model):
        kept, plain = [], model.session.run

        def run(images, noise, *, one_thread=False):
            kept.append((len(images), one_thread))
            return plain(images, noise, one_thread=one_thread)

        monkeypatch.setattr(model.session, "run", run)
        return kept

    return watch


@pytest.fixture
def always_worth_waking(monkeypatch):
    """Tiny refiners take no time, and no share of nothing is worth a thread: let it be."""
    monkeypatch.setattr(lane_module, "_TURN_S", 1e-12)


@pytest.fixture
def never_worth_waking(monkeypatch):
    """How long a tiny refiner takes depends on the machine's mood."""
    monkeypatch.setattr(lane_module, "_TURN_S", 10)


def owners():
    return [thread for thread in threading.enumerate() if thread.name == "refine tiny 1"]


class Turnstile:
    """An observer that lets the first `count` batches go on only once all of them are here."""

    def __init__(self, count):
        self.reports = []
        self._lock = threading.Lock()
        self._barrier = threading.Barrier(count)

    def __call__(self, report):
        with self._lock:
            self.reports.append(report)
            is_early = len(self.reports) <= self._barrier.parties
        if is_early:
            self._barrier.wait(PATIENCE_S)


@pytest.mark.parametrize("noise", [(0, 0), (1, 1)])
@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("size", [(35, 55), (101, 67)])
def test_one_thread_gives_the_bytes_of_several(served, count, size, noise):
    session = served(threads=THREADS, radius=3, channels=3, noise=noise).session
    images = np.random.default_rng(3).integers(0, 200, (count, *size, 3)).astype(np.uint8)
    fields = [noise_field(seed, *size, session.card.noise) for seed in range(count)]
    field = np.stack(fields) if session.card.noise.channels else None
    assert np.array_equal(session.run(images, field, one_thread=True), session.run(images, field))


@pytest.mark.usefixtures("always_worth_waking")
def test_every_thread_takes_its_share_and_leaves_one_and_all_run_at_once(make_engine, served):
    engine, model = make_engine(), served(threads=THREADS, noise=(1, 1))
    turnstile = Turnstile(THREADS)
    engine.observe(turnstile)
    images = [random(model, 20, 20, seed) for seed in range(7)]
    futures = engine.submit_all(model, [(image, seed) for seed, image in enumerate(images)])
    for seed, refined in enumerate(results(futures)):
        assert np.array_equal(refined, whole(model, images[seed], seed))
    assert [report.images for report in turnstile.reports] == [2, 2, 2, 1]
    assert len(owners()) == THREADS


@pytest.mark.usefixtures("always_worth_waking")
def test_an_image_does_not_wait_for_the_batch_of_another_thread(make_engine, served):
    engine, model = make_engine(), served(threads=2)
    gate = Gate()
    engine.observe(lambda report: gate(report) if report.pixels == 16 else None)
    slow = engine.submit(model, blank(model, 4, 4), 0)
    gate.await_first_batch()
    assert (engine.submit(model, blank(model, 5, 5), 0).result(PATIENCE_S) == 10).all()
    assert not slow.done()
    gate.open()
    results([slow])


@pytest.mark.usefixtures("never_worth_waking")
def test_a_share_that_takes_no_time_is_not_worth_a_thread(make_engine, served):
    engine, model = make_engine(), served(threads=THREADS)
    reports = []
    engine.observe(reports.append)
    results([engine.submit(model, blank(model, 8, 8), 0)])
    results(engine.submit_all(model, [(blank(model, 4, 4), seed) for seed in range(9)]))
    assert reports[-1].images == 9


def test_few_large_windows_have_all_threads_and_small_ones_one(make_engine, served, runs):
    engine, model = make_engine(), served(threads=2, radius=1)
    kept = runs(model)
    results([engine.submit(model, blank(model, 90, 90), 0)])
    results([engine.submit(model, blank(model, 35, 55), 0)])
    assert kept == [(1, False), (1, True)]


@pytest.mark.usefixtures("always_worth_waking")
def test_a_small_window_alone_has_all_threads_where_they_make_it_faster(
    make_engine, served, runs, monkeypatch
):
    monkeypatch.setattr("app.refining.lane._SHARED_S", 0.0)
    engine, model = make_engine(), served(threads=2, radius=1)
    kept, gate = runs(model), Gate()
    results([engine.submit(model, blank(model, 70, 55), 0)])
    assert kept == [(1, True)], "what it takes is not known before"
    until = time.monotonic() + PATIENCE_S
    while kept[-1] != (1, False):  # a thread says that it is free when its results are out already
        assert time.monotonic() < until
        results([engine.submit(model, blank(model, 70, 55), 0)])
    kept.clear()

    engine.observe(lambda report: gate(report) if report.pixels == 70 * 56 else None)
    first = engine.submit(model, blank(model, 70, 56), 0)
    gate.await_first_batch()
    results([engine.submit(model, blank(model, 70, 55), 0)])
    gate.open()
    results([first])
    assert kept[-1] == (1, True), "the second was not alone"


@pytest.mark.usefixtures("always_worth_waking")
def test_large_windows_have_a_thread_each_where_there_are_enough(make_engine, served, runs):
    engine, model = make_engine(), served(threads=2, radius=1)
    kept = runs(model)
    results(engine.submit_all(model, [(blank(model, 90, 90), seed) for seed in range(5)]))
    assert {one_thread for _, one_thread in kept[:2]} == {True}
    assert sum(count for count, _ in kept) == 5


def test_a_large_interactive_window_has_all_threads_although_background_work_runs(make_engine, served, runs):
    engine, model = make_engine(), served(threads=2, radius=1)
    kept, gate = runs(model), Gate()
    engine.observe(lambda report: gate(report) if report.background else None)
    background = engine.submit(model, blank(model, 35, 55), 0, background=True)
    gate.await_first_batch()
    results([engine.submit(model, blank(model, 90, 90), 0)])
    gate.open()
    results([background])
    assert kept == [(1, True), (1, False)]


@pytest.mark.usefixtures("always_worth_waking")
@pytest.mark.parametrize("noise", [(0, 0), (1, 1)])
def test_tiles_that_come_back_from_several_threads_make_the_whole(make_engine, served, noise):
    engine = make_engine(tile_pixels=1024)
    model = served(threads=THREADS, radius=4, noise=noise)
    image = random(model, 300, 200)
    for seed in range(3):
        refined = engine.submit(model, image, seed).result(PATIENCE_S)
        assert np.array_equal(refined, whole(model, image, seed))


@pytest.mark.usefixtures("always_worth_waking")
def test_what_runs_at_once_has_no_more_pixels_than_one_batch(make_engine, served):
    engine, model = make_engine(max_batch_pixels=1000), served(threads=THREADS)
    lock, running, most = threading.Lock(), [0], [0]
    plain = model.session.run

    def run(images, noise, *, one_thread=False):
        pixels = images.shape[0] * images.shape[1] * images.shape[2]
        with lock:
            running[0] += pixels
            most[0] = max(most[0], running[0])
        time.sleep(0.002)
        try:
            return plain(images, noise, one_thread=one_thread)
        finally:
            with lock:
                running[0] -= pixels

    model.session.run = run
    sizes = [(20, 20)] * 6 + [(12, 12)] * 20 + [(40, 40)] * 2
    results([engine.submit(model, blank(model, *size), 0) for size in sizes])
    assert 784 < most[0] <= 1600, "two of 20x20 px run together; one image above the limit runs alone"


@pytest.mark.usefixtures("always_worth_waking")
def test_background_work_runs_beside_an_interactive_image(make_engine, served):
    engine, model = make_engine(), served(threads=2)
    gate = Gate()
    engine.observe(lambda report: gate(report) if not report.background else None)
    asked = engine.submit(model, blank(model, 4, 4), 0)
    gate.await_first_batch()
    assert engine.submit(model, blank(model, 4, 4), 0, background=True).result(PATIENCE_S) is not None
    gate.open()
    results([asked])


# --- what takes less than waking a thread -----------------------------------------------------------------


def threads_of_reports(engine):
    names = []
    engine.observe(lambda _: names.append(threading.current_thread().name))
    return names


def await_idle(engine, model):
    """Submit until one is run here: a thread says that it is free when its results are out already."""
    while not (future := engine.submit(model, blank(model, 8, 8), 0)).done():
        results([future])


@pytest.mark.usefixtures("never_worth_waking")
def test_what_takes_less_than_a_turn_runs_where_it_is_submitted(make_engine, served):
    engine, model = make_engine(), served(threads=2)
    names = threads_of_reports(engine)
    await_idle(engine, model)
    assert all(engine.submit(model, blank(model, 8, 8), seed).done() for seed in range(3))
    assert names[0] == "refine tiny 1", "the first one tells how long they take"
    assert names[-3:] == [threading.current_thread().name] * 3


@pytest.mark.usefixtures("never_worth_waking")
def test_background_work_large_images_and_slow_models_go_to_a_thread(make_engine, served, monkeypatch):
    engine, model = make_engine(), served(threads=2)
    names = threads_of_reports(engine)
    results([engine.submit(model, blank(model, 8, 8), 0)])
    results([engine.submit(model, blank(model, 8, 8), 0, background=True)])
    results([engine.submit(model, blank(model, 70, 70), 0)])
    monkeypatch.setattr(lane_module, "_TURN_S", 1e-12)
    results([engine.submit(model, blank(model, 8, 8), 0)])
    assert names == ["refine tiny 1"] * 4


@pytest.mark.usefixtures("never_worth_waking")
def test_a_failure_where_it_is_submitted_is_in_the_future(make_engine, served):
    engine, model = make_engine(), served(threads=2, poison=200)
    await_idle(engine, model)
    future = engine.submit(model, blank(model, 8, 8) + np.uint8(200), 0)
    assert isinstance(future.exception(0), InferenceFailed)
    assert (engine.submit(model, blank(model, 8, 8), 0).result(0) == 10).all()
    assert engine.load.images == 0


def test_on_a_gpu_one_thread_takes_all_that_waits(make_engine, served, monkeypatch):
    engine, model = make_engine(), served()
    monkeypatch.setattr(model.session, "provider", "CUDAExecutionProvider")
    assert model.session.provider != CPU
    reports = []
    engine.observe(reports.append)
    results([engine.submit(model, blank(model, 8, 8), 0)])
    results(engine.submit_all(model, [(blank(model, 60, 60), seed) for seed in range(9)]))
    assert [report.images for report in reports] == [1, 9]
    assert len(owners()) == 1


# --- how threads begin ------------------------------------------------------------------------------------


@pytest.fixture
def allow_threads(monkeypatch):
    """Let so many more threads start, then none, as where their number is limited."""
    plain = threading.Thread.start

    def allow(count):
        left = iter(range(count))

        def start(thread):
            if next(left, None) is None:
                raise RuntimeError("can't start new thread")
            plain(thread)

        monkeypatch.setattr(threading.Thread, "start", start)

    return allow


def test_an_image_is_not_taken_in_while_no_thread_can_be_started_for_it(make_engine, served, allow_threads):
    engine, model = make_engine(), served()
    allow_threads(0)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        engine.submit(model, blank(model, 8, 8), 0)
    assert engine.load.images == 0
    allow_threads(1)
    assert (engine.submit(model, blank(model, 8, 8), 0).result(PATIENCE_S) == 10).all()


@pytest.mark.usefixtures("always_worth_waking")
def test_the_threads_that_can_be_started_refine_everything(make_engine, served, allow_threads, caplog):
    engine, model = make_engine(max_batch_images=1), served(threads=THREADS)
    allow_threads(1)
    results(engine.submit_all(model, [(blank(model, 8, 8), seed) for seed in range(5)]))
    assert engine.load.images == 0
    assert len(owners()) == 1
    assert "no more threads: can't start new thread" in caplog.text


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere threads have no niceness of their own")
def test_threads_do_not_inherit_the_low_priority_of_whoever_submits(make_engine, served):
    def niceness(thread):
        return os.getpriority(os.PRIO_PROCESS, thread.native_id)

    def be_nicer():
        me = threading.current_thread()
        os.setpriority(os.PRIO_PROCESS, me.native_id, niceness(me) + 1)

    engine, model = make_engine(), served()
    with ThreadPoolExecutor(1, initializer=be_nicer) as pool:
        results([pool.submit(engine.submit, model, blank(model, 8, 8), 0).result(PATIENCE_S)])
    assert [niceness(owner) for owner in owners()] == [niceness(threading.current_thread())]


# --- the end ----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("always_worth_waking")
def test_all_threads_of_a_retired_model_end_and_it_can_still_be_used(make_engine, served):
    engine, model = make_engine(), served(threads=THREADS)
    turnstile = Turnstile(THREADS)
    engine.observe(turnstile)
    results(engine.submit_all(model, [(blank(model, 8, 8), seed) for seed in range(THREADS)]))
    ending = owners()
    assert len(ending) == THREADS
    model.session.retire()
    engine.release(model)
    for thread in ending:
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
    results(engine.submit_all(model, [(blank(model, 8, 8), seed) for seed in range(THREADS)]))


@pytest.mark.usefixtures("always_worth_waking")
def test_threads_that_had_nothing_to_do_while_a_retired_model_had_work_left_end_too(make_engine, served):
    engine, model = make_engine(max_batch_pixels=100), served(threads=THREADS)
    turnstile, gate = Turnstile(THREADS), Gate()
    engine.observe(lambda report: turnstile(report) if report.pixels < 100 else gate(report))
    results(engine.submit_all(model, [(blank(model, 3, 3), seed) for seed in range(THREADS)]))
    ending = owners()
    asked = engine.submit(model, blank(model, 10, 10), 0)
    gate.await_first_batch()
    waiting = engine.submit(model, blank(model, 10, 10), 0)  # as much as may run does already
    model.session.retire()
    engine.release(model)
    time.sleep(0.1)  # long enough for the idle threads to see that something waits
    gate.open()
    results([asked, waiting])
    for thread in ending:
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


@pytest.mark.usefixtures("always_worth_waking")
def test_closing_ends_all_threads_and_fails_what_waits(make_engine, served):
    engine, model = make_engine(max_batch_images=1), served(threads=2)
    gate = Gate()
    engine.observe(gate)
    futures = engine.submit_all(model, [(blank(model, 8, 8), seed) for seed in range(5)])
    gate.await_first_batch()
    closer = threading.Thread(target=engine.close)
    closer.start()
    gate.open()
    closer.join(PATIENCE_S)
    assert all(future.done() for future in futures)
    assert not owners()

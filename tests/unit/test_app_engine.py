"""The engine: batches, tiles, fairness, limits, failures, the end. Real refiners, no waiting for luck.

An observer that blocks holds the thread of a model in place, so that a test decides what waits together.
"""

import threading
import time
import tracemalloc
import weakref
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

from app.errors import EngineBusy, InferenceFailed, RequestTimeout, ShuttingDown, TooManyPixels
from app.refining.devices import CUDA, choose_provider
from app.refining.engine import Engine
from app.refining.models import ModelRepository
from app.refining.session import RefinerSession
from app.settings import Settings
from model.noise import noise_field

PATIENCE_S = 30


class Gate:
    """An observer that keeps every report and lets the thread go on only while it is open."""

    def __init__(self):
        self.reports = []
        self._reached = threading.Event()
        self._open = threading.Event()

    def __call__(self, report):
        self.reports.append(report)
        self._reached.set()
        assert self._open.wait(PATIENCE_S)

    def await_first_batch(self):
        assert self._reached.wait(PATIENCE_S)

    def open(self):
        self._open.set()

    @property
    def batches(self):
        """(windows, pixels) of every batch after the one that the gate was closed with."""
        return [(report.images, report.pixels) for report in self.reports[1:]]


@pytest.fixture
def make_engine():
    engines = []
    before = set(threading.enumerate())

    def make(clock_s=None, **limits):
        options = {"clock_s": clock_s} if clock_s else {}
        engines.append(Engine(Settings(**limits), **options))
        return engines[-1]

    yield make
    for engine in engines:
        engine.close()
    left = set(threading.enumerate()) - before
    assert not [thread.name for thread in left if thread.name.startswith("refine ")]


@pytest.fixture
def served(tmp_path, write_model):
    """Write a model and give it as it is served."""
    repositories = []

    def serve(name="tiny", **options):
        write_model(tmp_path / name, name, **options)
        repository = ModelRepository(tmp_path / name, choose_provider("cpu"), 1)
        repositories.append(repository)
        repository.open()
        return repository.get(name)

    yield serve
    for repository in repositories:
        repository.close()


@contextmanager
def held(engine, model):
    """Hold the thread of `model` right after an inference of one pixel, until the block is left."""
    gate = Gate()
    engine.observe(gate)
    engine.submit(model, _blank(model, 1, 1), 0)
    gate.await_first_batch()
    try:
        yield gate
    finally:
        gate.open()


def _blank(model, height, width):
    return np.zeros((height, width, model.card.channels), model.card.dtype)


def _random(model, height, width, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, model.card.peak + 1, (height, width, model.card.channels)).astype(model.card.dtype)


def _whole(model, image, seed=0):
    """The reference: the image alone, whole, straight through ONNX Runtime."""
    spec = model.card.noise
    noise = noise_field(seed, *image.shape[:2], spec)[np.newaxis] if spec.channels else None
    return model.session.run(image[np.newaxis], noise)[0]


def _results(futures):
    return [future.result(PATIENCE_S) for future in futures]


# --- the same bytes, whatever happens around them ---------------------------------------------------------


@pytest.mark.parametrize(("bit_depth", "noise"), [(8, (0, 0)), (8, (2, 1)), (16, (0, 0)), (16, (1, 0))])
def test_the_bytes_of_an_image_do_not_depend_on_its_batch(make_engine, served, bit_depth, noise):
    engine, model = make_engine(), served(radius=3, channels=3, bit_depth=bit_depth, noise=noise)
    images = [_random(model, 35, 55, seed) for seed in range(9)]
    with held(engine, model) as gate:
        futures = [engine.submit(model, image, seed) for seed, image in enumerate(images)]
    for seed, (image, refined) in enumerate(zip(images, _results(futures), strict=True)):
        assert np.array_equal(refined, _whole(model, image, seed))
    assert gate.batches == [(9, 9 * 35 * 55)]


@pytest.mark.parametrize(("bit_depth", "noise"), [(8, (0, 0)), (8, (1, 1)), (16, (1, 0))])
@pytest.mark.parametrize("size", [(33, 32), (101, 67), (64, 300), (1, 2000), (3, 517), (257, 129)])
def test_an_image_in_tiles_has_the_bytes_of_the_whole(make_engine, served, bit_depth, noise, size):
    engine, model = make_engine(tile_pixels=1024), served(radius=4, bit_depth=bit_depth, noise=noise)
    reports = []
    engine.observe(reports.append)
    image = _random(model, *size)
    refined = engine.submit(model, image, 5).result(PATIENCE_S)
    assert sum(report.images for report in reports) > 1
    assert np.array_equal(refined, _whole(model, image, 5))


def test_noise_depends_on_the_seed_alone(make_engine, served):
    engine, model = make_engine(), served(noise=(1, 1))
    image = np.full((20, 20, 1), 128, np.uint8)
    first, again, other = _results([engine.submit(model, image, seed) for seed in (1, 1, 2)])
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_strided_image_is_refined_like_its_copy(make_engine, served):
    engine, model = make_engine(), served(radius=2)
    image = _random(model, 40, 60)[::2, ::-3]
    assert np.array_equal(engine.submit(model, image, 0).result(PATIENCE_S), _whole(model, image.copy()))


def test_a_result_keeps_nothing_but_itself_alive(make_engine, served):
    engine, model = make_engine(), served()
    with held(engine, model):
        futures = [engine.submit(model, _blank(model, 8, 8), 0) for _ in range(5)]
    assert all(refined.base is None and refined.nbytes == 64 for refined in _results(futures))


# --- batches and whose turn it is -------------------------------------------------------------------------


def test_what_waits_is_grouped_by_shape_and_the_oldest_goes_first(make_engine, served):
    engine, model = make_engine(), served()
    with held(engine, model) as gate:
        futures = [engine.submit(model, _blank(model, *size), 0) for size in [(5, 5), (6, 7), (5, 5), (7, 6)]]
    _results(futures)
    assert gate.batches == [(2, 50), (1, 42), (1, 42)]


def test_a_batch_is_limited_by_images(make_engine, served):
    engine, model = make_engine(max_batch_images=3), served()
    with held(engine, model) as gate:
        futures = [engine.submit(model, _blank(model, 4, 4), 0) for _ in range(7)]
    _results(futures)
    assert [images for images, _ in gate.batches] == [3, 3, 1]


def test_a_batch_is_limited_by_pixels_but_holds_one_image_at_least(make_engine, served):
    engine, model = make_engine(max_batch_pixels=100), served()
    with held(engine, model) as gate:
        futures = [engine.submit(model, _blank(model, *size), 0) for size in [(7, 7)] * 3 + [(20, 20)] * 2]
    _results(futures)
    assert [images for images, _ in gate.batches] == [2, 1, 1, 1]


def test_a_rare_shape_is_not_starved_by_a_frequent_one(make_engine, served):
    engine, model = make_engine(max_batch_images=2), served()
    with held(engine, model) as gate:
        sizes = [(4, 4), (4, 4), (9, 9), (4, 4), (4, 4), (4, 4), (4, 4)]
        futures = [engine.submit(model, _blank(model, *size), 0) for size in sizes]
    _results(futures)
    assert [pixels for _, pixels in gate.batches] == [32, 81, 32, 32]


def test_a_small_image_waits_for_one_batch_of_a_giant_not_for_all(make_engine, served):
    engine, model = make_engine(tile_pixels=1024, max_batch_pixels=1024), served(radius=1)
    with held(engine, model) as gate:
        giant = engine.submit(model, _random(model, 200, 200), 0)
        small = [engine.submit(model, _blank(model, 5, 5), 0) for _ in range(3)]
    _results([giant, *small])
    tile = gate.batches[0]
    assert gate.batches[:3] == [tile, (3, 75), tile]
    assert len(gate.batches) > 40


def test_two_giants_take_turns(make_engine, served):
    engine, model = make_engine(tile_pixels=1024, max_batch_images=2), served(radius=1)
    with held(engine, model) as gate:
        first = engine.submit(model, _random(model, 32, 320), 0)
        second = engine.submit(model, _random(model, 32, 320), 0)
    _results([first, second])
    begun = [len(report.waits_s) for report in gate.reports[1:]]
    assert begun[0] == 2, "both are begun in the first batch of two tiles"
    assert sum(begun) == 2


def test_images_of_different_models_do_not_wait_for_each_other(make_engine, served):
    engine, slow, quick = make_engine(), served("slow"), served("quick", offset=3)
    gate = Gate()
    engine.observe(lambda report: gate(report) if report.model is slow else None)
    waiting = engine.submit(slow, _blank(slow, 4, 4), 0)
    gate.await_first_batch()
    assert engine.submit(quick, _blank(quick, 4, 4), 0).result(PATIENCE_S)[0, 0, 0] == 3
    assert not waiting.done()
    gate.open()


def test_a_report_tells_how_long_each_image_waited(make_engine, served):
    clock = [0.0]
    engine, model = make_engine(clock_s=lambda: clock[0]), served()
    with held(engine, model) as gate:
        clock[0] = 10.0
        first = engine.submit(model, _blank(model, 4, 4), 0)
        clock[0] = 12.0
        second = engine.submit(model, _blank(model, 4, 4), 0)
        clock[0] = 15.0
    _results([first, second])
    assert sorted(gate.reports[1].waits_s) == [3.0, 5.0]
    assert gate.reports[1].model is model


# --- requests before background work -----------------------------------------------------------------------


def test_background_images_let_interactive_ones_go_first_in_batches_of_their_own(make_engine, served):
    engine, model = make_engine(), served()
    with held(engine, model) as gate:
        background = [engine.submit(model, _blank(model, 4, 4), 0, background=True) for _ in range(2)]
        interactive = [engine.submit(model, _blank(model, 4, 4), 0) for _ in range(3)]
    _results(background + interactive)
    assert gate.batches == [(3, 48), (2, 32)]
    assert [report.background for report in gate.reports[1:]] == [False, True]


def test_an_interactive_image_waits_for_one_batch_of_background_work_not_for_all(make_engine, served):
    engine, model = make_engine(max_batch_images=2), served()
    gate = Gate()
    engine.observe(gate)
    background = [engine.submit(model, _blank(model, 4, 4), 0, background=True) for _ in range(7)]
    gate.await_first_batch()
    interactive = engine.submit(model, _blank(model, 5, 5), 0)
    gate.open()
    _results([*background, interactive])
    assert gate.batches[0] == (1, 25)
    assert sum(images for images, _ in gate.batches) + gate.reports[0].images == 8


def test_background_work_gets_a_tenth_of_the_pixels_while_interactive_images_never_cease(make_engine, served):
    engine, model = make_engine(max_batch_pixels=100, background_batch_pixels=100, threads=1), served()
    with held(engine, model) as gate:
        interactive = [engine.submit(model, _blank(model, 10, 10), 0) for _ in range(30)]
        background = [engine.submit(model, _blank(model, 10, 10), 0, background=True) for _ in range(4)]
    _results(interactive + background)
    turns = [index for index, report in enumerate(gate.reports[1:]) if report.background]
    assert turns == [9, 19, 29, 33], "every tenth, and what is left once nothing interactive waits"


def test_many_small_interactive_batches_do_not_let_a_large_background_batch_in(make_engine, served):
    limits = {"max_batch_images": 1, "background_batch_pixels": 100, "threads": 1}
    engine, model = make_engine(**limits), served()
    with held(engine, model) as gate:
        interactive = [engine.submit(model, _blank(model, 2, 5), 0) for _ in range(50)]
        background = engine.submit(model, _blank(model, 10, 10), 0, background=True)
    _results([*interactive, background])
    assert gate.reports[-1].background


def test_a_background_batch_on_a_processor_is_small_and_grows_with_its_threads(make_engine, served):
    model = served()
    for threads, largest in ((1, 2), (2, 4), (4, 5)):
        engine = make_engine(max_batch_pixels=80, background_batch_pixels=32, threads=threads)
        with held(engine, model) as gate:
            futures = [engine.submit(model, _blank(model, 4, 4), 0, background=True) for _ in range(10)]
        _results(futures)
        assert max(images for images, _ in gate.batches) == largest


def test_a_background_batch_on_a_gpu_is_as_large_as_any(make_engine, served, monkeypatch):
    engine, model = make_engine(background_batch_pixels=16, threads=1), served()
    monkeypatch.setattr(model.session, "provider", CUDA)
    with held(engine, model) as gate:
        futures = [engine.submit(model, _blank(model, 4, 4), 0, background=True) for _ in range(10)]
    _results(futures)
    assert gate.batches == [(10, 160)]


@pytest.mark.parametrize("noise", [(0, 0), (1, 1)])
def test_a_large_background_image_goes_in_smaller_tiles_and_has_the_same_bytes(make_engine, served, noise):
    engine, model = make_engine(background_batch_pixels=1024, threads=1), served(radius=1, noise=noise)
    image = _random(model, 150, 200)
    with held(engine, model) as gate:
        futures = [engine.submit(model, image, 5, background=background) for background in (False, True)]
    for refined in _results(futures):
        assert np.array_equal(refined, _whole(model, image, 5))
    interactive, *background = gate.batches
    assert interactive == (1, 150 * 200)
    assert len(background) > 30
    assert max(pixels for _, pixels in background) <= 1024


def test_a_background_tile_is_not_so_small_that_its_halo_is_most_of_it(make_engine, served):
    engine, model = make_engine(background_batch_pixels=16, threads=1), served(radius=2)
    with held(engine, model) as gate:
        future = engine.submit(model, _blank(model, 40, 400), 0, background=True)
    _results([future])
    assert max(pixels for _, pixels in gate.batches) > 1000, "20 radii squared are 1600 pixels"


def test_background_images_neither_fill_the_queue_nor_are_refused_by_it(make_engine, served):
    engine, model = make_engine(max_queue_images=2, max_pixels=100, max_queue_pixels=100), served()
    with held(engine, model):
        images = [(_blank(model, 9, 9), 0)] * 5
        background = engine.submit_all(model, images, background=True)
        interactive = engine.submit(model, _blank(model, 9, 9), 0)
        with pytest.raises(EngineBusy, match="full with 2 images of 82 pixels"):
            engine.submit(model, _blank(model, 9, 9), 0)
        background += engine.submit_all(model, images, background=True)
    _results([interactive, *background])


def test_background_work_is_counted_apart(make_engine, served):
    engine, model = make_engine(), served()
    with held(engine, model):
        done, gone = engine.submit_all(model, [(_blank(model, 4, 5), 0)] * 2, background=True)
        assert (engine.load.images, engine.load.pixels) == (1, 1)
        assert (engine.background_load.images, engine.background_load.pixels) == (2, 40)
        gone.cancel()
        assert (engine.background_load.images, engine.background_load.pixels) == (1, 20)
    _results([done])
    assert engine.drain(PATIENCE_S)
    assert (engine.background_load.images, engine.background_load.pixels) == (0, 0)


def test_a_cancelled_background_image_is_never_run(make_engine, served):
    engine, model = make_engine(), served()
    with held(engine, model) as gate:
        gone, stays = (engine.submit(model, _blank(model, 4, side), 0, background=True) for side in (4, 5))
        assert gone.cancel()
    _results([stays])
    assert gate.batches == [(1, 20)]


def test_a_background_image_may_have_a_deadline(make_engine, served):
    clock = [0.0]
    engine, model = make_engine(clock_s=lambda: clock[0]), served()
    with held(engine, model) as gate:
        late = engine.submit(model, _blank(model, 4, 4), 0, deadline=5.0, background=True)
        clock[0] = 5.0
    with pytest.raises(RequestTimeout):
        late.result(PATIENCE_S)
    assert gate.batches == []


# --- what is taken in -------------------------------------------------------------------------------------


def test_a_full_queue_refuses_at_once_and_takes_again_when_there_is_room(make_engine, served):
    engine, model = make_engine(max_queue_images=3), served()
    with held(engine, model):
        futures = [engine.submit(model, _blank(model, 4, 4), 0) for _ in range(2)]
        with pytest.raises(EngineBusy, match="full with 3 images of 33 pixels") as busy:
            engine.submit(model, _blank(model, 4, 4), 0)
        assert 1 <= busy.value.retry_after_s <= 60
    _results(futures)
    assert engine.submit(model, _blank(model, 4, 4), 0).result(PATIENCE_S).shape == (4, 4, 1)


def test_the_queue_is_limited_by_pixels_too(make_engine, served):
    engine, model = make_engine(max_pixels=100, max_queue_pixels=100), served()
    with held(engine, model):
        future = engine.submit(model, _blank(model, 9, 9), 0)
        with pytest.raises(EngineBusy):
            engine.submit(model, _blank(model, 5, 5), 0)
        future.cancel()
        engine.submit(model, _blank(model, 5, 5), 0)


def test_images_sent_together_are_taken_all_or_none(make_engine, served):
    engine, model = make_engine(max_queue_images=3), served()
    pair = [(_blank(model, 4, 4), 0)] * 2
    with held(engine, model):
        engine.submit_all(model, pair)
        load = engine.load
        with pytest.raises(EngineBusy):
            engine.submit_all(model, pair)
        assert engine.load == load
    with pytest.raises(TooManyPixels, match="4 refinements of 64 pixels in all, but at most 3"):
        engine.submit_all(model, pair * 2)


def test_the_load_counts_what_is_inside_and_returns_to_nothing(make_engine, served):
    engine, model = make_engine(), served()
    with held(engine, model):
        futures = engine.submit_all(model, [(_blank(model, 4, 5), 0)] * 3)
        assert (engine.load.images, engine.load.pixels) == (4, 61)
    _results(futures)
    assert engine.drain(PATIENCE_S)
    assert (engine.load.images, engine.load.pixels) == (0, 0)


def test_a_giant_with_noise_needs_memory_for_a_few_tiles_only(make_engine, served):
    engine = make_engine(tile_pixels=1 << 14, max_batch_pixels=1 << 14)
    model = served(noise=(4, 4))
    image = _blank(model, 1500, 1500)
    tracemalloc.start()
    engine.submit(model, image, 0).result(PATIENCE_S)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3 * image.nbytes + 4_000_000, "the noise of the whole image alone would be 72 MB"


# --- cancelling, deadlines, failures ----------------------------------------------------------------------


def test_a_cancelled_image_is_never_run(make_engine, served):
    engine, model = make_engine(), served()
    with held(engine, model) as gate:
        gone, stays = (engine.submit(model, _blank(model, *size), 0) for size in [(4, 4), (5, 5)])
        assert gone.cancel()
        assert engine.load.images == 2
    _results([stays])
    assert gate.batches == [(1, 25)]


def test_a_cancelled_image_frees_its_memory_at_once(make_engine, served):
    engine, model = make_engine(), served()
    with held(engine, model):
        image = _blank(model, 4, 4)
        freed = threading.Event()
        weakref.finalize(image, freed.set)
        future = engine.submit(model, image, 0)
        del image
        assert not freed.is_set()
        future.cancel()
        assert freed.is_set(), "without waiting for the garbage collector or for its turn"


def test_the_waiting_tiles_of_a_cancelled_giant_are_dropped(make_engine, served):
    engine, model = make_engine(tile_pixels=1024, max_batch_pixels=1024), served(radius=1)
    gate = Gate()
    engine.observe(gate)
    giant = engine.submit(model, _random(model, 200, 200), 0)
    gate.await_first_batch()
    assert giant.cancel()
    gate.open()
    engine.submit(model, _blank(model, 3, 3), 0).result(PATIENCE_S)
    assert gate.batches == [(1, 9)]
    assert wait([giant], PATIENCE_S).done == {giant}


def test_an_image_whose_deadline_passes_while_it_waits_times_out_without_being_run(make_engine, served):
    clock = [0.0]
    engine, model = make_engine(clock_s=lambda: clock[0]), served()
    with held(engine, model) as gate:
        late = engine.submit(model, _blank(model, 4, 4), 0, deadline=5.0)
        calm = engine.submit(model, _blank(model, 5, 5), 0, deadline=50.0)
        clock[0] = 5.0
    with pytest.raises(RequestTimeout):
        late.result(PATIENCE_S)
    _results([calm])
    assert gate.batches == [(1, 25)]


def test_the_waiting_tiles_of_an_expired_giant_are_dropped(make_engine, served):
    clock = [0.0]
    engine, model = (
        make_engine(clock_s=lambda: clock[0], tile_pixels=1024, max_batch_images=1),
        served(radius=1),
    )
    gate = Gate()
    engine.observe(gate)
    giant = engine.submit(model, _random(model, 200, 200), 0, deadline=1.0)
    gate.await_first_batch()
    clock[0] = 2.0
    gate.open()
    with pytest.raises(RequestTimeout):
        giant.result(PATIENCE_S)
    assert engine.drain(PATIENCE_S)
    assert len(gate.reports) == 1


def test_one_poisonous_image_fails_alone(make_engine, served):
    engine, model = make_engine(), served(poison=200)
    images = [_blank(model, 6, 6) for _ in range(4)]
    images[2][3, 3] = 200
    with held(engine, model) as gate:
        futures = engine.submit_all(model, [(image, 0) for image in images])
    for index in (0, 1, 3):
        assert (futures[index].result(PATIENCE_S) == 10).all()
    with pytest.raises(InferenceFailed, match=r"Model 'tiny' failed on 1 image"):
        futures[2].result(PATIENCE_S)
    assert [(report.images, report.ok) for report in gate.reports[1:]] == [
        (4, False),
        (1, True),
        (1, True),
        (1, False),
        (1, True),
    ]


def test_a_giant_with_a_poisonous_tile_fails_once_and_its_other_tiles_are_dropped(make_engine, served):
    engine, model = make_engine(tile_pixels=1024, max_batch_pixels=1024), served(poison=200)
    image = _blank(model, 200, 200)
    image[0, 0] = 200
    with held(engine, model) as gate:
        giant = engine.submit(model, image, 0)
        small = engine.submit(model, _blank(model, 4, 4), 0)
    with pytest.raises(InferenceFailed):
        giant.result(PATIENCE_S)
    assert (small.result(PATIENCE_S) == 10).all()
    assert [report.ok for report in gate.reports[1:]] == [False, True]


def test_an_unforeseen_error_fails_its_image_and_the_thread_goes_on(make_engine, served, caplog):
    engine, model = make_engine(), served(noise=(1, 0))
    with pytest.raises(InferenceFailed):
        engine.submit(model, _blank(model, 4, 4), "no number").result(PATIENCE_S)
    assert engine.submit(model, _blank(model, 4, 4), 1).result(PATIENCE_S).shape == (4, 4, 1)
    assert "unforeseen" in caplog.text


def test_an_observer_that_fails_disturbs_nothing(make_engine, served, caplog):
    engine, model = make_engine(), served()
    engine.observe(lambda report: 1 / 0)
    assert (engine.submit(model, _blank(model, 4, 4), 0).result(PATIENCE_S) == 10).all()
    assert "observer" in caplog.text


def test_an_image_of_the_wrong_kind_is_a_fault_of_the_caller(make_engine, served):
    engine, model = make_engine(), served()
    with pytest.raises(AssertionError, match="3 channels"):
        engine.submit(model, np.zeros((4, 4, 3), np.uint8), 0)
    with pytest.raises(AssertionError, match="uint16"):
        engine.submit(model, np.zeros((4, 4, 1), np.uint16), 0)
    assert engine.load.images == 0


# --- the end ----------------------------------------------------------------------------------------------


def test_draining_refuses_the_new_and_finishes_the_old(make_engine, served):
    engine, model = make_engine(), served()
    with held(engine, model):
        future = engine.submit(model, _blank(model, 4, 4), 0)
        assert not engine.drain(0.01), "it is still held"
        with pytest.raises(ShuttingDown):
            engine.submit(model, _blank(model, 4, 4), 0)
    assert engine.drain(PATIENCE_S)
    assert future.done()


def test_draining_waits_for_background_work_too(make_engine, served):
    engine, model = make_engine(), served()
    gate = Gate()
    engine.observe(gate)
    future = engine.submit(model, _blank(model, 4, 4), 0, background=True)
    gate.await_first_batch()
    assert not engine.drain(0.01), "it is still held"
    with pytest.raises(ShuttingDown):
        engine.submit(model, _blank(model, 4, 4), 0, background=True)
    gate.open()
    assert engine.drain(PATIENCE_S)
    assert future.done()


def test_closing_fails_waiting_background_work(make_engine, served):
    engine, model = make_engine(), served()
    with held(engine, model):
        waiting = engine.submit(model, _blank(model, 4, 4), 0, background=True)
        closer = threading.Thread(target=engine.close)
        closer.start()
        with pytest.raises(ShuttingDown):
            waiting.result(PATIENCE_S)
    closer.join(PATIENCE_S)
    assert engine.background_load.images == 0


def test_closing_fails_what_waits_and_leaves_no_thread(make_engine, served):
    engine, model = make_engine(), served()
    gate = Gate()
    engine.observe(gate)
    running = engine.submit(model, _blank(model, 4, 4), 0)
    gate.await_first_batch()
    waiting = engine.submit(model, _blank(model, 4, 4), 0)
    closer = threading.Thread(target=engine.close)
    closer.start()
    with pytest.raises(ShuttingDown):
        waiting.result(PATIENCE_S)
    gate.open()
    closer.join(PATIENCE_S)
    assert (running.result(PATIENCE_S) == 10).all(), "its inference was over already"
    engine.close()
    assert engine.load.images == 0


def test_closing_interrupts_a_long_inference(make_engine, served, tmp_path, write_model):
    model = served()
    write_model(tmp_path / "endless", "endless", work=10_000_000)
    session = RefinerSession.open(tmp_path / "endless/endless/1/refiner.onnx", choose_provider("cpu"), 1)
    endless = replace(model, name="endless", session=session)
    engine = make_engine()
    future = engine.submit(endless, _blank(model, 4, 4), 0)
    time.sleep(0.2)  # long enough to be running; if it still waited, the outcome would be the same
    begun_s = time.monotonic()
    engine.close()
    with pytest.raises(ShuttingDown):
        future.result(0)
    assert time.monotonic() - begun_s < 10


def test_the_thread_of_a_retired_model_ends_and_comes_back_when_it_is_still_used(make_engine, served):
    engine, model = make_engine(), served()
    engine.submit(model, _blank(model, 4, 4), 0).result(PATIENCE_S)
    (owner,) = (thread for thread in threading.enumerate() if thread.name == "refine tiny 1")
    model.session.retire()
    engine.release(model)
    owner.join(PATIENCE_S)
    assert not owner.is_alive()
    assert (engine.submit(model, _blank(model, 4, 4), 0).result(PATIENCE_S) == 10).all()


def test_many_threads_may_submit_and_cancel_at_once(make_engine, served):
    engine, model = make_engine(max_queue_images=10_000, tile_pixels=1024), served(radius=1)

    def ask(seed):
        rng = np.random.default_rng(seed)
        for turn in range(25):
            image = _random(model, *(int(side) for side in rng.integers(1, 60, 2)), seed=seed)
            future = engine.submit(model, image, seed, background=turn % 2 == 0)
            if turn % 5 == 0:
                future.cancel()
            else:
                assert np.array_equal(future.result(PATIENCE_S), _whole(model, image))
        return True

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(ask, range(6)))
    assert engine.drain(PATIENCE_S)
    assert engine.load.images == engine.load.pixels == 0
    assert engine.background_load.images == engine.background_load.pixels == 0

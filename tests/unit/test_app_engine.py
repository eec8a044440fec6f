"""The engine: batches, tiles, fairness, limits, failures, the end. Real refiners, no waiting for luck.

An observer that blocks holds the thread of a model in place, so that a test decides what waits together.
"""

import threading
import time
import tracemalloc
import weakref
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace

import numpy as np
import pytest
from engine_gate import PATIENCE_S, Gate, blank, held, random, results, whole

from app.errors import EngineBusy, InferenceFailed, RequestTimeout, ShuttingDown, TooManyPixels
from app.refining.devices import choose_provider
from app.refining.session import RefinerSession

# --- the same bytes, whatever happens around them ---------------------------------------------------------


@pytest.mark.parametrize(("bit_depth", "noise"), [(8, (0, 0)), (8, (2, 1)), (16, (0, 0)), (16, (1, 0))])
def test_the_bytes_of_an_image_do_not_depend_on_its_batch(make_engine, served, bit_depth, noise):
    engine, model = make_engine(), served(radius=3, channels=3, bit_depth=bit_depth, noise=noise)
    images = [random(model, 35, 55, seed) for seed in range(7)]
    with held(engine, model) as gate:
        futures = [engine.submit(model, image, seed) for seed, image in enumerate(images)]
    for seed, (image, refined) in enumerate(zip(images, results(futures), strict=True)):
        assert np.array_equal(refined, whole(model, image, seed))
    assert gate.batches == [(7, 7 * 35 * 55)]


@pytest.mark.parametrize(("bit_depth", "noise"), [(8, (0, 0)), (8, (1, 1)), (16, (1, 0))])
@pytest.mark.parametrize("size", [(33, 32), (101, 67), (64, 300), (1, 2000), (3, 517), (257, 129)])
def test_an_image_in_tiles_has_the_bytes_of_thewhole(make_engine, served, bit_depth, noise, size):
    engine, model = make_engine(tile_pixels=1024), served(radius=4, bit_depth=bit_depth, noise=noise)
    reports = []
    engine.observe(reports.append)
    image = random(model, *size)
    refined = engine.submit(model, image, 5).result(PATIENCE_S)
    assert sum(report.images for report in reports) > 1
    assert np.array_equal(refined, whole(model, image, 5))


def test_noise_depends_on_the_seed_alone(make_engine, served):
    engine, model = make_engine(), served(noise=(1, 1))
    image = np.full((20, 20, 1), 128, np.uint8)
    first, again, other = results([engine.submit(model, image, seed) for seed in (1, 1, 2)])
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_strided_image_is_refined_like_its_copy(make_engine, served):
    engine, model = make_engine(), served(radius=2)
    image = random(model, 40, 60)[::2, ::-3]
    assert np.array_equal(engine.submit(model, image, 0).result(PATIENCE_S), whole(model, image.copy()))


def test_a_result_keeps_nothing_but_itself_alive(make_engine, served):
    engine, model = make_engine(), served()
    with held(engine, model):
        futures = [engine.submit(model, blank(model, 8, 8), 0) for _ in range(5)]
    assert all(refined.base is None and refined.nbytes == 64 for refined in results(futures))


# --- batches and whose turn it is -------------------------------------------------------------------------


def test_what_waits_is_grouped_by_shape_and_the_oldest_goes_first(make_engine, served):
    engine, model = make_engine(), served()
    with held(engine, model) as gate:
        futures = [engine.submit(model, blank(model, *size), 0) for size in [(5, 5), (6, 7), (5, 5), (7, 6)]]
    results(futures)
    assert gate.batches == [(2, 50), (1, 42), (1, 42)]


def test_a_batch_is_limited_by_images(make_engine, served):
    engine, model = make_engine(max_batch_images=3), served()
    with held(engine, model) as gate:
        futures = [engine.submit(model, blank(model, 4, 4), 0) for _ in range(7)]
    results(futures)
    assert [images for images, _ in gate.batches] == [3, 3, 1]


def test_a_batch_is_limited_by_pixels_but_holds_one_image_at_least(make_engine, served):
    engine, model = make_engine(max_batch_pixels=100), served()
    with held(engine, model) as gate:
        futures = [engine.submit(model, blank(model, *size), 0) for size in [(7, 7)] * 3 + [(20, 20)] * 2]
    results(futures)
    assert [images for images, _ in gate.batches] == [2, 1, 1, 1]


def test_a_rare_shape_is_not_starved_by_a_frequent_one(make_engine, served):
    engine, model = make_engine(max_batch_images=2), served()
    with held(engine, model) as gate:
        sizes = [(4, 4), (4, 4), (9, 9), (4, 4), (4, 4), (4, 4), (4, 4)]
        futures = [engine.submit(model, blank(model, *size), 0) for size in sizes]
    results(futures)
    assert [pixels for _, pixels in gate.batches] == [32, 81, 32, 32]


def test_a_small_image_waits_for_one_batch_of_a_giant_not_for_all(make_engine, served):
    engine, model = make_engine(tile_pixels=1024, max_batch_pixels=1024), served(radius=1)
    with held(engine, model) as gate:
        giant = engine.submit(model, random(model, 200, 200), 0)
        small = [engine.submit(model, blank(model, 5, 5), 0) for _ in range(3)]
    results([giant, *small])
    tile = gate.batches[0]
    assert gate.batches[:3] == [tile, (3, 75), tile]
    assert len(gate.batches) > 40


def test_two_giants_take_turns(make_engine, served):
    engine, model = make_engine(tile_pixels=1024, max_batch_images=2), served(radius=1)
    with held(engine, model) as gate:
        first = engine.submit(model, random(model, 32, 320), 0)
        second = engine.submit(model, random(model, 32, 320), 0)
    results([first, second])
    begun = [len(report.waits_s) for report in gate.reports[1:]]
    assert begun[0] == 2, "both are begun in the first batch of two tiles"
    assert sum(begun) == 2


def test_images_of_different_models_do_not_wait_for_each_other(make_engine, served):
    engine, slow, quick = make_engine(), served("slow"), served("quick", offset=3)
    gate = Gate()
    engine.observe(lambda report: gate(report) if report.model is slow else None)
    waiting = engine.submit(slow, blank(slow, 4, 4), 0)
    gate.await_first_batch()
    assert engine.submit(quick, blank(quick, 4, 4), 0).result(PATIENCE_S)[0, 0, 0] == 3
    assert not waiting.done()
    gate.open()


def test_a_report_tells_how_long_each_image_waited(make_engine, served):
    clock = [0.0]
    engine, model = make_engine(clock_s=lambda: clock[0]), served()
    with held(engine, model) as gate:
        clock[0] = 10.0
        first = engine.submit(model, blank(model, 4, 4), 0)
        clock[0] = 12.0
        second = engine.submit(model, blank(model, 4, 4), 0)
        clock[0] = 15.0
    results([first, second])
    assert sorted(gate.reports[1].waits_s) == [3.0, 5.0]
    assert gate.reports[1].model is model


def test_an_image_that_comes_while_a_batch_is_taken_has_not_waited_less_than_nothing(make_engine, served):
    asked, second_is_in = threading.Event(), threading.Event()

    def clock_s():
        now_s = time.monotonic()
        if threading.current_thread().name == "refine tiny 1" and not asked.is_set():
            asked.set()
            second_is_in.wait(0.2)  # it cannot get in before the batch is taken, or it would be in it
        return now_s

    engine, model = make_engine(clock_s=clock_s), served()
    reports = []
    engine.observe(reports.append)
    first = engine.submit(model, blank(model, 4, 4), 0)
    assert asked.wait(PATIENCE_S)
    second = engine.submit(model, blank(model, 4, 4), 0)
    second_is_in.set()
    results([first, second])
    assert min(wait_s for report in reports for wait_s in report.waits_s) >= 0


# --- what is taken in -------------------------------------------------------------------------------------


def test_a_full_queue_refuses_at_once_and_takes_again_when_there_is_room(make_engine, served):
    engine, model = make_engine(max_queue_images=3), served()
    with held(engine, model):
        futures = [engine.submit(model, blank(model, 4, 4), 0) for _ in range(2)]
        with pytest.raises(EngineBusy, match="full with 3 images of 33 pixels") as busy:
            engine.submit(model, blank(model, 4, 4), 0)
        assert 1 <= busy.value.retry_after_s <= 60
    results(futures)
    assert engine.submit(model, blank(model, 4, 4), 0).result(PATIENCE_S).shape == (4, 4, 1)


def test_the_queue_is_limited_by_pixels_too(make_engine, served):
    engine, model = make_engine(max_pixels=100, max_queue_pixels=100), served()
    with held(engine, model):
        future = engine.submit(model, blank(model, 9, 9), 0)
        with pytest.raises(EngineBusy):
            engine.submit(model, blank(model, 5, 5), 0)
        future.cancel()
        engine.submit(model, blank(model, 5, 5), 0)


def test_images_sent_together_are_taken_all_or_none(make_engine, served):
    engine, model = make_engine(max_queue_images=3), served()
    pair = [(blank(model, 4, 4), 0)] * 2
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
        futures = engine.submit_all(model, [(blank(model, 4, 5), 0)] * 3)
        assert (engine.load.images, engine.load.pixels) == (4, 61)
    results(futures)
    assert engine.drain(PATIENCE_S)
    assert (engine.load.images, engine.load.pixels) == (0, 0)


def test_a_giant_with_noise_needs_memory_for_a_few_tiles_only(make_engine, served):
    engine = make_engine(tile_pixels=1 << 14, max_batch_pixels=1 << 14)
    model = served(noise=(4, 4))
    image = blank(model, 1500, 1500)
    tracemalloc.start()
    engine.submit(model, image, 0).result(PATIENCE_S)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3 * image.nbytes + 4_000_000, "the noise of the whole image alone would be 72 MB"


# --- cancelling, deadlines, failures ----------------------------------------------------------------------


def test_a_cancelled_image_is_never_run(make_engine, served):
    engine, model = make_engine(), served()
    with held(engine, model) as gate:
        gone, stays = (engine.submit(model, blank(model, *size), 0) for size in [(4, 4), (5, 5)])
        assert gone.cancel()
        assert engine.load.images == 2
    results([stays])
    assert gate.batches == [(1, 25)]


def test_a_cancelled_image_frees_its_memory_at_once(make_engine, served):
    engine, model = make_engine(), served()
    with held(engine, model):
        image = blank(model, 4, 4)
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
    giant = engine.submit(model, random(model, 200, 200), 0)
    gate.await_first_batch()
    assert giant.cancel()
    gate.open()
    engine.submit(model, blank(model, 3, 3), 0).result(PATIENCE_S)
    assert gate.batches == [(1, 9)]
    assert wait([giant], PATIENCE_S).done == {giant}


def test_an_image_whose_deadline_passes_while_it_waits_times_out_without_being_run(make_engine, served):
    clock = [0.0]
    engine, model = make_engine(clock_s=lambda: clock[0]), served()
    with held(engine, model) as gate:
        late = engine.submit(model, blank(model, 4, 4), 0, deadline=5.0)
        calm = engine.submit(model, blank(model, 5, 5), 0, deadline=50.0)
        clock[0] = 5.0
    with pytest.raises(RequestTimeout):
        late.result(PATIENCE_S)
    results([calm])
    assert gate.batches == [(1, 25)]


def test_the_waiting_tiles_of_an_expired_giant_are_dropped(make_engine, served):
    clock = [0.0]
    engine, model = (
        make_engine(clock_s=lambda: clock[0], tile_pixels=1024, max_batch_images=1),
        served(radius=1),
    )
    gate = Gate()
    engine.observe(gate)
    giant = engine.submit(model, random(model, 200, 200), 0, deadline=1.0)
    gate.await_first_batch()
    clock[0] = 2.0
    gate.open()
    with pytest.raises(RequestTimeout):
        giant.result(PATIENCE_S)
    assert engine.drain(PATIENCE_S)
    assert len(gate.reports) == 1


def test_one_poisonous_image_fails_alone(make_engine, served):
    engine, model = make_engine(), served(poison=200)
    images = [blank(model, 6, 6) for _ in range(4)]
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
    image = blank(model, 200, 200)
    image[0, 0] = 200
    with held(engine, model) as gate:
        giant = engine.submit(model, image, 0)
        small = engine.submit(model, blank(model, 4, 4), 0)
    with pytest.raises(InferenceFailed):
        giant.result(PATIENCE_S)
    assert (small.result(PATIENCE_S) == 10).all()
    assert [report.ok for report in gate.reports[1:]] == [False, True]


def test_an_unforeseen_error_fails_its_image_and_the_thread_goes_on(make_engine, served, caplog):
    engine, model = make_engine(), served(noise=(1, 0))
    with pytest.raises(InferenceFailed):
        engine.submit(model, blank(model, 4, 4), "no number").result(PATIENCE_S)
    assert engine.submit(model, blank(model, 4, 4), 1).result(PATIENCE_S).shape == (4, 4, 1)
    assert "unforeseen" in caplog.text


def test_an_observer_that_fails_disturbs_nothing(make_engine, served, caplog):
    engine, model = make_engine(), served()
    engine.observe(lambda report: 1 / 0)
    assert (engine.submit(model, blank(model, 4, 4), 0).result(PATIENCE_S) == 10).all()
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
        future = engine.submit(model, blank(model, 4, 4), 0)
        assert not engine.drain(0.01), "it is still held"
        with pytest.raises(ShuttingDown):
            engine.submit(model, blank(model, 4, 4), 0)
    assert engine.drain(PATIENCE_S)
    assert future.done()


def test_closing_fails_what_waits_and_leaves_no_thread(make_engine, served):
    engine, model = make_engine(), served()
    gate = Gate()
    engine.observe(gate)
    running = engine.submit(model, blank(model, 4, 4), 0)
    gate.await_first_batch()
    waiting = engine.submit(model, blank(model, 4, 4), 0)
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
    future = engine.submit(endless, blank(model, 4, 4), 0)
    time.sleep(0.2)  # long enough to be running; if it still waited, the outcome would be the same
    begun_s = time.monotonic()
    engine.close()
    with pytest.raises(ShuttingDown):
        future.result(0)
    assert time.monotonic() - begun_s < 10


def test_the_thread_of_a_retired_model_ends_and_comes_back_when_it_is_still_used(make_engine, served):
    engine, model = make_engine(), served()
    engine.submit(model, blank(model, 4, 4), 0).result(PATIENCE_S)
    (owner,) = (thread for thread in threading.enumerate() if thread.name == "refine tiny 1")
    model.session.retire()
    engine.release(model)
    owner.join(PATIENCE_S)
    assert not owner.is_alive()
    assert (engine.submit(model, blank(model, 4, 4), 0).result(PATIENCE_S) == 10).all()


def test_many_threads_may_submit_and_cancel_at_once(make_engine, served):
    engine, model = make_engine(max_queue_images=10_000, tile_pixels=1024), served(radius=1)

    def ask(seed):
        rng = np.random.default_rng(seed)
        for turn in range(25):
            image = random(model, *(int(side) for side in rng.integers(1, 60, 2)), seed=seed)
            future = engine.submit(model, image, seed, background=turn % 2 == 0)
            if turn % 5 == 0:
                future.cancel()
            else:
                assert np.array_equal(future.result(PATIENCE_S), whole(model, image))
        return True

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(ask, range(6)))
    assert engine.drain(PATIENCE_S)
    assert engine.load.images == engine.load.pixels == 0
    assert engine.background_load.images == engine.background_load.pixels == 0

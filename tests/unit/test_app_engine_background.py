"""Requests go before background work, which is never starved, and never fills the queue."""

import threading

import numpy as np
import pytest
from engine_gate import PATIENCE_S, Gate, blank, held, random, results, whole

from app.errors import EngineBusy, RequestTimeout, ShuttingDown
from app.refining.devices import CUDA


def test_background_images_let_interactive_ones_go_first_in_batches_of_their_own(make_engine, served):
    engine, model = make_engine(), served()
    with held(engine, model) as gate:
        background = [engine.submit(model, blank(model, 4, 4), 0, background=True) for _ in range(2)]
        interactive = [engine.submit(model, blank(model, 4, 4), 0) for _ in range(3)]
    results(background + interactive)
    assert gate.batches == [(3, 48), (2, 32)]
    assert [report.background for report in gate.reports[1:]] == [False, True]


def test_an_interactive_image_waits_for_one_batch_of_background_work_not_for_all(make_engine, served):
    engine, model = make_engine(max_batch_images=2), served()
    gate = Gate()
    engine.observe(gate)
    background = [engine.submit(model, blank(model, 4, 4), 0, background=True) for _ in range(7)]
    gate.await_first_batch()
    interactive = engine.submit(model, blank(model, 5, 5), 0)
    gate.open()
    results([*background, interactive])
    assert gate.batches[0] == (1, 25)
    assert sum(images for images, _ in gate.batches) + gate.reports[0].images == 8


def test_background_work_gets_a_tenth_of_the_pixels_while_interactive_images_never_cease(make_engine, served):
    engine, model = make_engine(max_batch_pixels=100, background_batch_pixels=100, threads=1), served()
    with held(engine, model) as gate:
        interactive = [engine.submit(model, blank(model, 10, 10), 0) for _ in range(30)]
        background = [engine.submit(model, blank(model, 10, 10), 0, background=True) for _ in range(4)]
    results(interactive + background)
    turns = [index for index, report in enumerate(gate.reports[1:]) if report.background]
    assert turns == [9, 19, 29, 33], "every tenth, and what is left once nothing interactive waits"


def test_many_small_interactive_batches_do_not_let_a_large_background_batch_in(make_engine, served):
    limits = {"max_batch_images": 1, "background_batch_pixels": 100, "threads": 1}
    engine, model = make_engine(**limits), served()
    with held(engine, model) as gate:
        interactive = [engine.submit(model, blank(model, 2, 5), 0) for _ in range(50)]
        background = engine.submit(model, blank(model, 10, 10), 0, background=True)
    results([*interactive, background])
    assert gate.reports[-1].background


def test_a_background_batch_on_a_processor_is_small_and_grows_with_its_threads(make_engine, served):
    model = served()
    for threads, largest in ((1, 2), (2, 4), (4, 5)):
        engine = make_engine(max_batch_pixels=80, background_batch_pixels=32, threads=threads)
        with held(engine, model) as gate:
            futures = [engine.submit(model, blank(model, 4, 4), 0, background=True) for _ in range(10)]
        results(futures)
        assert max(images for images, _ in gate.batches) == largest


def test_a_background_batch_on_a_gpu_is_as_large_as_any(make_engine, served, monkeypatch):
    engine, model = make_engine(background_batch_pixels=16, threads=1), served()
    monkeypatch.setattr(model.session, "provider", CUDA)
    with held(engine, model) as gate:
        futures = [engine.submit(model, blank(model, 4, 4), 0, background=True) for _ in range(10)]
    results(futures)
    assert gate.batches == [(10, 160)]


@pytest.mark.parametrize("noise", [(0, 0), (1, 1)])
def test_a_large_background_image_goes_in_smaller_tiles_and_has_the_same_bytes(make_engine, served, noise):
    engine, model = make_engine(background_batch_pixels=1024, threads=1), served(radius=1, noise=noise)
    image = random(model, 150, 200)
    with held(engine, model) as gate:
        futures = [engine.submit(model, image, 5, background=background) for background in (False, True)]
    for refined in results(futures):
        assert np.array_equal(refined, whole(model, image, 5))
    interactive, *background = gate.batches
    assert interactive == (1, 150 * 200)
    assert len(background) > 30
    assert max(pixels for _, pixels in background) <= 1024


def test_a_background_tile_is_not_so_small_that_its_halo_is_most_of_it(make_engine, served):
    engine, model = make_engine(background_batch_pixels=16, threads=1), served(radius=2)
    with held(engine, model) as gate:
        future = engine.submit(model, blank(model, 40, 400), 0, background=True)
    results([future])
    assert max(pixels for _, pixels in gate.batches) > 1000, "20 radii squared are 1600 pixels"


def test_background_images_neither_fill_the_queue_nor_are_refused_by_it(make_engine, served):
    engine, model = make_engine(max_queue_images=2, max_pixels=100, max_queue_pixels=100), served()
    with held(engine, model):
        images = [(blank(model, 9, 9), 0)] * 5
        background = engine.submit_all(model, images, background=True)
        interactive = engine.submit(model, blank(model, 9, 9), 0)
        with pytest.raises(EngineBusy, match="full with 2 images of 82 pixels"):
            engine.submit(model, blank(model, 9, 9), 0)
        background += engine.submit_all(model, images, background=True)
    results([interactive, *background])


def test_background_work_is_counted_apart(make_engine, served):
    engine, model = make_engine(), served()
    with held(engine, model):
        done, gone = engine.submit_all(model, [(blank(model, 4, 5), 0)] * 2, background=True)
        assert (engine.load.images, engine.load.pixels) == (1, 1)
        assert (engine.background_load.images, engine.background_load.pixels) == (2, 40)
        gone.cancel()
        assert (engine.background_load.images, engine.background_load.pixels) == (1, 20)
    results([done])
    assert engine.drain(PATIENCE_S)
    assert (engine.background_load.images, engine.background_load.pixels) == (0, 0)


def test_a_cancelled_background_image_is_never_run(make_engine, served):
    engine, model = make_engine(), served()
    with held(engine, model) as gate:
        gone, stays = (engine.submit(model, blank(model, 4, side), 0, background=True) for side in (4, 5))
        assert gone.cancel()
    results([stays])
    assert gate.batches == [(1, 20)]


def test_a_background_image_may_have_a_deadline(make_engine, served):
    clock = [0.0]
    engine, model = make_engine(clock_s=lambda: clock[0]), served()
    with held(engine, model) as gate:
        late = engine.submit(model, blank(model, 4, 4), 0, deadline=5.0, background=True)
        clock[0] = 5.0
    with pytest.raises(RequestTimeout):
        late.result(PATIENCE_S)
    assert gate.batches == []


def test_draining_waits_for_background_work_too(make_engine, served):
    engine, model = make_engine(), served()
    gate = Gate()
    engine.observe(gate)
    future = engine.submit(model, blank(model, 4, 4), 0, background=True)
    gate.await_first_batch()
    assert not engine.drain(0.01), "it is still held"
    with pytest.raises(ShuttingDown):
        engine.submit(model, blank(model, 4, 4), 0, background=True)
    gate.open()
    assert engine.drain(PATIENCE_S)
    assert future.done()


def test_closing_fails_waiting_background_work(make_engine, served):
    engine, model = make_engine(), served()
    with held(engine, model):
        waiting = engine.submit(model, blank(model, 4, 4), 0, background=True)
        closer = threading.Thread(target=engine.close)
        closer.start()
        with pytest.raises(ShuttingDown):
            waiting.result(PATIENCE_S)
    closer.join(PATIENCE_S)
    assert engine.background_load.images == 0

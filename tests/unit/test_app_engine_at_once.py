"""One small image of a swift model: refined in the thread that asks, without a future."""

import numpy as np
import pytest
from engine_gate import PATIENCE_S, Gate, blank, random, whole

from app.errors import InferenceFailed, ShuttingDown
from app.refining import lane as lane_module


@pytest.fixture(autouse=True)
def never_worth_waking(monkeypatch):
    """How long a tiny refiner takes depends on the machine's mood."""
    monkeypatch.setattr(lane_module, "_TURN_S", 10)


def await_idle(engine, model):
    """Submit until one is run here: a thread says that it is free when its results are out already."""
    while not (future := engine.submit(model, blank(model, 8, 8), 0)).done():
        future.result(PATIENCE_S)


@pytest.mark.parametrize("noise", [(0, 0), (1, 1)])
def test_its_bytes_and_its_report_are_those_of_an_image_that_was_submitted(make_engine, served, noise):
    engine, model, reports = make_engine(), served(noise=noise), []
    image = random(model, 9, 13)
    assert engine.refine_at_once(model, image, 7) is None, "nothing is known of the model's pace yet"
    await_idle(engine, model)
    engine.observe(reports.append)
    assert np.array_equal(engine.refine_at_once(model, image, 7), whole(model, image, 7))
    assert [(one.images, one.pixels, one.waits_s, one.ok) for one in reports] == [(1, 9 * 13, (0.0,), True)]
    assert engine.load.images == engine.load.pixels == 0


def test_nothing_is_overtaken_and_large_images_wait_for_a_thread(make_engine, served):
    engine, model = make_engine(), served(radius=2)
    await_idle(engine, model)
    assert engine.refine_at_once(model, blank(model, 70, 70), 0) is None
    gate = Gate()
    engine.observe(gate)
    large = engine.submit(model, blank(model, 70, 70), 0)
    assert engine.refine_at_once(model, blank(model, 8, 8), 0) is None
    gate.open()
    large.result(PATIENCE_S)
    await_idle(engine, model)
    assert engine.refine_at_once(model, blank(model, 8, 8), 0) is not None


def test_an_image_that_fails_says_so_and_leaves_nothing_behind(make_engine, served, caplog):
    engine, model = make_engine(), served(poison=200, noise=(1, 0))
    await_idle(engine, model)
    with pytest.raises(InferenceFailed, match="tiny"):
        engine.refine_at_once(model, blank(model, 8, 8) + np.uint8(200), 0)
    with pytest.raises(InferenceFailed, match="TypeError"):
        engine.refine_at_once(model, blank(model, 8, 8), "no number")
    assert "unforeseen" in caplog.text
    assert engine.load.images == 0
    assert engine.refine_at_once(model, blank(model, 8, 8), 0) is not None


def test_an_engine_that_stops_takes_none(make_engine, served):
    engine, model = make_engine(), served()
    await_idle(engine, model)
    engine.drain(PATIENCE_S)
    with pytest.raises(ShuttingDown):
        engine.refine_at_once(model, blank(model, 8, 8), 0)

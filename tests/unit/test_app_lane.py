"""What a turn of a lane costs: it is taken under the engine's lock, by as many threads as there are cores."""

import sys
from threading import Lock

import pytest
from engine_gate import blank

from app.refining.lane import Lane
from app.refining.limits import BatchLimits
from app.refining.submission import Submission

TILE_PIXELS = 1 << 18


@pytest.fixture
def calls_of_a_turn(served, monkeypatch):
    """The function calls of a turn while so many images wait and so many batches run."""
    model = served()
    monkeypatch.setattr(model.session, "at_once", 64)
    limits = BatchLimits(32, 1 << 18, TILE_PIXELS)

    def waiting():
        return Submission(
            blank(model, 64, 64),
            0,
            model.card,
            tile_pixels=TILE_PIXELS,
            submitted_s=0,
            deadline_s=60,
            background=False,
        )

    def count(*, images, batches):
        lane = Lane(model, Lock(), limits, limits)
        lane.extend([waiting() for _ in range(images)], background=False)
        running = [lane.take_batch(0) for _ in range(batches)]
        calls = 0

        def tally(_frame, event, _argument):
            nonlocal calls
            calls += event == "call"

        sys.setprofile(tally)
        try:
            lane.take_expired(1)
            batch = lane.take_batch(1)
        finally:
            sys.setprofile(None)
        assert batch not in {None, *running}
        return calls

    return count


def test_a_turn_costs_no_more_when_many_images_wait(calls_of_a_turn):
    few, many = (calls_of_a_turn(images=images, batches=40) for images in (400, 4000))
    assert many == few


def test_a_turn_costs_no_more_when_many_batches_run(calls_of_a_turn):
    few, many = (calls_of_a_turn(images=1000, batches=batches) for batches in (2, 40))
    assert many <= few

"""What tests of the engine share: a gate that holds the thread of a model, and images to send through it."""

import threading
from contextlib import contextmanager

import numpy as np

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


@contextmanager
def held(engine, model):
    """Hold the thread of `model` right after an inference of one pixel, until the block is left."""
    gate = Gate()
    engine.observe(gate)
    engine.submit(model, blank(model, 1, 1), 0)
    gate.await_first_batch()
    try:
        yield gate
    finally:
        gate.open()


def blank(model, height, width):
    return np.zeros((height, width, model.card.channels), model.card.dtype)


def random(model, height, width, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, model.card.peak + 1, (height, width, model.card.channels)).astype(model.card.dtype)


def whole(model, image, seed=0):
    """The reference: the image alone, whole, straight through ONNX Runtime."""
    spec = model.card.noise
    noise = noise_field(seed, *image.shape[:2], spec)[np.newaxis] if spec.channels else None
    return model.session.run(image[np.newaxis], noise)[0]


def results(futures):
    return [future.result(PATIENCE_S) for future in futures]

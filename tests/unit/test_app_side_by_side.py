"""Batches on several threads: every thread a share, the bytes of one thread, failures and the end."""

import threading

import numpy as np
import pytest

from app.errors import InferenceFailed
from app.refining.devices import choose_provider
from app.refining.session import RefinerSession
from model.noise import noise_field

PROVIDER = choose_provider("cpu")


@pytest.fixture
def opened(tmp_path, write_model):
    sessions = []

    def opens(threads, **options):
        path = tmp_path / f"{len(sessions)}"
        sessions.append(RefinerSession.open(write_model(path, "tiny", **options), PROVIDER, threads))
        return sessions[-1]

    yield opens
    for session in sessions:
        session.close()


def batch(session, count, height, width):
    images = np.random.default_rng(3).integers(0, 200, (count, height, width, session.card.channels))
    spec = session.card.noise
    fields = [noise_field(seed, height, width, spec) for seed in range(count)]
    return images.astype(np.uint8), np.stack(fields) if spec.channels else None


def shapes_run(session, monkeypatch):
    shapes = []
    plain = session._run

    def noting(inner, feed):
        shapes.append((threading.current_thread().name, feed["image"].shape))
        return plain(inner, feed)

    monkeypatch.setattr(session, "_run", noting)
    return shapes


@pytest.mark.parametrize("noise", [(0, 0), (1, 1)])
@pytest.mark.parametrize("count", [1, 2, 3, 4, 7, 16])
@pytest.mark.parametrize("size", [(35, 55), (101, 67)])
def test_the_bytes_are_those_of_one_thread(opened, count, size, noise):
    alone, several = (opened(threads, radius=3, channels=3, noise=noise) for threads in (1, 3))
    images, field = batch(alone, count, *size)
    assert np.array_equal(several.run(images, field), alone.run(images, field))


def test_a_batch_is_shared_among_the_threads_in_its_order(opened, monkeypatch):
    session = opened(3, radius=1)
    shapes = shapes_run(session, monkeypatch)
    session.run(*batch(session, 7, 90, 90))
    assert sorted(shape[0] for _, shape in shapes) == [2, 2, 3]
    assert len({name for name, _ in shapes}) > 1, "they do not wait in one line"


@pytest.mark.parametrize(("count", "size", "shares"), [(1, (35, 55), 1), (2, (90, 90), 1), (2, (35, 55), 2)])
def test_few_large_images_get_all_threads_one_after_the_other_and_small_ones_do_not(
    opened, monkeypatch, count, size, shares
):
    session = opened(3, radius=1)
    shapes = shapes_run(session, monkeypatch)
    session.run(*batch(session, count, *size))
    assert len(shapes) == shares


def test_one_share_that_fails_fails_the_batch_and_the_next_one_is_refined(opened):
    session = opened(3, poison=200)
    images, _ = batch(session, 6, 40, 40)
    poisoned = images.copy()
    poisoned[5, 3, 3] = 200
    with pytest.raises(InferenceFailed, match=r"failed on 6 image\(s\) of 40x40 px"):
        session.run(poisoned, None)
    assert session.run(images, None).shape == images.shape


def test_closed_it_refuses_and_leaves_no_thread(opened):
    session = opened(3)
    images, _ = batch(session, 6, 40, 40)
    session.run(images, None)
    session.close()
    with pytest.raises(InferenceFailed, match="closed"):
        session.run(images, None)
    for thread in threading.enumerate():
        if thread.name.startswith("share of a batch"):
            thread.join(5)
            assert not thread.is_alive()

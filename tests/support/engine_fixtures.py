"""Engines and served models for tests; all are closed again, and no thread is left."""

import threading

import pytest

from app.refining.devices import choose_provider
from app.refining.engine import Engine
from app.refining.models import ModelRepository
from app.settings import Settings


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

    def serve(name="tiny", threads=1, **options):
        write_model(tmp_path / name, name, **options)
        repository = ModelRepository(tmp_path / name, choose_provider("cpu"), threads)
        repositories.append(repository)
        repository.open()
        return repository.get(name)

    yield serve
    for repository in repositories:
        repository.close()

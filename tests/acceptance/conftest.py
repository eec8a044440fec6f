"""A real service behind a real socket, in a thread of this process, and the pictures that are sent to it."""

from __future__ import annotations

import contextlib
import io
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import uvicorn
from PIL import Image

from app.jobs.service import open_jobs
from app.main import create_app
from app.services import Services, open_services
from app.serving import _server_config
from app.settings import Settings

Serve = Callable[..., AbstractContextManager[tuple[httpx.Client, Services]]]


@contextlib.contextmanager
def serve_in_thread(models: Path, **settings: Any) -> Iterator[tuple[httpx.Client, Services]]:
    """Serve `models` until the end of the block, on a free port or `port`; yields a client and services."""
    settings.setdefault("data", models.with_name(f"{models.name}-data"))
    chosen = Settings(models=models, device="cpu", threads=1, codec_threads=2, **settings)
    with open_services(chosen) as services, open_jobs(services) as jobs:
        config = _server_config(create_app(services, jobs), chosen)
        config.port = settings.get("port", 0)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run)
        thread.start()
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.005)
        port = server.servers[0].sockets[0].getsockname()[1]
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
                yield client, services
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture(scope="session")
def serve() -> Serve:
    """The context manager `serve_in_thread(models, **settings)`."""
    return serve_in_thread


@pytest.fixture(scope="session")
def model_root(tmp_path_factory: pytest.TempPathFactory, write_model: Callable[..., Path]) -> Path:
    """Models `grey` and `depth` (+10 levels), `rgb` (+10), `noisy` (grey, with grain), `wide` (a filter)."""
    root = tmp_path_factory.mktemp("models")
    write_model(root, "grey")
    write_model(root, "rgb", channels=3)
    write_model(root, "depth", bit_depth=16)
    write_model(root, "noisy", noise=(1, 0))
    write_model(root, "wide", radius=4)
    return root


@pytest.fixture(scope="session")
def client(model_root: Path) -> Iterator[httpx.Client]:
    """A client of one service with all models of `model_root`; the default model is `grey`."""
    with serve_in_thread(model_root, default_model="grey") as (client, _):
        yield client


Picture = Callable[..., bytes]


def make_picture(
    mode: str = "L", size: tuple[int, int] = (24, 16), kind: str = "PNG", seed: int = 0, **save: Any
) -> bytes:
    """A random picture, encoded; size is (width, height), values stay in 20..200 so that +10 never clips."""
    width, height = size
    random = np.random.default_rng(seed)
    if mode == "I;16":
        array = random.integers(2000, 60000, (height, width)).astype(np.uint16)
        image = Image.fromarray(array)
    elif mode == "P":
        image = Image.fromarray(random.integers(20, 200, (height, width, 3)).astype(np.uint8)).quantize(16)
    else:
        bands = len(Image.new(mode, (1, 1)).getbands())
        array = random.integers(20, 200, (height, width, bands)).astype(np.uint8)
        image = _image(array, mode)
    file = io.BytesIO()
    image.save(file, kind, **save)
    return file.getvalue()


def _image(array: np.ndarray[Any, Any], mode: str) -> Image.Image:
    bands = [Image.fromarray(np.ascontiguousarray(array[:, :, band])) for band in range(array.shape[2])]
    return bands[0] if mode == "L" else Image.merge(mode, bands)


@pytest.fixture(scope="session")
def picture() -> Picture:
    """The function `make_picture(mode, size, kind, seed, **save)`."""
    return make_picture

"""A service in a process of its own: how it starts, what it says, and how it stops."""

from __future__ import annotations

import io
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from PIL import Image

PROGRAM = [sys.executable, "-c", "from app.cli import main; main()", "serve"]
ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def started(models: Path, *flags: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A running service and the line that it greeted with."""
    words = [*PROGRAM, "--models", str(models), "--device", "cpu", "--port", "0", *flags]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(words, cwd=ROOT, text=True, **pipes) as service:
        try:
            yield service, service.stdout.readline()
        finally:
            service.kill()


def url_of(greeting: str) -> str:
    return greeting.rsplit(maxsplit=1)[-1]


def test_the_greeting_names_models_device_and_address(tmp_path: Path, write_model: Callable) -> None:
    write_model(tmp_path, "eyes", 3)
    with started(tmp_path) as (_, greeting):
        assert re.fullmatch(
            r"Simtrue serves eyes v3 on the processor \(CPUExecutionProvider: .*\) at http://127\.0\.0\.1:\d+\n",
            greeting,
        )


def test_requests_in_flight_are_answered_before_the_end(
    tmp_path: Path, write_model: Callable, picture_png: bytes
) -> None:
    write_model(tmp_path, "slow", work=3000)
    with started(tmp_path) as (service, greeting), ThreadPoolExecutor(4) as clients:
        url = url_of(greeting)
        asked = [
            clients.submit(httpx.post, f"{url}/refine", files={"image": picture_png}, timeout=30)
            for _ in range(4)
        ]
        while "simtrue_queue_images 4.0" not in httpx.get(f"{url}/metrics").text:
            assert not any(answer.done() for answer in asked), "all four must be inside at once"
            time.sleep(0.005)

        service.send_signal(signal.SIGTERM)

        assert [answer.result().status_code for answer in asked] == [200] * 4
        assert service.wait(20) == 0
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{url}/health/live")


def test_what_outlasts_the_grace_is_given_up(
    tmp_path: Path, write_model: Callable, picture_png: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_model(tmp_path, "slow", work=20_000)
    monkeypatch.setenv("SIMTRUE_SHUTDOWN_GRACE_S", "1")
    with started(tmp_path) as (service, greeting), ThreadPoolExecutor(1) as client:
        url = url_of(greeting)
        asked = client.submit(httpx.post, f"{url}/refine", files={"image": picture_png}, timeout=60)
        while "simtrue_queue_images 0.0" in httpx.get(f"{url}/metrics").text:
            time.sleep(0.005)
        begun_s = time.monotonic()

        service.send_signal(signal.SIGTERM)
        service.wait(30)

        assert time.monotonic() - begun_s < 10
        assert asked.exception() is not None or asked.result().status_code >= 500


def test_a_port_in_use_is_one_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        words = [*PROGRAM, "--models", str(tmp_path), "--port", str(port)]
        ended = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)

    assert ended.returncode == 1
    assert ended.stderr == (
        f"simtrue: Port {port} of 127.0.0.1 cannot be used: address already in use; "
        "choose another with --port.\n"
    )


def test_a_wrong_setting_is_one_sentence(tmp_path: Path) -> None:
    ended = subprocess.run(
        [*PROGRAM, "--port", "99999"], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False
    )
    assert ended.returncode == 1
    assert ended.stderr.startswith("simtrue: SIMTRUE_PORT is ")
    assert ended.stderr.count("\n") == 1


def test_an_access_is_one_line_and_a_hostile_path_cannot_forge_another(
    tmp_path: Path, write_model: Callable
) -> None:
    write_model(tmp_path)
    with started(tmp_path) as (service, greeting):
        httpx.get(f"{url_of(greeting)}/a%0Ab%20status=200")
        service.send_signal(signal.SIGTERM)
        _, errors = service.communicate(timeout=20)

    (line,) = [line for line in errors.splitlines() if "simtrue.access" in line]
    assert 'method=GET path="/a\\nb status=200" status=404' in line


def test_the_demonstration_refines_every_sample_and_draws_it(tmp_path: Path, write_model: Callable) -> None:
    write_model(tmp_path / "models", "tiny")
    out = tmp_path / "out"

    ended = subprocess.run(
        [sys.executable, "-m", "app.demo", "--out", str(out), "--models", str(tmp_path / "models")],
        cwd=ROOT,
        env=os.environ | {"SIMTRUE_DEVICE": "cpu"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    samples = sorted((ROOT / "app" / "bundled" / "samples").glob("*.json"))
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("annotations came back byte for byte") == len(samples) > 0
    assert str(out / "before-after.png") in ended.stdout
    for sample in samples:
        assert (out / sample.name).read_bytes() == sample.read_bytes()
        assert (out / f"{sample.stem}-before-after.png").stat().st_size > 0


@pytest.fixture
def picture_png() -> bytes:
    """A small grey picture."""
    file = io.BytesIO()
    Image.new("L", (16, 16), 100).save(file, "PNG")
    return file.getvalue()


def test_a_request_whose_header_never_ends_is_refused(tmp_path: Path, write_model: Callable) -> None:
    write_model(tmp_path)
    with started(tmp_path) as (_, greeting):
        port = int(url_of(greeting).rsplit(":", 1)[-1])
        with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nAccept: " + b"image/png," * 6600)
            answer = connection.recv(1000)

        assert answer.startswith(b"HTTP/1.1 431 ")


def test_a_host_that_is_no_name_gets_one_sentence(tmp_path: Path) -> None:
    words = [*PROGRAM, "--models", str(tmp_path), "--host", "a..b"]
    ended = subprocess.run(words, cwd=ROOT, text=True, capture_output=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr.startswith("simtrue: The host 'a..b' cannot be listened on: ")
    assert len(ended.stderr.splitlines()) == 1

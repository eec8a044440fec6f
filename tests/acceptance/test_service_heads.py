"""Whatever comes before a body is bounded: first line, headers, trailers, also when it never ends."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import uvicorn

from app.bounded_http import MAX_HEAD_BYTES
from app.jobs.service import open_jobs
from app.main import create_app
from app.services import open_services
from app.serving import _server_config
from app.settings import Settings

LINE = b"POST /refine HTTP/1.1\r\nHost: x\r\n"


@pytest.fixture(scope="module")
def port(model_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A service read as `simtrue serve` reads its clients."""
    data = tmp_path_factory.mktemp("data")
    settings = Settings(models=model_root, default_model="grey", device="cpu", port=0, data=data)
    with open_services(settings) as services, open_jobs(services) as jobs:
        server = uvicorn.Server(_server_config(create_app(services, jobs), settings))
        listener = socket.create_server(("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started:
            time.sleep(0.005)
        yield listener.getsockname()[1]
        server.should_exit = True
        thread.join()
        listener.close()


def answer_to(port: int, *pieces: bytes) -> bytes:
    """The first bytes of the answer; what is sent after the server closed may be lost."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        try:
            for piece in pieces:
                connection.sendall(piece)
                time.sleep(0.001)
            return connection.recv(4096)
        except ConnectionError:
            return b"reset"


def refused(answer: bytes) -> bool:
    return answer.startswith(b"HTTP/1.1 431 ") or answer == b"reset"


def test_headers_up_to_the_bound_are_taken(port: int) -> None:
    padding = b"X-Much: " + b"y" * (MAX_HEAD_BYTES - 200) + b"\r\n"
    assert answer_to(port, b"GET /health/live HTTP/1.1\r\nHost: x\r\n", padding, b"\r\n").startswith(
        b"HTTP/1.1 200"
    )


@pytest.mark.parametrize(
    "head",
    [
        LINE + b"X-Much: " + b"y" * MAX_HEAD_BYTES + b"\r\n\r\n",
        LINE + b"".join(b"X-%d: y\r\n" % number for number in range(10_000)) + b"\r\n",
        b"GET /" + b"y" * MAX_HEAD_BYTES + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
    ids=["one giant header", "many small ones", "a giant target"],
)
def test_a_head_over_the_bound_is_refused_with_431(port: int, head: bytes) -> None:
    assert answer_to(port, head).startswith(b"HTTP/1.1 431 Request Header Fields Too Large\r\n")


@pytest.mark.parametrize("start", [LINE + b"X-Much: ", LINE + b"X-", b"GET /"])
def test_a_head_that_never_ends_is_refused_though_the_parser_tells_nothing(port: int, start: bytes) -> None:
    assert refused(answer_to(port, start, *[b"y" * 1000] * 1000))


def test_trailers_behind_a_body_are_bounded_as_headers_are(port: int) -> None:
    chunked = LINE + b"Content-Type: image/png\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n"
    assert refused(answer_to(port, chunked, *[b"X-Trailer: " + b"y" * 1000 + b"\r\n"] * 100))


def test_the_bound_is_of_each_request_not_of_the_connection(port: int) -> None:
    padding = b"X-Much: " + b"y" * (MAX_HEAD_BYTES // 2) + b"\r\n"
    request = b"GET /health/live HTTP/1.1\r\nHost: x\r\n" + padding + b"\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        for _ in range(4):
            connection.sendall(request)
            answer = connection.recv(4096)
            while not answer.endswith(b"}") and (more := connection.recv(4096)):  # it comes in two pieces
                answer += more
            assert answer.startswith(b"HTTP/1.1 200")


def test_a_body_of_many_pieces_is_no_head(port: int) -> None:
    head = LINE + b"Content-Type: image/png\r\nContent-Length: 400000\r\n\r\n"
    assert answer_to(port, head, *[b"y" * 40_000] * 10).startswith(b"HTTP/1.1 415")


def test_trailers_are_no_headers(port: int, picture: Callable[..., bytes]) -> None:
    """Else they would count only where the whole request comes in one piece, and could name a sender."""
    body = picture()
    head = LINE + b"Content-Type: image/png\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunks = b"%x\r\n%s\r\n0\r\nAccept: text/html\r\n\r\n" % (len(body), body)
    assert answer_to(port, head + chunks).startswith(b"HTTP/1.1 200")


def test_a_body_behind_an_upgrade_that_nobody_makes_is_no_request(port: int) -> None:
    body = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"
    upgrade = b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Type: image/png\r\n"
    head = LINE + upgrade + b"Content-Length: %d\r\n\r\n" % len(body)
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(head)
        answer = connection.recv(4096)
        with contextlib.suppress(ConnectionError):  # it may be closed already
            connection.sendall(body)
            while more := connection.recv(4096):
                answer += more
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"\r\nconnection: close\r\n" in answer

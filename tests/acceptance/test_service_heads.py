"""Whatever comes before a body is bounded: first line, headers, trailers, also when it never ends."""

from __future__ import annotations

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


H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"
WEBSOCKET = (
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Sec-WebSocket-Version: 13\r\n"
)


def statuses(port: int, *pieces: bytes) -> list[bytes]:
    """The statuses of all answers; the last request has to end the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        for piece in pieces:
            connection.sendall(piece)
            time.sleep(0.001)
        answers = b""
        while more := connection.recv(65536):
            answers += more
    return [answer[:3] for answer in answers.split(b"HTTP/1.1 ")[1:]]


@pytest.mark.parametrize("upgrade", [H2C, WEBSOCKET], ids=["h2c", "websocket"])
@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("piece_bytes", [1 << 20, 100, 7])
def test_who_asks_for_an_upgrade_is_answered_without_one(
    port: int, picture: Callable[..., bytes], upgrade: bytes, chunked: bool, piece_bytes: int
) -> None:
    image = picture(size=(8, 8))
    if chunked:
        lines, body = b"Transfer-Encoding: chunked\r\n", b"%x\r\n%s\r\n0\r\n\r\n" % (len(image), image)
    else:
        lines, body = b"Content-Length: %d\r\n" % len(image), image
    head = LINE + b"Content-Type: image/png\r\n" + lines
    live = b"GET /health/live HTTP/1.1\r\nHost: x\r\n"
    message = b"".join(
        (
            *(head, upgrade, b"\r\n", body),
            *(live, upgrade, b"\r\n"),
            *(head, b"\r\n", body),
            *(head, upgrade, b"Connection: close\r\n\r\n", body),
        )
    )
    pieces = [message[start : start + piece_bytes] for start in range(0, len(message), piece_bytes)]

    assert statuses(port, *pieces) == [b"200"] * 4


def test_a_body_behind_an_upgrade_that_nobody_makes_is_no_request(port: int) -> None:
    body = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"
    head = LINE + H2C + b"Content-Type: image/png\r\nContent-Length: %d\r\n\r\n" % len(body)
    last = b"GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

    assert statuses(port, head, body, last) == [b"415", b"404"]


def test_many_requests_for_upgrades_in_one_piece_are_answered(port: int) -> None:
    live = b"GET /health/live HTTP/1.1\r\nHost: x\r\n" + H2C
    last = live.replace(b"Upgrade,", b"close,")

    assert statuses(port, (live + b"\r\n") * 2000 + last + b"\r\n") == [b"200"] * 2001

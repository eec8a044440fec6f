"""A small request that comes in one piece goes a shorter way: it gets the same answer, byte for byte."""

from __future__ import annotations

import json
import logging
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.responses import Response

from app.routes.whole import WholeRequests

Picture = Callable[..., bytes]
Served = AbstractContextManager[tuple[httpx.Client, Any]]
BOX = b'{"objects": [{"label": "a", "box": [2.0, 3, 1.9e1, 14.50]}],   "x": "\xc3\xa4"}'


@pytest.fixture(scope="module")
def ways() -> Iterator[list[str]]:
    """How every request to a service began: at once, later, or long."""
    begun: list[str] = []
    begin = WholeRequests.begin

    def watched(self: WholeRequests, *args: Any) -> None:
        *of_asgi, done = args

        def kept(found: Any) -> None:
            kind = "long" if found is None else "at once" if isinstance(found, Response) else "later"
            begun.append(kind)
            done(found)

        begin(self, *of_asgi, kept)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WholeRequests, "begin", watched)
        yield begun


@pytest.fixture(scope="module")
def server(serve: Any, model_root: Path, ways: list[str]) -> Iterator[httpx.Client]:
    """A service that knows how fast its models are."""
    limits = {"max_pixels": 2_000, "max_queue_pixels": 4_000, "max_upload_bytes": 30_000}
    with serve(model_root, default_model="grey", **limits) as (client, _):
        yield client


def form(*parts: tuple[str, bytes], headers: tuple[str, ...] = (), target: str = "/refine") -> bytes:
    """A request whose form has (name, data) parts; images have a file name."""
    pieces = [
        b'--b\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n'
        % (name.encode(), b'; filename="0.png"' if name == "image" else b"", data)
        for name, data in parts
    ]
    return request(b"".join(pieces) + b"--b--\r\n", "multipart/form-data; boundary=b", headers, target)


def request(body: bytes, content_type: str, headers: tuple[str, ...] = (), target: str = "/refine") -> bytes:
    lines = [f"POST {target} HTTP/1.1", "Host: x", f"Content-Type: {content_type}", *headers]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "\r\n"]).encode() + body


def answers(connection: socket.socket, count: int = 1) -> list[bytes]:
    """So many answers, whole; fewer where the server hangs up before."""
    received, found = b"", []
    while len(found) < count and (data := connection.recv(1 << 16)):
        received = (received + data).removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
        while (end := received.find(b"\r\n\r\n") + 4) > 3:
            length = re.search(rb"content-length: (\d+)", received[:end])
            assert length is not None, received
            if len(received) < end + int(length[1]):
                break
            found.append(received[: end + int(length[1])])
            received = received[len(found[-1]) :]
    return found


def sent(client: httpx.Client, message: bytes, *, pieces: int) -> bytes:
    """The answer to one request on a connection of its own."""
    with socket.create_connection(("127.0.0.1", client.base_url.port or 0), timeout=30) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        size = -(-len(message) // pieces)
        for start in range(0, len(message), size):
            time.sleep(0.02 if start else 0)
            connection.sendall(message[start : start + size])
        return b"".join(answers(connection))


def comparable(answer: bytes) -> bytes:
    """Without what differs from one time to the next."""
    for changing in (rb"date: [^\r]+", rb"content-length: \d+", rb'"timings_ms":\{[^}]+\}'):
        answer = re.sub(changing, b"", answer)
    return answer


def options(**chosen: Any) -> tuple[str, bytes]:
    return "options", json.dumps(chosen).encode()


def good(picture: Picture) -> dict[str, bytes]:
    """Requests of one small image."""
    image = ("image", picture())
    return {
        "an image": form(image),
        "annotations": form(image, ("annotations", BOX)),
        "a JSON list": form(image, ("annotations", b'[ {"box":[1,1,9,9]}, 1e400 ]')),
        "an image back": form(image, headers=("Accept: image/*",)),
        "several accepted": form(image, headers=("Accept: text/html", "Accept: application/json;q=0.9")),
        "options": form(
            image, ("annotations", BOX), options(strength=0.5, seed=7, thresholds={"below": "report"})
        ),
        "no strength": form(image, options(strength=0)),
        "another model": form(("image", picture("RGB")), ("model", b"rgb")),
        "grain": form(image, ("model", b"noisy")),
        "lifted": form(("image", picture("LA"))),
        "sixteen bits": form(("image", picture("I;16")), ("model", b"depth")),
        "JPEG": form(("image", picture(kind="JPEG"))),
        "the connection's end": form(image, headers=("Connection: close",)),
        "an old protocol": form(image).replace(b"HTTP/1.1", b"HTTP/1.0", 1),
        "chunks": re.sub(
            rb"Content-Length: (\d+)\r\n\r\n(.*)$",
            lambda found: (
                b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (int(found[1]), found[2])
            ),
            form(image),
            flags=re.DOTALL,
        ),
        "a forwarded one": form(image, headers=("X-Forwarded-For: 203.0.113.9",)),
    }


def refused(picture: Picture) -> dict[str, bytes]:
    """Requests whose one small image is not refined."""
    image = ("image", picture())
    return {
        "nothing acceptable": form(image, headers=("Accept: text/html",)),
        "no such model": form(image, ("model", b"absent")),
        "no such option": form(image, options(colour=1)),
        "no JSON options": form(image, ("options", b"{")),
        "impossible variants": form(image, options(variants=2)),
        "no JSON annotations": form(image, ("annotations", b"{,}")),
        "no image": form(("image", b"GIF89a" + bytes(40))),
        "a truncated image": form(("image", picture()[:-30])),
        "a broken checksum": form(("image", picture()[:-4] + b"abcd")),
        "too many pixels": form(("image", picture(size=(60, 50)))),
        "no such format": form(image, options(output={"format": "gif"})),
        "a format that is not accepted": form(
            image, options(output={"format": "jpeg"}), headers=("Accept: image/png",)
        ),
    }


def unusual(picture: Picture) -> dict[str, bytes]:
    """Requests that only the long way knows."""
    image = ("image", picture())
    return {
        "two images": form(image, image),
        "no part": form(),
        "no image part": form(("annotations", b"{}")),
        "three documents": form(image, ("annotations", b"1"), ("annotations", b"2")),
        "an unknown part": form(image, ("colour", b"1")),
        "a query": form(image, target="/refine?seed=1"),
        "an image as the body": request(picture(), "image/png"),
        "another type": request(picture(), "text/plain"),
        "a broken form": request(b"--b\r\n\r\n", "multipart/form-data; boundary=b"),
        "much to read": form(image, ("annotations", b"[" + b" " * 5000 + b"]")),
        "a region to lock": form(image, options(lock=[{"box": [1, 1, 5, 5]}])),
        "WebP": form(("image", picture(kind="WEBP"))),
        "a profile larger than it looks": form(("image", picture(icc_profile=bytes(3 << 20)))),
        "too many bytes": form(("image", bytes(31_000))),
        "a wait for leave": form(image, headers=("Expect: 100-continue",)),
        "another path": form(image, target="/refine/"),
    }


def warmed(client: httpx.Client, message: bytes) -> bytes:
    """The answer in one piece, once the model is known to be swift and its thread has stepped back."""
    sent(client, message, pieces=1)
    time.sleep(0.01)
    return sent(client, message, pieces=1)


@pytest.mark.parametrize("name", good(lambda *_, **__: b""))
def test_an_answer_does_not_depend_on_the_pieces_that_a_request_came_in(
    server: httpx.Client, ways: list[str], picture: Picture, name: str
) -> None:
    message = good(picture)[name]
    whole = warmed(server, message)
    assert ways.pop() in ("at once", "later")
    count = len(ways)
    assert comparable(whole) == comparable(sent(server, message, pieces=2))
    assert ways[count:] == [], "what comes in pieces goes the long way"
    assert b" 200 OK" in whole


@pytest.mark.parametrize("name", refused(lambda *_, **__: b""))
def test_a_refusal_does_not_depend_on_the_pieces_that_a_request_came_in(
    server: httpx.Client, ways: list[str], picture: Picture, name: str
) -> None:
    message = refused(picture)[name]
    whole = sent(server, message, pieces=1)
    assert ways.pop() in ("at once", "later"), "one of them is refused behind its inference"
    assert comparable(whole) == comparable(sent(server, message, pieces=2))
    assert b"application/problem+json" in whole


@pytest.mark.parametrize("name", unusual(lambda *_, **__: b""))
def test_what_is_unusual_goes_the_long_way(
    server: httpx.Client, ways: list[str], picture: Picture, name: str
) -> None:
    message = unusual(picture)[name]
    ways.clear()
    whole = sent(server, message, pieces=1)
    assert ways in ([], ["long"])
    assert comparable(whole) == comparable(sent(server, message, pieces=2))


def test_small_images_of_a_swift_model_are_answered_at_once(
    server: httpx.Client, ways: list[str], picture: Picture
) -> None:
    message = form(("image", picture()), ("annotations", BOX))
    ways.clear()
    while ways.count("at once") < 3:
        assert len(ways) < 1000
        answer = sent(server, message, pieces=1)
    assert BOX in answer


def test_requests_before_the_answer_are_answered_in_their_order(
    server: httpx.Client, ways: list[str], picture: Picture
) -> None:
    seeds = range(300)
    messages = [form(("image", picture()), options(seed=seed), headers=("Accept: */*",)) for seed in seeds]
    ways.clear()
    with socket.create_connection(("127.0.0.1", server.base_url.port or 0), timeout=30) as connection:
        connection.sendall(b"".join(messages))
        found = answers(connection, len(messages))
    assert [json.loads(answer.partition(b"\r\n\r\n")[2])["images"][0]["seed"] for answer in found] == [*seeds]


def test_both_ways_count_and_log_alike(
    server: httpx.Client, picture: Picture, caplog: pytest.LogCaptureFixture
) -> None:
    def counts() -> dict[str, float]:
        rows = re.findall(r"^(simtrue_(?:req|ref|im|ver)\w+_(?:total|count)\S*) (\S+)$", page(), re.MULTILINE)
        return {name: float(value) for name, value in rows if "created" not in name}

    def page() -> str:
        return server.get("/metrics").text

    def change(message: bytes, pieces: int) -> tuple[dict[str, float], list[str]]:
        before = counts()
        caplog.clear()
        sent(server, message, pieces=pieces)
        after = counts()
        lines = [re.sub(r"(ms|bytes)=\S+", "", one.getMessage()) for one in caplog.records]
        grown = {
            name: after[name] - before.get(name, 0) for name in after if after[name] != before.get(name, 0)
        }
        return grown, [line for line in lines if "path=/refine" in line]

    with caplog.at_level(logging.INFO, "simtrue.access"):
        for sender, message in (
            ("203.0.113.9", form(("image", picture()), headers=("X-Forwarded-For: 203.0.113.9",))),
            ("127.0.0.1", form(("image", b"nothing"))),
        ):
            whole, lines = change(message, 1)
            assert f"client={sender} " in lines[0]
            assert (whole, lines) == change(message, 2)
            assert len(lines) == 1
            assert any("requests_total" in name for name in whole)


def test_nothing_is_held_after_an_answer(
    serve: Any, model_root: Path, ways: list[str], picture: Picture
) -> None:
    """There is room for eight of the largest requests and the pixels of one image."""
    limits = {"max_upload_bytes": 1024, "max_pixels": 384, "max_queue_pixels": 384}
    with serve(model_root, default_model="grey", **limits) as (client, _):
        for message in (form(("image", picture())), form(("image", picture()[:-30]))) * 20:
            answer = sent(client, message, pieces=1)
            assert b"503 Service" not in answer


def test_small_images_that_come_together_share_room_for_one(
    serve: Any, model_root: Path, ways: list[str], picture: Picture
) -> None:
    limits = {"max_pixels": 384, "max_queue_pixels": 384}
    with serve(model_root, default_model="grey", **limits) as (client, _):
        message = form(("image", picture()), options(strength=0))
        ways.clear()
        address = ("127.0.0.1", client.base_url.port)
        clients = [socket.create_connection(address, timeout=30) for _ in range(40)]
        for connection in clients:
            connection.sendall(message)
        found = [answers(connection)[0] for connection in clients]
        for connection in clients:
            connection.close()
        assert [answer[:15] for answer in found] == [b"HTTP/1.1 200 OK"] * 40
        assert ways == ["at once"] * 40


@pytest.fixture
def slow(tmp_path: Path, write_model: Callable[..., Path]) -> Path:
    """A model that works some tenths of a second on every batch."""
    write_model(tmp_path / "slow", "slow", work=1500)
    return tmp_path / "slow"


def test_an_image_that_waits_for_the_engine_has_its_time(
    serve: Any, slow: Path, ways: list[str], picture: Picture
) -> None:
    with serve(slow, request_timeout_s=0.1) as (client, _):
        message = form(("image", picture()))
        answer = sent(client, message, pieces=1)
        assert ways.pop() == "later"
        assert b" 504 " in answer
        assert comparable(answer) == comparable(sent(client, message, pieces=2))


def test_who_hangs_up_frees_the_place_of_an_image_that_waits(
    serve: Any, slow: Path, ways: list[str], picture: Picture
) -> None:
    with serve(slow, max_queue_images=2) as (client, services):
        message = form(("image", picture()))
        gone = [socket.create_connection(("127.0.0.1", client.base_url.port)) for _ in range(2)]
        for connection in gone:
            connection.sendall(message)
        while services.engine.load.images < 2:
            time.sleep(0.001)
        assert b" 503 " in sent(client, message, pieces=1)
        for connection in gone:
            connection.close()
        give_up_s = time.monotonic() + 20
        while 'route="/refine",status="499"} 2.0' not in client.get("/metrics").text:
            assert time.monotonic() < give_up_s
        while services.engine.load.images:
            assert time.monotonic() < give_up_s
            time.sleep(0.001)
        assert b" 200 " in sent(client, message, pieces=1)

"""Each limit has its own status and sentence; nothing is read, queued or waited for beyond it."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

Picture = Callable[..., bytes]


@pytest.fixture(scope="module")
def slow_root(tmp_path_factory: pytest.TempPathFactory, write_model: Callable[..., Path]) -> Path:
    """A model that works some tenths of a second on every batch."""
    root = tmp_path_factory.mktemp("slow")
    write_model(root, "slow", work=1500)
    return root


def slug(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    return answer.status_code, answer.json()["type"].removeprefix("urn:simtrue:problem:")


@pytest.fixture(scope="module")
def small(serve: Any, model_root: Path) -> Iterator[httpx.Client]:
    """A service with narrow limits."""
    limits = {
        "max_upload_bytes": 20_000,
        "max_annotation_bytes": 100,
        "max_pixels": 2_000,
        "max_images_per_request": 3,
        "max_variants": 2,
        "max_queue_pixels": 3_000,
    }
    with serve(model_root, default_model="noisy", **limits) as (client, _):
        yield client


def test_a_body_that_announces_too_much_is_refused_before_it_is_read(small: httpx.Client) -> None:
    port = small.base_url.port
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.putrequest("POST", "/refine")
    connection.putheader("Content-Type", "multipart/form-data; boundary=a")
    connection.putheader("Content-Length", "1000000000")
    connection.endheaders()

    answer = connection.getresponse()

    assert answer.status == 413
    assert b"has 1000000000 bytes, but the limit is 20000 bytes" in answer.read()
    connection.close()


def test_a_body_that_streams_too_much_is_stopped(small: httpx.Client) -> None:
    def endless() -> Iterator[bytes]:
        yield b'--a\r\nContent-Disposition: form-data; name="image"\r\n\r\n'
        for _ in range(100):
            yield b"x" * 1000

    answer = small.post(
        "/refine", content=endless(), headers={"Content-Type": "multipart/form-data; boundary=a"}
    )

    assert slug(answer) == (413, "body-too-large")


def test_annotations_have_their_own_limit(small: httpx.Client, picture: Picture) -> None:
    answer = small.post("/refine", files={"image": picture(), "annotations": b"[" + b" " * 100 + b"]"})
    assert slug(answer) == (413, "body-too-large")
    assert "`annotations` is larger than its limit of 100 bytes" in answer.json()["detail"]


def test_images_in_one_request_are_limited(small: httpx.Client, picture: Picture) -> None:
    answer = small.post("/refine", files=[("image", picture(size=(2, 2)))] * 4)
    assert slug(answer) == (400, "too-many-images")


def test_pixels_of_one_image_are_limited(small: httpx.Client, picture: Picture) -> None:
    assert slug(small.post("/refine", files={"image": picture(size=(50, 41))})) == (422, "too-many-pixels")


def test_pixels_of_all_variants_are_limited(small: httpx.Client, picture: Picture) -> None:
    answer = small.post(
        "/refine", files={"image": picture(size=(40, 40))}, data={"options": '{"variants": 2}'}
    )
    assert slug(answer) == (422, "too-many-pixels")


def test_variants_are_limited(small: httpx.Client, picture: Picture) -> None:
    answer = small.post("/refine", files={"image": picture()}, data={"options": '{"variants": 3}'})
    assert slug(answer) == (422, "invalid-options")


def test_images_that_only_fit_one_after_the_other_are_still_refined(
    small: httpx.Client, picture: Picture
) -> None:
    answer = small.post("/refine", files=[("image", picture("L", (45, 44), "JPEG"))] * 3)
    assert answer.status_code == 200, answer.text


def test_a_full_queue_answers_503_with_a_time_to_come_back(
    serve: Any, slow_root: Path, picture: Picture
) -> None:
    with serve(slow_root, max_queue_images=1) as (client, services), ThreadPoolExecutor(1) as other:
        first = other.submit(client.post, "/refine", files={"image": picture()})
        while services.engine.load.images == 0:
            time.sleep(0.001)

        second = client.post("/refine", files={"image": picture()})

        assert slug(second) == (503, "engine-busy")
        assert int(second.headers["retry-after"]) >= 1
        assert first.result().status_code == 200


def test_a_request_over_its_time_answers_504(serve: Any, slow_root: Path, picture: Picture) -> None:
    with serve(slow_root, request_timeout_s=0.1) as (client, _):
        answer = client.post("/refine", files={"image": picture()})

        assert slug(answer) == (504, "request-timeout")
        assert answer.json()["detail"] == (
            "The request was not answered within 0.1 s, the limit of SIMTRUE_REQUEST_TIMEOUT_S; "
            "POST /jobs takes what needs longer."
        )


def test_a_body_that_never_ends_answers_504(serve: Any, model_root: Path) -> None:
    with serve(model_root, request_timeout_s=0.2) as (client, _):
        connection = http.client.HTTPConnection("127.0.0.1", client.base_url.port, timeout=10)
        connection.putrequest("POST", "/refine")
        connection.putheader("Content-Type", "multipart/form-data; boundary=a")
        connection.putheader("Content-Length", "100")
        connection.endheaders(b"--a\r\n")
        assert connection.getresponse().status == 504
        connection.close()


def test_a_client_that_hangs_up_frees_its_place_in_the_queue(
    serve: Any, slow_root: Path, picture: Picture
) -> None:
    with serve(slow_root) as (client, services):
        request = client.build_request("POST", "/refine", files=[("image", picture(size=(8, 8)))] * 16)
        head = f"POST /refine HTTP/1.1\r\nHost: x\r\nContent-Type: {request.headers['content-type']}\r\n"
        with socket.create_connection(("127.0.0.1", client.base_url.port)) as connection:
            body = request.read()
            connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            while services.engine.load.images == 0:
                time.sleep(0.001)
            begun_s = time.monotonic()

        while services.engine.load.images:
            assert time.monotonic() - begun_s < 5
            time.sleep(0.001)

        metrics = client.get("/metrics").text
        assert 'simtrue_requests_total{method="POST",route="/refine",status="499"} 1.0' in metrics


def test_128_requests_at_once_are_all_answered(serve: Any, model_root: Path, picture: Picture) -> None:
    sent = picture(size=(32, 32))

    with serve(model_root) as (client, _), ThreadPoolExecutor(128) as clients:
        limits = httpx.Limits(max_connections=128)
        with httpx.Client(base_url=client.base_url, limits=limits, timeout=60) as many:
            statuses = list(
                clients.map(lambda _: many.post("/refine", files={"image": sent}).status_code, range(128))
            )

    assert statuses == [200] * 128


FORM = b"POST /refine HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=a\r\n"


def test_bodies_beyond_the_memory_set_aside_are_told_to_come_back(serve: Any, model_root: Path) -> None:
    with serve(model_root, max_upload_bytes=1024, request_timeout_s=5) as (client, _):
        unfinished = [socket.create_connection(("127.0.0.1", client.base_url.port)) for _ in range(8)]
        part = b'--a\r\nContent-Disposition: form-data; name="image"\r\n\r\n'
        for connection in unfinished:
            connection.sendall(FORM + b"Content-Length: 1024\r\n\r\n" + part.ljust(1023, b"x"))
        body = {
            "content": part.ljust(900, b"x") + b"\r\n--a--",
            "headers": {"Content-Type": "multipart/form-data; boundary=a"},
        }
        deadline_s = time.monotonic() + 4
        while slug(client.post("/refine", **body)) != (503, "engine-busy"):
            assert time.monotonic() < deadline_s

        for connection in unfinished:
            connection.close()

        while slug(client.post("/refine", **body)) == (503, "engine-busy"):
            assert time.monotonic() < deadline_s


def test_bodies_that_are_announced_but_do_not_come_keep_nobody_out(
    serve: Any, model_root: Path, picture: Picture
) -> None:
    with serve(model_root, max_upload_bytes=4096) as (client, _), contextlib.ExitStack() as stack:
        for _ in range(20):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", client.base_url.port)))
            connection.sendall(FORM + b"Content-Length: 4096\r\n\r\n--a\r\n")

        assert client.post("/refine", files={"image": picture()}).status_code == 200


def test_pixels_decoded_at_once_are_limited_over_all_requests(
    serve: Any, model_root: Path, picture: Picture
) -> None:
    limits = {"max_pixels": 1_000_000, "max_queue_pixels": 2_000_000}
    sent = {"files": {"image": picture(size=(1000, 1000))}, "data": {"options": '{"strength": 0}'}}

    with serve(model_root, **limits) as (client, services), ThreadPoolExecutor(8) as clients:
        blocked = threading.Event()
        for _ in range(2):  # strength 0 needs no inference, so the engine's own limit cannot help
            services.codecs.submit(blocked.wait, 10)
        asked = [clients.submit(client.post, "/refine", **sent) for _ in range(8)]
        time.sleep(0.2)
        blocked.set()
        statuses = sorted(answer.result().status_code for answer in asked)
        alone = client.post("/refine", **sent).status_code

    assert statuses[:2] == [200, 200]
    assert statuses[-1] == 503
    assert alone == 200

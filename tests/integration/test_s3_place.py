"""A bucket as a place: against a real HTTP server that plays S3, and against servers that fail."""

from __future__ import annotations

import http.server
import multiprocessing
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from app.datasets import remote_place
from app.datasets.folder_place import FolderPlace
from app.datasets.place import copy
from app.datasets.remote_place import RemotePlace
from app.errors import InvalidRequest, NoSuchPlace, PlaceUnavailable

ROOT = Path(__file__).resolve().parents[2]

Answer = Callable[[http.server.BaseHTTPRequestHandler], None]
Pretend = Callable[[Answer], RemotePlace]


@pytest.fixture
def place(bucket: str, s3_endpoint: str) -> RemotePlace:
    return RemotePlace(f"s3://{bucket}/set", s3_endpoint)


@pytest.fixture
def pretend(s3_endpoint: str) -> Iterator[Pretend]:
    """A place on a server of which every answer is made by a function; its requests are in `requests`."""
    servers = []

    def started(answer: Answer) -> RemotePlace:
        class Handler(http.server.BaseHTTPRequestHandler):
            do_GET = do_HEAD = do_PUT = do_POST = answer

            def log_message(self, *_words: object) -> None:
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return RemotePlace("s3://bucket/set", f"http://127.0.0.1:{server.server_port}")

    yield started
    for server in servers:
        server.shutdown()
        server.server_close()


def send(request: http.server.BaseHTTPRequestHandler, status: int, body: str) -> None:
    """One answer, with the body that S3 would send."""
    request.rfile.read(int(request.headers.get("Content-Length") or 0))
    data = body.encode()
    request.send_response(status)
    request.send_header("Content-Length", str(len(data)))
    request.end_headers()
    if request.command != "HEAD":
        request.wfile.write(data)


def refuse(status: int, code: str) -> Answer:
    body = f"<Error><Code>{code}</Code><Message>Because of {code}</Message></Error>"
    return lambda request: send(request, status, body)


def page_of_a_thousand(request: http.server.BaseHTTPRequestHandler) -> None:
    """One page of a list that goes on for ever."""
    keys = "".join(
        f"<Contents><Key>set/{number:0100}</Key><Size>1</Size></Contents>" for number in range(1000)
    )
    more = "<IsTruncated>true</IsTruncated><NextContinuationToken>more</NextContinuationToken>"
    send(request, 200, f"<ListBucketResult><Name>bucket</Name>{more}{keys}</ListBucketResult>")


def test_more_objects_than_fit_on_a_page_are_all_listed(
    place: RemotePlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "3")
    names = {f"{number % 2}/{number}" for number in range(10)}
    for name in names:
        place.write(name, b"")
    assert sorted(place.names()) == sorted(names)


def test_a_listing_keeps_one_page_in_memory(pretend: Pretend) -> None:
    names = pretend(page_of_a_thousand).names()
    next(names)
    peaks = []
    tracemalloc.start()
    try:
        for count in (2_000, 30_000):
            tracemalloc.reset_peak()
            assert sum(1 for _ in islice(names, count)) == count
            peaks.append(tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]


def test_a_page_is_asked_for_when_the_one_before_is_used_up(pretend: Pretend) -> None:
    asked: list[str] = []

    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        asked.append(request.path)
        page_of_a_thousand(request)

    names = pretend(answer).names()
    assert asked == []
    for count, pages in ((1, 1), (999, 1), (1, 2)):
        assert len(list(islice(names, count))) == count
        assert len(asked) == pages


def test_only_what_lies_below_the_prefix_is_listed(place: RemotePlace, s3_client: Any) -> None:
    bucket = place.uri.split("/")[2]
    for key in ("set/a", "set-2/b", "set", "c", "set/folder/"):
        s3_client.put_object(Bucket=bucket, Key=key, Body=b"")
    assert list(place.names()) == ["a"]


@pytest.mark.parametrize("key", ["set//a", "set/../secret/a", "set/./a"])
def test_keys_that_are_no_paths_are_refused_with_their_names(
    place: RemotePlace, s3_client: Any, key: str
) -> None:
    s3_client.put_object(Bucket=place.uri.split("/")[2], Key=key, Body=b"")
    with pytest.raises(InvalidRequest, match="is no path of a file in a set"):
        list(place.names())


def test_a_name_that_s3fs_would_cut_is_refused(place: RemotePlace) -> None:
    with pytest.raises(InvalidRequest, match="versionId"):
        place.read("a?versionId=1")


def test_a_large_object_is_sent_and_read_in_parts(place: RemotePlace, tmp_path: Path) -> None:
    data = os.urandom(40 << 20)
    folder = FolderPlace(tmp_path)
    folder.write("a", data)
    assert copy(folder, "a", place, "a") == copy(place, "a", folder, "b")
    assert (tmp_path / "b").read_bytes() == data


def test_an_upload_that_was_given_up_leaves_no_parts(place: RemotePlace, s3_client: Any) -> None:
    with pytest.raises(KeyError), place.writing("a") as file:  # noqa: PT012
        file.write(bytes(remote_place.PART_BYTES + 1))
        raise KeyError
    assert "Uploads" not in s3_client.list_multipart_uploads(Bucket=place.uri.split("/")[2])


def test_a_writer_that_is_killed_leaves_nothing_to_be_listed(place: RemotePlace) -> None:
    program = f"""
import pickle
place = pickle.loads({pickle.dumps(place)!r})
with place.writing("a") as file:
    file.write(bytes({remote_place.PART_BYTES + 1}))
    print("half", flush=True)
    input()
"""
    writer = subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == b"half\n"
    writer.send_signal(signal.SIGKILL)
    writer.communicate()
    assert list(place.names()) == []


def test_a_bucket_that_is_not_there_is_told(s3_endpoint: str) -> None:
    place = RemotePlace("s3://no-such-bucket/set", s3_endpoint)
    for use in (lambda: list(place.names()), lambda: place.read("a"), lambda: place.write("a", b"")):
        with pytest.raises(NoSuchPlace) as told:
            use()
        assert told.value.detail == f"There is no bucket 'no-such-bucket' at {s3_endpoint}."


@pytest.mark.parametrize(
    "code", ["AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken"]
)
def test_access_that_is_denied_is_told(pretend: Pretend, code: str) -> None:
    place = pretend(refuse(403, code))
    for use in (lambda: list(place.names()), lambda: place.read("a"), lambda: place.write("a", b"")):
        with pytest.raises(
            PlaceUnavailable, match=rf"does not let this service use .*: Because of {code}\.$"
        ):
            use()
    with pytest.raises(PlaceUnavailable, match="does not let this service use"):
        place.exists("a")


def test_one_object_that_lies_in_an_archive_does_not_make_the_place_unavailable(pretend: Pretend) -> None:
    with pytest.raises(OSError, match="Because of InvalidObjectState"):
        pretend(refuse(403, "InvalidObjectState")).read("a")


@pytest.mark.parametrize(("status", "code"), [(500, "InternalError"), (503, "SlowDown")])
def test_a_server_in_trouble_is_tried_again_and_then_told(pretend: Pretend, status: int, code: str) -> None:
    asked: list[str] = []

    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        asked.append(request.path)
        refuse(status, code)(request)

    with pytest.raises(PlaceUnavailable, match=f"Because of {code}"):
        pretend(answer).read("a")
    assert 2 <= len(asked) <= 8


def test_trouble_that_passes_is_not_noticed(pretend: Pretend) -> None:
    answers = iter([refuse(503, "SlowDown"), lambda request: send(request, 200, "content")])

    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        next(answers)(request)

    assert pretend(answer).read("a") == b"content"


@pytest.mark.parametrize("status", [200, 404])
def test_a_server_that_is_not_s3_is_told(pretend: Pretend, status: int) -> None:
    with pytest.raises(PlaceUnavailable, match=r"does not answer as S3 does|cannot be reached"):
        list(pretend(lambda request: send(request, status, "<html>Welcome</html><p>")).names())


def test_an_endpoint_where_nobody_listens_is_told(s3_endpoint: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{taken.getsockname()[1]}"
    for use in (lambda place: list(place.names()), lambda place: place.write("a", b"")):
        with pytest.raises(PlaceUnavailable, match=f"{endpoint} cannot be reached for s3://bucket/set"):
            use(RemotePlace("s3://bucket/set", endpoint))


def test_a_server_that_stays_silent_is_given_up(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_place, "READ_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        place = RemotePlace("s3://bucket/set", f"http://127.0.0.1:{silent.getsockname()[1]}")
        begin = time.monotonic()
        with pytest.raises(PlaceUnavailable, match="cannot be reached"):
            place.read("a")
        assert time.monotonic() - begin < 20


def test_a_connection_that_breaks_while_reading_names_the_place_that_is_read(
    pretend: Pretend, place: RemotePlace
) -> None:
    def cut(request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", "1000")
        request.send_header("ETag", '"1"')
        request.end_headers()
        if request.command == "GET":
            request.wfile.write(b"only this")

    broken = pretend(cut)
    with pytest.raises(PlaceUnavailable, match=f"{broken.endpoint} cannot be reached"):
        copy(broken, "a", place, "a")
    assert list(place.names()) == []


def test_without_credentials_the_sentence_says_so(pretend: Pretend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(PlaceUnavailable, match="This service has no credentials for s3://bucket/set/a"):
        pretend(page_of_a_thousand).read("a")


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_place_in_use_goes_on_in_a_child_process_and_here(place: RemotePlace, method: str) -> None:
    place.write("a", b"1")
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context(method)) as processes:
        assert processes.submit(place.read, "a").result(timeout=60) == b"1"
        processes.submit(place.write, "b", b"2").result(timeout=60)
    assert place.read("b") == b"2"


def test_without_the_packages_the_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_place, "find_spec", lambda _name: None)
    with pytest.raises(PlaceUnavailable, match=r"pip install 'simtrue\[s3\]'"):
        RemotePlace("s3://bucket/set")


def test_nothing_of_s3_is_loaded_until_a_bucket_is_used() -> None:
    program = """
import sys, app.cli
from app.datasets.sources import open_source
from app.settings import Settings
open_source("s3://bucket/set", Settings(s3_prefixes=("s3://bucket",)))
print(sorted({name.partition(".")[0] for name in sys.modules} & {"fsspec", "s3fs", "botocore", "aiohttp"}))
"""
    printed = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert printed == "[]\n"

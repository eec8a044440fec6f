"""`simtrue jobs …` against a real service: sent as it is packed, followed and fetched over what breaks."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import json
import signal
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner, Result

from app.cli import cli
from app.client.answers import Job
from app.client.download import Download, partial_of
from app.client.following import Away, events_in, follow
from app.client.service import Service
from app.errors import BadAnswer

Picture = Callable[..., bytes]
ROOT = Path(__file__).resolve().parents[2]


def run(url: object, *words: object) -> Result:
    return CliRunner().invoke(
        cli, ["jobs", *map(str, words)], env={"SIMTRUE_URL": str(url), "COLUMNS": "200"}
    )


def sentence(result: Result) -> str:
    """What a command said that ended with one sentence and exit status 1."""
    assert result.exit_code == 1, result.output
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("simtrue: ")]
    assert line.endswith(".")
    return line.removeprefix("simtrue: ")


@pytest.fixture(scope="module")
def service(serve: Any, model_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A service of all test models, where jobs may read the folder `source`."""
    root = tmp_path_factory.mktemp("cli-jobs")
    (root / "source").mkdir()
    chosen = {"data": root / "data", "source_roots": (root / "source",), "max_archive_bytes": 300_000}
    with serve(model_root, default_model="grey", jobs_at_once=8, **chosen) as (client, _):
        client.source = root / "source"
        yield client


@pytest.fixture(scope="module")
def url(service: httpx.Client) -> str:
    return str(service.base_url)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, picture: Picture) -> Path:
    """A set as it lies on somebody's disk."""
    root = tmp_path_factory.mktemp("sets") / "my set"
    files = {
        "left/a.png": picture(seed=1),
        "left/a.json": b'{"label": "cat", "box": [2, 2, 10, 12]}',
        "b.png": picture(size=(90, 80), seed=2),
        "deep/" * 20 + "ü" * 60 + ".txt": b"long and not ASCII",
        "empty.txt": b"",
    }
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    (root / "link.png").symlink_to(root / "b.png")
    return root


@pytest.fixture(scope="module")
def done(url: str, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """The id of a job that was handed in as a folder and waited for, and the file of its result."""
    output = tmp_path_factory.mktemp("out") / "result.zip"
    ended = run(url, "submit", folder, "--lock-class", "cat", "--output", output)
    assert ended.exit_code == 0, ended.output
    assert "refined" in ended.stderr
    return ended.stdout.strip(), output


def test_a_folder_goes_in_and_its_refined_files_come_back(done: tuple[str, Path], folder: Path) -> None:
    with zipfile.ZipFile(done[1]) as archive:
        came = {name: archive.read(name) for name in archive.namelist()}

    sent = {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }
    assert came.keys() == sent.keys()
    changed = {name for name in sent if came[name] != sent[name]}
    assert changed == {"left/a.png", "b.png", "link.png"}
    assert [path.name for path in done[1].parent.iterdir()] == ["result.zip"], "nothing partial is left"


def test_the_options_that_are_chosen_arrive_and_no_others(
    service: httpx.Client, url: str, folder: Path
) -> None:
    flags = (  # noqa: SIM905 (a command line is read as one)
        "--model noisy --strength 0.5 --seed 7 --variants 2 --include left/* --exclude x/* --lists *.txt "
        "--below drop --max-shift-px 2 --min-structure-kept 0.25 --min-least-kept 0.1 --format png "
        "--archive tar.zst --lock-class cat --lock-class dog --shared-look --dry-run"
    ).split()

    ended = run(url, "submit", folder, *flags)

    job = service.get(f"/jobs/{ended.stdout.strip()}").json()
    options = job["options"]
    assert (job["model"]["name"], job["archive"]) == ("noisy", "my set.tar")
    assert options["lock"] == [{"annotations": ["cat", "dog"]}]
    limits = {"max_shift_px": 2.0, "min_structure_kept": 0.25, "min_least_kept": 0.1}
    assert options["thresholds"] == {"below": "drop", **limits}
    wanted = {
        "strength": 0.5,
        "seed": 7,
        "variants": 2,
        "include": ["left/*"],
        "exclude": ["x/*"],
        "lists": ["*.txt"],
        "archive": "tar.zst",
        "dry_run": True,
        "shared_look": True,
    }
    assert {name: options[name] for name in wanted} == wanted
    assert options["output"]["format"] == "png"


def test_an_archive_and_an_address_that_the_service_reads_make_jobs_and_a_key_makes_one(
    service: httpx.Client, url: str, tmp_path: Path, picture: Picture
) -> None:
    (service.source / "a.png").write_bytes(picture())
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.writestr("a.png", picture())

    sent = [run(url, "submit", tmp_path / "set.zip", "--dry-run", "--idempotency-key", "mine") for _ in "12"]
    read = run(url, "submit", f"file://{service.source}", "--wait")

    assert sent[0].stdout == sent[1].stdout
    assert "simtrue jobs watch" in sent[0].stderr
    assert read.exit_code == 0, read.output
    assert service.get(f"/jobs/{read.stdout.strip()}").json()["counts"]["verdicts"]


def test_jobs_are_listed_shown_planned_and_deleted(url: str, done: tuple[str, Path]) -> None:
    job_id = done[0]

    listed, shown = run(url, "list", "--state", "done", "--limit", 500), run(url, "show", job_id)
    planned = run(url, "plan", job_id)

    assert f"{job_id}  done" in listed.stdout
    assert "my set.tar" in listed.stdout
    assert "3 refined" in shown.stdout
    assert {json.loads(line)["action"] for line in planned.stdout.splitlines()} == {"refine", "copy"}
    assert run(url, "list", "--state", "failed").stdout == "There are no jobs.\n"


def test_a_finished_job_cannot_be_cancelled_but_deleted(url: str, folder: Path) -> None:
    job_id = run(url, "submit", folder, "--dry-run", "--wait").stdout.strip()

    assert "is done already" in sentence(run(url, "cancel", job_id))
    assert run(url, "delete", job_id).exit_code == 0
    assert "There is no job" in sentence(run(url, "show", job_id))
    for command in ("watch", "cancel", "delete", "plan"):
        assert "There is no job" in sentence(run(url, command, job_id))
    assert sentence(run(url, "show", "../models"))


def test_the_papers_are_fetched_and_nothing_is_replaced_unasked(
    url: str, done: tuple[str, Path], tmp_path: Path
) -> None:
    job_id = done[0]
    page, lines = tmp_path / "report.html", tmp_path / "manifest.jsonl"

    ended = run(url, "fetch", job_id, tmp_path, "--report", page, "--manifest", lines)

    assert ended.exit_code == 0, ended.output
    assert (tmp_path / "my set-refined.zip").read_bytes() == done[1].read_bytes()
    assert page.read_text().startswith("<!doctype html>")
    assert len(lines.read_text().splitlines()) == 7
    assert "exists already" in sentence(run(url, "fetch", job_id, tmp_path))
    assert run(url, "fetch", job_id, tmp_path, "--overwrite").exit_code == 0
    assert "Name a file" in sentence(run(url, "fetch", job_id))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["submit", "nowhere"], "There is no folder and no archive nowhere."),
        (["submit", __file__], "is no zip, tar, tar.gz or tar.zst archive, nor a folder."),
        (["submit", "file:///etc"], "may not be read"),
        (["submit", "s3://bucket/x"], "may not be read"),
        (["list", "--url", "ftp://x"], "is no address of a service"),
        (["list", "--url", "http://"], "is no address of a service"),
        (
            ["list", "--url", "http://127.0.0.1:9"],
            "There is no service at http://127.0.0.1:9; start one with",
        ),
    ],
)
def test_what_cannot_be_done_is_said_in_one_sentence(url: str, words: list[str], said: str) -> None:
    assert said in sentence(run(url, *words))


def test_a_password_in_the_address_is_not_told(url: str) -> None:
    assert "geheim" not in run("http://me:geheim@127.0.0.1:9", "list").output


def test_a_set_that_is_too_large_is_refused_with_the_limit(url: str, tmp_path: Path) -> None:
    with (tmp_path / "big.bin").open("wb") as file:
        file.truncate(1 << 26)

    assert "but the limit is" in sentence(run(url, "submit", tmp_path))


def test_a_job_whose_files_fail_ends_with_status_1(url: str, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no image")

    ended = run(url, "submit", tmp_path, "--wait")

    assert ended.exit_code == 1
    assert "1 failed" in ended.stderr


class CuttingProxy:
    """Between a client and a service; the n-th connection ends after so many bytes from the service."""

    def __init__(self, upstream: int, cuts: list[int]) -> None:
        self.asked: list[bytes] = []
        self._upstream, self._cuts = upstream, cuts
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                cut = self._cuts.pop(0) if self._cuts else 1 << 40
                threading.Thread(target=self._relay, args=(client, cut), daemon=True).start()

    def _relay(self, client: socket.socket, cut: int) -> None:
        with client, socket.create_connection(("127.0.0.1", self._upstream)) as server:
            threading.Thread(target=self._pump, args=(client, server), daemon=True).start()
            with contextlib.suppress(OSError):
                while cut > 0 and (data := server.recv(min(4096, cut))):
                    client.sendall(data)
                    cut -= len(data)
                client.shutdown(socket.SHUT_RDWR)

    def _pump(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                self.asked.append(data)
                server.sendall(data)


@pytest.fixture
def cutting(service: httpx.Client) -> Iterator[Callable[..., CuttingProxy]]:
    """cutting(bytes, bytes, …): a proxy that cuts its first connections after so many bytes."""
    made: list[CuttingProxy] = []

    def make(*cuts: int) -> CuttingProxy:
        made.append(CuttingProxy(service.base_url.port, list(cuts)))
        return made[-1]

    yield make
    for proxy in made:
        proxy.close()


def test_a_download_that_breaks_goes_on_where_it_was(
    cutting: Callable[..., CuttingProxy], done: tuple[str, Path], tmp_path: Path
) -> None:
    whole = done[1].read_bytes()
    proxy = cutting(4000, 3000)

    ended = run(f"http://127.0.0.1:{proxy.port}", "fetch", done[0], tmp_path / "r.zip")

    assert ended.exit_code == 0, ended.output
    assert (tmp_path / "r.zip").read_bytes() == whole
    ranges = [
        part for said in proxy.asked for part in said.lower().split(b"\r\n") if part.startswith(b"range")
    ]
    assert len(ranges) == 2, "it was broken twice"
    assert int(ranges[1][13:-1]) > int(ranges[0][13:-1]) > 0


def test_a_download_that_was_given_up_is_gone_on_with_by_the_next_command(
    url: str, done: tuple[str, Path], tmp_path: Path
) -> None:
    whole, target = done[1].read_bytes(), tmp_path / "r.zip"
    with Service(url) as service:
        job = service.look(done[0])
    assert job.result is not None
    partial_of(target, job.result).write_bytes(whole[:1000])
    there: list[int] = []

    with Service(url) as service:
        Download(service, job, target, there.append).run()

    assert there[0] == 1000
    assert target.read_bytes() == whole
    assert [path.name for path in tmp_path.iterdir()] == ["r.zip"]


def test_a_partial_file_with_wrong_bytes_is_found_out(
    url: str, done: tuple[str, Path], tmp_path: Path
) -> None:
    target = tmp_path / "r.zip"
    with Service(url) as service:
        job = service.look(done[0])
        assert job.result is not None
        partial_of(target, job.result).write_bytes(b"x" * 1000)

        with pytest.raises(BadAnswer, match="SHA-256"):
            Download(service, job, target, lambda _: None).run()

    assert list(tmp_path.iterdir()) == [], "so the next try begins anew"


@pytest.fixture(scope="module")
def slow_root(tmp_path_factory: pytest.TempPathFactory, write_model: Callable[..., Path]) -> Path:
    """A model that works some tenths of a second on every batch."""
    root = tmp_path_factory.mktemp("slow-cli-jobs")
    write_model(root, "slow", work=1500)
    return root


def slow_set(folder: Path, picture: Picture, images: int) -> Path:
    folder.mkdir()
    for number in range(images):
        (folder / f"{number}.png").write_bytes(picture(size=(64, 64), seed=number))
    return folder


def test_a_job_is_followed_over_a_restart_of_the_service(
    serve: Any, slow_root: Path, tmp_path: Path, picture: Picture
) -> None:
    looks: list[Job | Away] = []
    kept = {"data": tmp_path / "data", "job_chunk_files": 1, "job_beat_s": 0.1}

    def watch(url: str, job_id: str) -> None:
        with Service(url) as service:
            looks.extend(follow(service, job_id))

    with serve(slow_root, **kept) as (client, _):
        url, port = str(client.base_url), client.base_url.port
        job_id = run(url, "submit", slow_set(tmp_path / "set", picture, 8)).stdout.strip()
        while client.get(f"/jobs/{job_id}").json()["done"] == 0:
            time.sleep(0.05)
        watching = threading.Thread(target=watch, args=(url, job_id))
        watching.start()
        while not looks_begun(client, job_id):
            time.sleep(0.05)
    with serve(slow_root, port=port, **kept):
        watching.join(timeout=120)

    assert not watching.is_alive()
    assert any(isinstance(look, Away) for look in looks), "it saw the service go"
    assert isinstance(looks[-1], Job)
    assert (looks[-1].state, looks[-1].done, looks[-1].counts.failed) == ("done", 8, 0)


def looks_begun(client: httpx.Client, job_id: str) -> bool:
    return client.get(f"/jobs/{job_id}").json()["done"] >= 2


def test_ctrl_c_leaves_the_job_running_and_says_how_to_go_on(
    serve: Any, slow_root: Path, tmp_path: Path, picture: Picture
) -> None:
    interruptible = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"  # even below nohup
    )
    program = f"{interruptible}; import sys; from app.cli import main; sys.exit(main())"
    with serve(slow_root, data=tmp_path / "data", job_chunk_files=1, job_beat_s=0.1) as (client, _):
        words = ["jobs", "submit", str(slow_set(tmp_path / "set", picture, 200)), "--wait"]
        child = subprocess.Popen(
            [sys.executable, "-c", program, *words, "--url", str(client.base_url)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert child.stdout is not None
        job_id = child.stdout.readline().strip()
        while client.get(f"/jobs/{job_id}").json()["done"] == 0:
            time.sleep(0.05)
        child.send_signal(signal.SIGINT)
        _, said = child.communicate(timeout=60)

        assert child.returncode == 130
        assert f"Job {job_id} goes on; `simtrue jobs watch {job_id}` shows it again" in said
        assert "Traceback" not in said
        assert client.get(f"/jobs/{job_id}").json()["state"] == "running"
        assert run(client.base_url, "cancel", job_id).exit_code == 0
        ended = run(client.base_url, "watch", job_id)
        assert ended.exit_code == 1
        assert f"Job {job_id} is cancelled." in ended.stderr


Answers = dict[str, tuple[int, str, bytes]]


@pytest.fixture
def fake() -> Iterator[Callable[[Answers], str]]:
    """fake({path: (status, content type, body)}): the address of a service that answers just that."""
    servers: list[http.server.ThreadingHTTPServer] = []

    def make(answers: Answers) -> str:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, kind, body = answers.get(
                    self.path.partition("?")[0], (404, "text/html", b"<h1>no</h1>")
                )
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Location", "http://127.0.0.1:9/")
                self.end_headers()
                with contextlib.suppress(OSError):
                    self.wfile.write(body)

            def log_message(self, *words: object) -> None:
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield make
    for server in servers:
        server.shutdown()
        server.server_close()


ID = "a" * 26


def job_document(**changes: object) -> bytes:
    document: dict[str, object] = {
        "id": ID,
        "state": "done",
        "waiting": False,
        "detail": "",
        "created_utc": "2026-01-01T00:00:00Z",
        "finished_utc": None,
        "model": {"name": "m", "version": 1},
        "archive": "../../evil\u001b[2J.zip",
        "source": None,
        "destination": None,
        "files": 1,
        "images": 1,
        "done": 1,
        "counts": {"verdicts": {}, "copied": 1, "dropped": 0, "failed": 0, "failures": {}},
        "files_per_s": None,
        "eta_s": None,
        "result": {"archive": "result.zip", "bytes": 5, "sha256": hashlib.sha256(b"right").hexdigest()},
    }
    return json.dumps(document | changes).encode()


JSON = "application/json"


@pytest.mark.parametrize(
    "answer",
    [
        (200, JSON, b"{"),
        (200, JSON, b"[]"),
        (200, JSON, job_document(files=-1)),
        (200, JSON, job_document(id="../../x")),
        (200, "text/html", b"<html>welcome</html>"),
        (302, "text/html", b""),
        (500, "text/html", b"<h1>Internal Server Error</h1>"),
        (502, "text/html", b"<h1>Bad Gateway</h1>"),
        (404, "application/problem+json", b"no"),
    ],
)
def test_an_answer_that_no_service_of_ours_gives_is_said_in_one_sentence(
    fake: Callable[[Answers], str], answer: tuple[int, str, bytes]
) -> None:
    said = sentence(run(fake({f"/jobs/{ID}": answer}), "show", ID))
    assert "not as a Simtrue service does" in said or "There is no service behind" in said


def test_nothing_in_an_answer_moves_the_cursor_or_leaves_the_folder(
    fake: Callable[[Answers], str], tmp_path: Path
) -> None:
    url = fake(
        {
            f"/jobs/{ID}": (200, JSON, job_document(detail="\u001b[2Jboo\r\n")),
            f"/jobs/{ID}/result": (200, "application/zip", b"right"),
        }
    )

    shown = run(url, "show", ID)
    fetched = run(url, "fetch", ID, tmp_path)

    assert "\u001b" not in shown.stdout
    assert "boo" in shown.stdout
    assert fetched.exit_code == 0, fetched.output
    (file,) = tmp_path.iterdir()
    assert file.read_bytes() == b"right"


@pytest.mark.parametrize(
    ("body", "said"),
    [(b"wrong", "SHA-256"), (b"rig", "sends only 3 of the 5"), (b"right and more", "more than the 5 bytes")],
)
def test_a_result_that_is_not_the_promised_one_is_not_kept(
    fake: Callable[[Answers], str], tmp_path: Path, body: bytes, said: str
) -> None:
    url = fake(
        {
            f"/jobs/{ID}": (200, JSON, job_document()),
            f"/jobs/{ID}/result": (200, "application/zip", body),
        }
    )

    assert said in sentence(run(url, "fetch", ID, tmp_path / "r.zip"))
    assert not (tmp_path / "r.zip").exists()


def test_events_are_read_however_they_are_cut_and_endless_lines_are_refused() -> None:
    stream = (
        b"id: 1\nevent: state\ndata: {}\n\n: still there\n\nid: 12\r\nevent: progress\r\ndata: {}\r\n\r\n"
    )

    for size in (1, 2, 7, len(stream)):
        pieces = [stream[start : start + size] for start in range(0, len(stream), size)]
        assert list(events_in(pieces)) == [(1, "state"), (12, "progress")]
    with pytest.raises(BadAnswer):
        list(events_in([b"x" * (1 << 16)] * 20))

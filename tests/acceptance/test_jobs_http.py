"""Dataset jobs over HTTP: whole sets go in, and come back refined and measured, whatever happens."""

from __future__ import annotations

import errno
import hashlib
import io
import itertools
import json
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from app.jobs.bundle import Bundle
from app.jobs.folder import JobFolder

Picture = Callable[..., bytes]
View = dict[str, Any]
FINISHED = {"done", "failed", "cancelled"}


def zipped(files: Mapping[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return packed.getvalue()


def submitted(client: httpx.Client, archive: bytes, model: str = "grey", **options: object) -> View:
    form = {"model": model, "options": json.dumps(options)}
    answer = client.post("/jobs", files={"archive": ("set.zip", archive)}, data=form)
    assert answer.status_code == 202, answer.text
    return answer.json()


def look(client: httpx.Client, job: View) -> View:
    return client.get(f"/jobs/{job['id']}").json()


def until(client: httpx.Client, job: View, reached: Callable[[View], bool], within_s: float = 120) -> View:
    end_s = time.monotonic() + within_s
    while not reached(view := look(client, job)):
        assert time.monotonic() < end_s, view
        time.sleep(0.05)
    return view


def finished(client: httpx.Client, job: View) -> View:
    return until(client, job, lambda view: view["state"] in FINISHED)


def result(client: httpx.Client, job: View) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(client.get(f"/jobs/{job['id']}/result").content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def manifest(client: httpx.Client, job: View) -> list[dict[str, Any]]:
    lines = client.get(f"/jobs/{job['id']}/manifest").text.splitlines()
    return [json.loads(line) for line in lines][1:]


def problem(answer: httpx.Response) -> tuple[int, str]:
    """Status and slug of a problem that is told in one sentence."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    detail = answer.json()["detail"]
    assert detail.endswith("."), detail
    assert "\n" not in detail
    return answer.status_code, answer.json()["type"].removeprefix("urn:simtrue:problem:")


def pixels(data: bytes) -> np.ndarray[Any, Any]:
    return np.asarray(Image.open(io.BytesIO(data))).astype(int)


CAT, DOG = (2, 2, 10, 12), (13, 3, 21, 13)
LABELS = json.dumps({"objects": [{"label": "cat", "box": CAT}, {"label": "dog", "box": DOG}]}).encode()


@pytest.fixture(scope="module")
def files(picture: Picture) -> dict[str, bytes]:
    """A set with images of two folders, labels, a mask, a list, and an image that nobody can read."""
    return {
        "left/a.png": picture(seed=1),
        "left/a.json": LABELS,
        "left/b.png": picture(seed=2),
        "right/c.png": picture(seed=3),
        "masks/a.png": picture(seed=4),
        "right/broken.png": b"\x89PNG\r\n\x1a\n no image",
        "train.txt": b"left/a.png\r\nleft/b.png\nright/c.png\n",
    }


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]) -> Path:
    """A folder with `set` to read and `into` to write."""
    root = tmp_path_factory.mktemp("places")
    for name, data in files.items():
        (root / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "set" / name).write_bytes(data)
    (root / "into").mkdir()
    return root


@pytest.fixture(scope="module")
def service(
    serve: Any, model_root: Path, roots: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[httpx.Client]:
    """A service that works on many jobs at once, in chunks of two files."""
    chosen = {
        "data": tmp_path_factory.mktemp("jobs") / "data",
        "source_roots": (roots / "set",),
        "destination_roots": (roots / "into",),
        "jobs_at_once": 16,
        "job_chunk_files": 2,
        "default_model": "grey",
    }
    with serve(model_root, **chosen) as (client, _):
        client.data = chosen["data"]
        yield client


ASKED: dict[str, dict[str, Any]] = {
    "plain": {},
    "included": {"include": ["left/*"], "exclude": ["*/b.png"]},
    "variants": {"model": "noisy", "variants": 2},
    "dropped": {
        "model": "wide",
        "thresholds": {"below": "drop", "max_shift_px": 0, "min_structure_kept": 1, "min_least_kept": 1},
        "lists": ["*.txt"],
    },
    "locked": {"lock": [{"annotations": ["cat"]}]},
    "dry": {"dry_run": True},
}


@pytest.fixture(scope="module")
def done(service: httpx.Client, files: dict[str, bytes]) -> dict[str, View]:
    """A job for each of `ASKED`, all worked on at once, when all are done."""
    archive = zipped(files)
    jobs = {name: submitted(service, archive, **asked) for name, asked in ASKED.items()}
    return {name: finished(service, job) for name, job in jobs.items()}


def test_images_are_refined_and_every_other_file_comes_back_byte_for_byte(
    service: httpx.Client, files: dict[str, bytes], done: dict[str, View]
) -> None:
    job = done["plain"]
    assert job["state"] == "done", job
    assert (job["files"], job["images"], job["done"]) == (7, 4, 7)

    came = result(service, job)

    assert came.keys() == files.keys()
    refined = {"left/a.png", "left/b.png", "right/c.png"}
    assert {name for name in came if came[name] != files[name]} == refined
    for name in refined:
        assert np.array_equal(pixels(came[name]), pixels(files[name]) + 10)


def test_an_image_that_nobody_can_read_fails_alone_and_stays_as_it_is(
    service: httpx.Client, done: dict[str, View]
) -> None:
    job = done["plain"]

    assert job["counts"]["failed"] == 1
    (reason,) = job["counts"]["failures"]
    (failed,) = (line for line in manifest(service, job) if line["action"] == "failed")
    assert (failed["path"], failed["reason"]) == ("right/broken.png", reason)
    assert reason.endswith(".")
    assert failed["in"] == failed["out"]


def test_the_manifest_gives_the_digests_of_the_very_bytes(
    service: httpx.Client, files: dict[str, bytes], done: dict[str, View]
) -> None:
    came = result(service, done["plain"])
    lines = {line["path"]: line for line in manifest(service, done["plain"])}

    assert lines.keys() == came.keys()
    for name, line in lines.items():
        assert line["in"] == {"sha256": hashlib.sha256(files[name]).hexdigest(), "bytes": len(files[name])}
        assert line["out"] == {"sha256": hashlib.sha256(came[name]).hexdigest(), "bytes": len(came[name])}


def test_include_and_exclude_choose_the_images(
    service: httpx.Client, files: dict[str, bytes], done: dict[str, View]
) -> None:
    came = result(service, done["included"])

    assert {name for name in came if came[name] != files[name]} == {"left/a.png"}
    assert "right/broken.png" in came, "what is not refined need not be readable"


def test_each_variant_is_a_whole_set_with_all_annotations(
    service: httpx.Client, files: dict[str, bytes], done: dict[str, View]
) -> None:
    job, came = done["variants"], result(service, done["variants"])

    copied = {"left/a.json", "masks/a.png", "train.txt", "right/broken.png"}
    for variant in ("variant-0", "variant-1"):
        mine = {name.partition("/")[2]: data for name, data in came.items() if name.startswith(variant)}
        assert mine.keys() == files.keys()
        assert {name for name in mine if mine[name] == files[name]} == copied
    assert came["variant-0/left/a.png"] != came["variant-1/left/a.png"]
    assert job["done"] == job["files"] == 14, "those that failed are counted in each variant, too"


def test_images_below_the_thresholds_are_dropped_and_taken_out_of_the_lists(
    service: httpx.Client, files: dict[str, bytes], done: dict[str, View]
) -> None:
    job, came = done["dropped"], result(service, done["dropped"])

    assert job["counts"]["dropped"] == 1
    assert "left/a.png" not in came
    assert came["left/a.json"] == files["left/a.json"]
    assert came["train.txt"] == b"left/b.png\nright/c.png\n"
    told = {line["path"]: line["action"] for line in manifest(service, job)}
    assert (told["left/a.png"], told["train.txt"]) == ("dropped", "edited")


def test_pixels_under_a_locked_class_stay_bit_identical_and_no_others(
    service: httpx.Client, files: dict[str, bytes], done: dict[str, View]
) -> None:
    before = pixels(files["left/a.png"])
    changed = pixels(result(service, done["locked"])["left/a.png"]) - before

    x1, y1, x2, y2 = CAT
    inside = np.zeros(before.shape, bool)
    inside[y1:y2, x1:x2] = True
    assert np.all(changed[inside] == 0)
    assert np.all(changed[~inside] == 10)


def test_a_dry_run_only_plans(service: httpx.Client, done: dict[str, View]) -> None:
    job = done["dry"]
    lines = service.get(f"/jobs/{job['id']}/plan").text.splitlines()
    told = {line["path"]: line for line in map(json.loads, lines)}

    assert (job["state"], job["done"], job["result"]) == ("done", 0, None)
    assert told["left/a.png"]["action"] == "refine"
    assert told["left/a.png"]["annotations"].endswith("a.json")
    assert "masks" in told["masks/a.png"]["reason"]
    assert problem(service.get(f"/jobs/{job['id']}/result")) == (409, "job-state-conflict")


def test_a_result_is_served_in_ranges_for_whoever_has_the_same_one(
    service: httpx.Client, done: dict[str, View]
) -> None:
    path, told = f"/jobs/{done['plain']['id']}/result", done["plain"]["result"]
    whole = service.get(path)
    tag = whole.headers["etag"]

    assert tag == f'"{told["sha256"]}"'
    assert hashlib.sha256(whole.content).hexdigest() == told["sha256"]
    assert len(whole.content) == told["bytes"]
    assert 'filename="set-refined.zip"' in whole.headers["content-disposition"]
    rest = service.get(path, headers={"Range": "bytes=100-", "If-Range": tag})
    assert (rest.status_code, rest.content) == (206, whole.content[100:])
    other = service.get(path, headers={"Range": "bytes=100-", "If-Range": '"another"'})
    assert (other.status_code, other.content) == (200, whole.content)
    head = service.head(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(told["bytes"])


def test_the_report_is_json_or_a_page_that_loads_nothing(
    service: httpx.Client, done: dict[str, View]
) -> None:
    path = f"/jobs/{done['plain']['id']}/report"
    told = service.get(path).json()
    page = service.get(path, headers={"Accept": "text/html,*/*;q=0.8"})

    assert told["files"] == {"accepted": 1, "unchecked": 2, "copied": 3, "failed": 1}
    assert told["failures"][0]["path"] == "right/broken.png"
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "<script" not in page.text


def events(client: httpx.Client, job: View, last: int | None = None) -> list[tuple[int, str, View]]:
    headers = {} if last is None else {"Last-Event-ID": str(last)}
    answer = client.get(f"/jobs/{job['id']}/events", headers=headers)
    assert answer.headers["content-type"].startswith("text/event-stream")
    said = [
        dict(line.split(": ", 1) for line in block.split("\n")) for block in answer.text.split("\n\n")[:-1]
    ]
    return [(int(event["id"]), event["event"], json.loads(event["data"])) for event in said]


def test_events_are_numbered_without_a_gap_and_end_with_the_job(
    service: httpx.Client, done: dict[str, View]
) -> None:
    all_of_them = events(service, done["plain"])

    assert [number for number, _, _ in all_of_them] == list(range(1, len(all_of_them) + 1))
    states = [data["state"] for _, kind, data in all_of_them if kind == "state"]
    assert states == ["queued", "preparing", "running", "finishing", "done"]
    assert events(service, done["plain"], last=2) == all_of_them[2:]
    assert events(service, done["plain"], last=10**6) == []
    refused = service.get(f"/jobs/{done['plain']['id']}/events", headers={"Last-Event-ID": "x"})
    assert problem(refused) == (400, "invalid-request")


def test_jobs_are_listed_newest_first_page_by_page(service: httpx.Client, done: dict[str, View]) -> None:
    mine, cursor = [], None
    for _ in range(100):
        params = {"limit": 2, "state": "done"} | ({"cursor": cursor} if cursor else {})
        page = service.get("/jobs", params=params).json()
        mine += [job["id"] for job in page["jobs"]]
        if (cursor := page["cursor"]) is None:
            break

    assert {job["id"] for job in done.values()} <= set(mine)
    assert mine == sorted(mine, reverse=True)
    assert len(set(mine)) == len(mine)
    listed = service.get("/jobs", params={"state": ["failed", "cancelled"]}).json()["jobs"]
    assert {job["state"] for job in listed} <= {"failed", "cancelled"}
    assert problem(service.get("/jobs", params={"state": "lost"})) == (400, "invalid-request")
    assert problem(service.get("/jobs", params={"cursor": "nowhere"})) == (400, "invalid-request")


def test_a_form_a_bare_archive_and_a_folder_of_the_service_give_the_same(
    service: httpx.Client, files: dict[str, bytes], roots: Path, done: dict[str, View]
) -> None:
    bare = service.post(
        "/jobs",
        content=zipped(files),
        headers={"Content-Type": "application/zip"},
        params={"filename": "set.zip", "model": "grey", "options": "{}"},
    )
    read = service.post("/jobs", json={"source": f"file://{roots / 'set'}", "options": {}})
    put = service.post("/jobs", json={"source": str(roots / "set"), "destination": str(roots / "into" / "x")})

    for answer in (bare, read, put):
        assert answer.status_code == 202, answer.text
        assert answer.headers["location"] == f"/jobs/{answer.json()['id']}"
        assert finished(service, answer.json())["state"] == "done"
    wanted = result(service, done["plain"])
    assert result(service, bare.json()) == wanted
    assert result(service, read.json()) == wanted
    into = roots / "into" / "x"
    written = {path.relative_to(into).as_posix(): path for path in into.rglob("*") if path.is_file()}
    assert {name: path.read_bytes() for name, path in written.items()} == wanted
    assert "it went to" in service.get(f"/jobs/{put.json()['id']}/result").json()["detail"]


def test_a_request_that_is_sent_twice_makes_one_job(service: httpx.Client, picture: Picture) -> None:
    def send(archive: bytes, **data: str) -> httpx.Response:
        return service.post("/jobs", files={"archive": archive}, data=data, headers={"Idempotency-Key": "k1"})

    archive = zipped({"a.png": picture()})
    first, again = send(archive), send(archive)

    assert first.status_code == again.status_code == 202
    assert again.json()["id"] == first.json()["id"]
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert problem(send(archive, options='{"seed": 1}')) == (422, "idempotency-conflict")
    assert problem(send(zipped({"b.png": picture()}))) == (422, "idempotency-conflict")
    folders = {path.name for path in (service.data / "jobs").iterdir()}
    known = {job["id"] for job in service.get("/jobs", params={"limit": 500}).json()["jobs"]}
    assert folders <= known, "what is refused or replayed leaves nothing behind"


def test_a_finished_job_is_deleted_with_all_that_it_made(service: httpx.Client, picture: Picture) -> None:
    job = finished(service, submitted(service, zipped({"a.png": picture()}), dry_run=True))
    path = f"/jobs/{job['id']}"

    assert problem(service.delete(path, params={"keep_finished": "true"})) == (409, "job-state-conflict")
    assert look(service, job)["state"] == "done"
    assert service.delete(path).status_code == 204
    assert problem(service.get(path)) == (404, "unknown-job")
    assert not (service.data / "jobs" / job["id"]).exists()


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        ({"json": {"source": "/etc"}}, (403, "place-refused")),
        ({"json": {"source": "s3://bucket/set"}}, (403, "place-refused")),
        ({"json": {"sauce": "/x"}}, (400, "invalid-request")),
        ({"content": b"{", "headers": {"Content-Type": "application/json"}}, (400, "invalid-json")),
        ({"content": b"", "headers": {"Content-Type": "application/zip"}}, (400, "invalid-request")),
        ({"content": b"x", "headers": {"Content-Type": "text/plain"}}, (400, "invalid-request")),
        ({"files": {"archive": b"x"}, "data": {"model": "nobody"}}, (404, "unknown-model")),
        ({"files": {"archive": b"x"}, "data": {"options": '{"strength": 2}'}}, (422, "invalid-options")),
        ({"files": {"archive": b"x"}, "data": {"options": '{"variants": 2}'}}, (422, "invalid-options")),
        ({"files": {"archive": b"x"}, "data": {"options": '{"lists": ["*"]}'}}, (400, "invalid-request")),
        ({"files": {"archive": b"x"}, "data": {"source": "/x"}}, (400, "invalid-request")),
        ({"files": {"image": b"x"}}, (400, "invalid-request")),
        ({"content": b"x", "headers": {"Idempotency-Key": "k" * 256}}, (400, "invalid-request")),
    ],
)
def test_what_cannot_become_a_job_is_refused_in_one_sentence_and_leaves_nothing(
    service: httpx.Client, asked: dict[str, Any], wanted: tuple[int, str]
) -> None:
    before = len(list((service.data / "jobs").iterdir()))

    assert problem(service.post("/jobs", **asked)) == wanted
    assert len(list((service.data / "jobs").iterdir())) == before


def test_what_is_not_there_is_told_so(service: httpx.Client) -> None:
    for path in ("/jobs/nothing", "/jobs/0" + "a" * 25, "/jobs/%2e%2e/result", "/jobs/x/events"):
        assert problem(service.get(path))[0] == 404
    assert problem(service.delete("/jobs/" + "a" * 26)) == (404, "unknown-job")


def hostile_archives(picture: Picture) -> dict[str, tuple[bytes, str]]:
    """By name: an archive, and a word of the sentence that refuses it."""
    link = io.BytesIO()
    with tarfile.open(fileobj=link, mode="w") as archive:
        entry = tarfile.TarInfo("out")
        entry.type, entry.linkname = tarfile.SYMTYPE, "/etc"
        archive.addfile(entry)
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as packed, packed.open("a.png", "w") as file:
        for _ in range(96):
            file.write(bytes(1 << 20))
    whole = zipped({"a.png": picture(), "b.png": picture(seed=1)})
    encrypted = bytearray(whole)
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        encrypted[encrypted.index(signature) + flags] |= 1
    return {
        "traversal": (zipped({"../../outside.png": picture()}), "leads out of it"),
        "absolute": (zipped({"/tmp/outside.png": picture()}), "absolute"),
        "symlink": (link.getvalue(), "neither a file nor a folder"),
        "bomb": (bomb.getvalue(), "unpacks to more than"),
        "encrypted": (bytes(encrypted), "encrypted"),
        "truncated": (whole[: len(whole) // 2], "broken or cut off"),
        "no archive": (b"GIF89a" + bytes(600), "no zip, tar"),
        "empty": (zipped({}), "no files"),
    }


def test_hostile_archives_fail_alone_with_a_sentence_and_leave_nothing(
    service: httpx.Client, picture: Picture
) -> None:
    hostile = hostile_archives(picture)
    jobs = {name: submitted(service, archive) for name, (archive, _) in hostile.items()}
    good = submitted(service, zipped({"a.png": picture()}))

    ends = {name: finished(service, job) for name, job in jobs.items()}

    assert {name: end["state"] for name, end in ends.items()} == dict.fromkeys(hostile, "failed")
    for name, (_, said) in hostile.items():
        assert said in ends[name]["detail"], ends[name]["detail"]
        assert ends[name]["detail"].endswith(".")
        folder = service.data / "jobs" / ends[name]["id"]
        until(service, jobs[name], lambda _, folder=folder: list(folder.rglob("*")) == [])
    assert finished(service, good)["state"] == "done"
    assert list(service.data.parent.rglob("outside*")) == []
    assert not Path("/tmp/outside.png").exists()


@pytest.fixture(scope="module")
def slow_root(tmp_path_factory: pytest.TempPathFactory, write_model: Callable[..., Path]) -> Path:
    """A model that works some tenths of a second on every batch, and a quick one."""
    root = tmp_path_factory.mktemp("slow-jobs")
    write_model(root, "slow", work=1500)
    write_model(root, "quick")
    return root


@pytest.fixture(scope="module")
def narrow(serve: Any, slow_root: Path) -> Iterator[httpx.Client]:
    """A service that works on one job at a time and lets one wait."""
    chosen = {
        "jobs_at_once": 1,
        "max_queued_jobs": 1,
        "job_chunk_files": 1,
        "max_archive_bytes": 200_000,
        "max_set_files": 300,
        "job_beat_s": 0.05,
        "default_model": "quick",
    }
    with serve(slow_root, **chosen) as (client, _):
        client.data = slow_root.with_name(f"{slow_root.name}-data")
        yield client


def test_a_job_that_runs_is_cancelled_and_leaves_nothing_and_too_many_jobs_are_refused(
    narrow: httpx.Client, picture: Picture
) -> None:
    several = zipped({f"{number}.png": picture(size=(64, 64), seed=number) for number in range(30)})
    job = submitted(narrow, several, model="slow")
    until(narrow, job, lambda view: view["state"] == "running")
    waiting = submitted(narrow, several, model="quick")
    refused = narrow.post("/jobs", files={"archive": several})

    assert problem(refused) == (503, "too-many-jobs")
    assert int(refused.headers["retry-after"]) >= 1
    assert problem(narrow.get(f"/jobs/{job['id']}/result")) == (409, "job-state-conflict")
    assert narrow.delete(f"/jobs/{waiting['id']}").json()["state"] == "cancelled"
    asked = narrow.delete(f"/jobs/{job['id']}")
    assert (asked.status_code, asked.json()["cancelling"]) == (202, True)
    assert finished(narrow, job)["state"] == "cancelled"
    for one in (job, waiting):
        assert not (narrow.data / "jobs" / one["id"]).exists()
    assert [kind for _, kind, _ in events(narrow, job)][-2:] == ["cancel", "state"]


def test_an_archive_that_is_too_large_is_refused_while_it_comes(narrow: httpx.Client) -> None:
    def endless() -> Iterator[bytes]:
        yield from itertools.repeat(b"x" * 10_000, 1000)

    stopped = narrow.post("/jobs", content=endless(), headers={"Content-Type": "application/x-tar"})
    announced = narrow.post("/jobs", files={"archive": bytes(6_000_000)})

    assert problem(stopped) == problem(announced) == (413, "body-too-large")


def test_a_set_of_too_many_files_fails_with_the_limit_in_the_sentence(narrow: httpx.Client) -> None:
    job = submitted(narrow, zipped({f"{number}.txt": b"" for number in range(301)}), model="quick")

    end = finished(narrow, job)

    assert end["state"] == "failed"
    assert "300" in end["detail"]


def test_a_job_whose_model_is_unloaded_waits_with_a_sentence_and_goes_on_when_it_is_back(
    narrow: httpx.Client, picture: Picture
) -> None:
    job = submitted(narrow, zipped({"a.png": picture(seed=5)}), model="quick")
    narrow.post("/models/quick/unload").raise_for_status()
    try:
        view = until(narrow, job, lambda view: view["waiting"] or view["state"] in FINISHED)
        assert view["waiting"], view
        assert view["state"] == "running"
        assert "POST /models/quick/load" in view["detail"]
    finally:
        narrow.post("/models/quick/load").raise_for_status()

    end = finished(narrow, job)
    assert (end["state"], end["waiting"], end["detail"]) == ("done", False, "")


def test_a_job_ends_well_also_when_its_folder_takes_long_to_clean(
    narrow: httpx.Client,
    picture: Picture,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    remove_work = JobFolder.remove_work

    def slowly(self: JobFolder) -> None:
        time.sleep(0.5)  # many beats
        remove_work(self)

    monkeypatch.setattr(JobFolder, "remove_work", slowly)
    job = submitted(narrow, zipped({"a.png": picture()}), model="quick", dry_run=True)

    assert finished(narrow, job)["state"] == "done"
    until(narrow, job, lambda view: not (narrow.data / "jobs" / view["id"] / "chunks").exists(), within_s=20)
    assert "begun again" not in caplog.text


def test_a_full_disk_is_waited_for(
    narrow: httpx.Client, picture: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, full = Bundle.write, [True]

    def failing_once(self: Bundle, name: str, data: bytes, *, mode_of: Path | None = None) -> None:
        if full:
            full.pop()
            raise OSError(errno.ENOSPC, "No space left on device", name)
        write(self, name, data, mode_of=mode_of)

    monkeypatch.setattr(Bundle, "write", failing_once)
    job = submitted(narrow, zipped({"a.png": picture(seed=6), "b.txt": b"b"}), model="slow")

    end = finished(narrow, job)

    assert (end["state"], end["counts"]["failed"]) == ("done", 0)
    assert result(narrow, job).keys() == {"a.png", "b.txt"}
    notes = [data["detail"] for _, kind, data in events(narrow, job) if kind == "note"]
    assert notes == ["The disk is full: No space left on device; the job goes on when there is room.", ""]

"""The connections to one service: requests go out, and answers come back checked or as one sentence."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Final, Self, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel, ValidationError

from app.client.answers import Job, JobPage, Problem
from app.errors import BadAnswer, ConnectionBroken, InvalidRequest, NoService, ServiceRefused, SimtrueError

TIMEOUT: Final = httpx.Timeout(60.0, connect=10.0)
ACCEPTING: Final = httpx.Timeout(60.0, connect=10.0, read=600.0)
"""After an upload the service brings it to its disk before it answers."""
MOST_ANSWER_BYTES: Final = 64 << 20
MOST_PROBLEM_BYTES: Final = 1 << 20
PASSING: Final = frozenset({502, 503, 504})
"""Statuses of a service, or of a proxy before it, that can answer soon."""
PROBLEM: Final = "application/problem+json"
AnswerT = TypeVar("AnswerT", bound=BaseModel)


class Service:
    """Owns the connections; a context manager.

    Its methods raise NoService when nobody answers, or not to the end, ServiceRefused with the service's own
    sentence, and BadAnswer for what no service of ours would answer.
    """

    def __init__(self, url: str) -> None:
        """Raises InvalidRequest when `url` is none."""
        base = _address(url)
        self.url = str(base.copy_with(userinfo=b"")).rstrip("/")
        headers = {"User-Agent": "simtrue", "Accept-Encoding": "identity"}
        self._http = httpx.Client(base_url=base, timeout=TIMEOUT, headers=headers)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._http.close()

    def jobs(self, states: Iterable[str], limit: int) -> Iterator[Job]:
        """The newest jobs in any of `states`, all where there are none, page after page."""
        wanted: dict[str, str | int | list[str]] = {"state": list(states)}
        while limit > 0:
            page = self._ask(JobPage, "GET", "/jobs", params={**wanted, "limit": min(limit, 100)})
            yield from page.jobs[:limit]
            limit -= len(page.jobs)
            if page.cursor is None or not page.jobs:
                return
            wanted["cursor"] = page.cursor

    def look(self, job_id: str) -> Job:
        """One look at a job."""
        return self._ask(Job, "GET", path_of(job_id))

    def submit(self, body: Iterable[bytes], headers: Mapping[str, str]) -> Job:
        """Hand in a set; `headers` tell what the body is."""
        return self._ask(Job, "POST", "/jobs", content=body, headers=headers, timeout=ACCEPTING)

    def cancel(self, job_id: str) -> Job:
        """Ask for the end of a job that is not finished; one that is stays, and that is refused."""
        return self._ask(Job, "DELETE", path_of(job_id), params={"keep_finished": "true"})

    def delete(self, job_id: str) -> None:
        """Delete a finished job."""
        with self.open("DELETE", path_of(job_id)):
            pass

    @contextmanager
    def open(self, method: str, path: str, **asked: object) -> Iterator[httpx.Response]:
        """An answer that is no refusal and whose body is still to be read, with `iter_raw`."""
        try:
            with self._http.stream(method, path, **asked) as answer:  # type: ignore[arg-type]  # httpx's own
                if answer.status_code >= 300:
                    raise self._refusal(answer, method, path)
                yield answer
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError) as error:
            said = f"There is no service at {self.url}; start one with `simtrue serve`."
            raise NoService(said) from error
        except httpx.TransportError as error:
            reason = str(error).rstrip(".") or type(error).__name__
            raise ConnectionBroken(f"The connection to {self.url} broke: {reason}.") from error

    def _ask(self, kind: type[AnswerT], method: str, path: str, **asked: object) -> AnswerT:
        with self.open(method, path, **asked) as answer:
            body = _bounded(answer, MOST_ANSWER_BYTES)
        try:
            return kind.model_validate_json(body)
        except ValidationError as error:
            raise self._bad(method, path, f"with {answer.status_code}") from error

    def _refusal(self, answer: httpx.Response, method: str, path: str) -> SimtrueError:
        status = answer.status_code
        if answer.headers.get("content-type", "").partition(";")[0] == PROBLEM:
            try:
                problem = Problem.model_validate_json(_bounded(answer, MOST_PROBLEM_BYTES))
            except ValidationError:
                return self._bad(method, path, f"with {status}")
            return ServiceRefused(problem.detail, status)
        if status in PASSING:
            return NoService(f"There is no service behind {self.url} now: it answers {status}.")
        return self._bad(method, path, f"with {status}")

    def _bad(self, method: str, path: str, how: str) -> BadAnswer:
        return BadAnswer(f"{self.url} answers {method} {path} {how}, but not as a Simtrue service does.")


def path_of(job_id: str, part: str = "") -> str:
    """Where a job is, or a part of it such as `/result`, whatever somebody typed as its id."""
    return f"/jobs/{quote(job_id, safe='').replace('.', '%2E')}{part}"


def passes(error: SimtrueError) -> bool:
    """Whether the same request may go well a little later."""
    return isinstance(error, NoService) or (isinstance(error, ServiceRefused) and error.status in PASSING)


def _address(url: str) -> httpx.URL:
    try:
        address = httpx.URL(url)
    except (httpx.InvalidURL, ValueError):
        address = httpx.URL("")
    if address.scheme not in ("http", "https") or not address.host:
        raise InvalidRequest(f"{url[:200]!r} is no address of a service; it looks like http://host:8000.")
    return address


def _bounded(answer: httpx.Response, most: int) -> bytes:
    body = bytearray()
    for piece in answer.iter_raw():
        body += piece
        if len(body) > most:
            raise BadAnswer(f"The answer to {answer.request.url.path} is longer than {most} bytes.")
    return bytes(body)

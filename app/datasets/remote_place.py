"""RemotePlace: the objects below a prefix of an S3 bucket."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, cast

from app.datasets.place import checked
from app.datasets.s3_answers import telling
from app.errors import InvalidRequest, PlaceUnavailable
from model.files import PARTIAL_SUFFIX

if TYPE_CHECKING:
    from s3fs import S3FileSystem

BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
CONNECT_S: Final = 5
READ_S: Final = 15
"""Seconds without a byte until a request is tried again."""
TRIES: Final = 2
"""Of botocore, and as many of s3fs around them, and around reading: at most 8, or two minutes of silence."""
CONNECTIONS: Final = 32
READ_BYTES: Final = 8 << 20
PART_BYTES: Final = 32 << 20
"""Of an upload in parts, of which S3 takes 10,000: files up to 320 GB."""
_VERSION_MARK: Final = "?versionId="
"""s3fs cuts a path here."""


@dataclass(frozen=True)
class RemotePlace:
    """What lies below `s3://bucket/prefix`; keys that are no paths of files in a set are refused when met.

    endpoint: address of a server other than Amazon's. Credentials and region come from the usual variables,
    files and roles of AWS. Objects appear whole or not at all, and S3 keeps what it has acknowledged.
    """

    uri: str
    endpoint: str | None = None

    def __post_init__(self) -> None:
        bucket, _, prefix = self.uri.removeprefix("s3://").partition("/")
        if not self.uri.startswith("s3://") or not BUCKET.fullmatch(bucket):
            raise InvalidRequest(f"{self.uri!r} does not have the form s3://bucket/prefix.")
        if prefix:
            checked(prefix.rstrip("/"))
        if find_spec("s3fs") is None:
            raise PlaceUnavailable("Places in S3 need more packages: pip install 'simtrue[s3]'.")

    def names(self) -> Iterator[str]:
        """Every object, a thousand at a time."""
        page: dict[str, Any] = {}
        while not page or page.get("IsTruncated"):
            token = {"ContinuationToken": page["NextContinuationToken"]} if page else {}
            with self._telling():
                page = self._s3().call_s3(
                    "list_objects_v2", Bucket=self._bucket, Prefix=self._prefix, **token
                )
            for entry in page.get("Contents", ()):
                name = entry["Key"].removeprefix(self._prefix)
                if name and not name.endswith(("/", PARTIAL_SUFFIX)):  # "a/" marks a folder
                    yield checked(name)

    def read(self, name: str) -> bytes:
        """All bytes of an object, with one request."""
        path = self._path(name)
        with self._telling(name):
            return cast(bytes, self._s3().cat_file(path))

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        """An object, read in pieces of READ_BYTES."""
        path = self._path(name)
        with self._telling(name):
            file = self._s3().open(path, "rb", block_size=READ_BYTES)
        with file, io.BufferedReader(_Told(file, partial(self._telling, name))) as reading:
            yield reading

    def exists(self, name: str) -> bool:
        """Whether there is an object of this name."""
        key = self._prefix + checked(name)
        try:
            with self._telling(name):
                self._s3().call_s3("head_object", Bucket=self._bucket, Key=key)
        except FileNotFoundError:
            return False
        return True

    @contextmanager
    def writing(self, name: str) -> Iterator[IO[bytes]]:
        """An object that appears when the block ends well: one request, or an upload in parts."""
        path = self._path(name)
        with self._telling(name):
            file = self._s3().open(path, "wb", block_size=PART_BYTES)
        try:
            yield cast(IO[bytes], _Told(file, partial(self._telling, name)))
            with self._telling(name):
                file.close()
        except BaseException:
            file.closed = True  # or its parts would be made an object when it is collected
            with suppress(OSError, PlaceUnavailable), self._telling(name):
                file.discard()
            raise

    def write(self, name: str, data: bytes, *, mode_of: Path | None = None) -> None:  # noqa: ARG002
        """A whole object at once; there are no permissions to keep."""
        path = self._path(name)
        with self._telling(name):
            self._s3().pipe_file(path, data)

    def settle(self, names: Sequence[str]) -> None:
        """Nothing is left to do."""

    def local(self, name: str) -> None:  # noqa: ARG002
        """Nothing is on this machine's disk."""
        return

    @property
    def _bucket(self) -> str:
        return self.uri.removeprefix("s3://").partition("/")[0]

    @property
    def _prefix(self) -> str:
        prefix = self.uri.removeprefix("s3://").partition("/")[2].rstrip("/")
        return prefix and f"{prefix}/"

    def _path(self, name: str) -> str:
        if _VERSION_MARK in name:
            raise InvalidRequest(f"{name!r} cannot be used in S3: it contains {_VERSION_MARK}.")
        return f"{self._bucket}/{self._prefix}{checked(name)}"

    def _s3(self) -> S3FileSystem:
        return _opened(self.endpoint, os.getpid())

    def _telling(self, name: str = "") -> AbstractContextManager[None]:
        return telling(self._bucket, f"s3://{self._bucket}/{self._prefix}{name}", self.endpoint)


@lru_cache(maxsize=8)
def _opened(endpoint: str | None, pid: int) -> S3FileSystem:  # noqa: ARG001
    """The connections of this process, shared by its threads; those of a forked parent stay its own.

    Listings are not cached: they would grow without bound, and go stale.
    """
    from s3fs import S3FileSystem

    config = {
        "connect_timeout": CONNECT_S,
        "read_timeout": READ_S,
        "retries": {"mode": "standard", "total_max_attempts": TRIES},
        "max_pool_connections": CONNECTIONS,
    }
    files = S3FileSystem(
        endpoint_url=endpoint,
        config_kwargs=config,
        max_concurrency=1,
        use_listings_cache=False,
        skip_instance_cache=True,
    )
    files.retries = TRIES
    return files


class _Told(io.RawIOBase):
    """A file of s3fs whose errors are told in our words, even where another place's block is around it."""

    def __init__(self, file: Any, telling_of_it: Callable[[], AbstractContextManager[None]]) -> None:
        super().__init__()
        self._file, self._telling = file, telling_of_it

    def readable(self) -> bool:
        return bool(self._file.readable())

    def writable(self) -> bool:
        return bool(self._file.writable())

    def seekable(self) -> bool:
        return self.readable()

    def readinto(self, buffer: Any, /) -> int:
        with self._telling():
            return cast(int, self._file.readinto(buffer))

    def write(self, data: Any, /) -> int:
        with self._telling():
            return cast(int, self._file.write(data))

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return cast(int, self._file.seek(offset, whence))

    def tell(self) -> int:
        return cast(int, self._file.tell())

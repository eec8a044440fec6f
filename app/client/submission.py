"""One set on its way to a service: a folder, an archive, or the address of a set that the service reads."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from app.client.answers import Job
from app.client.folder_stream import PIECE_BYTES, FolderStream
from app.client.service import Service
from app.datasets.archive import kind_of
from app.errors import ConnectionBroken, InvalidRequest

_UNSAFE: Final = str.maketrans({'"': "%22", "\r": "%0D", "\n": "%0A", "\\": "%5C"})


@dataclass(frozen=True)
class Asked:
    """What somebody wants of a set. options: only those that were chosen; the service knows the others."""

    model: str | None = None
    destination: str | None = None
    options: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Upload:
    """An archive to send: its pieces, and how many bytes they are together."""

    name: str
    size: int
    pieces: Iterable[bytes]


def upload_of(chosen: str) -> Upload | None:
    """What is to be sent of a set; None for an address. Raises InvalidRequest and OSError."""
    if "://" in chosen:
        return None
    path = Path(chosen)
    if path.is_dir():
        stream = FolderStream(path)
        return Upload(f"{path.resolve().name or 'set'}.tar", stream.bytes, stream)
    if not path.is_file():
        raise InvalidRequest(f"There is no folder and no archive {path}.")
    if kind_of(path) is None:
        raise InvalidRequest(f"{path} is no zip, tar, tar.gz or tar.zst archive, nor a folder.")
    return Upload(path.name, path.stat().st_size, _FileStream(path))


def submit(
    service: Service,
    chosen: str,
    asked: Asked,
    *,
    upload: Upload | None,
    key: str | None,
    on_bytes: Callable[[int], None],
) -> Job:
    """Hand in a set; `on_bytes` is told how many bytes are sent so far. Raises what `Service` raises."""
    key = key or secrets.token_hex(16)
    try:
        key.encode("latin-1")
    except UnicodeEncodeError:
        raise InvalidRequest("The idempotency key has letters that no HTTP header can hold.") from None
    headers = {"Idempotency-Key": key}
    try:
        if upload is None:
            return service.submit([_document(chosen, asked)], headers | {"Content-Type": "application/json"})
        form = _Form(asked, upload)
        return service.submit(_watched(form, on_bytes), headers | form.headers)
    except ConnectionBroken as error:
        again = f"the same command with --idempotency-key {key} makes no second job"
        raise ConnectionBroken(f"{error.detail.removesuffix('.')}; {again}.") from error


class _FileStream:
    def __init__(self, path: Path) -> None:
        self._path = path

    def __iter__(self) -> Iterator[bytes]:
        with self._path.open("rb") as file:
            while piece := file.read(PIECE_BYTES):
                yield piece


class _Form:
    """A multipart form whose last part is an archive; its length is known before it is made."""

    def __init__(self, asked: Asked, upload: Upload) -> None:
        self._boundary = secrets.token_hex(16)
        self._upload = upload
        texts = {"model": asked.model, "destination": asked.destination, "options": _options(asked)}
        parts = [self._head(name) + text.encode() for name, text in texts.items() if text]
        name = upload.name.translate(_UNSAFE)
        self._before = b"".join(parts) + self._head("archive", f'; filename="{name}"')
        self._after = f"\r\n--{self._boundary}--\r\n".encode()
        self._before = self._before.removeprefix(b"\r\n")

    @property
    def headers(self) -> dict[str, str]:
        length = len(self._before) + self._upload.size + len(self._after)
        kind = f"multipart/form-data; boundary={self._boundary}"
        return {"Content-Type": kind, "Content-Length": str(length)}

    def __iter__(self) -> Iterator[bytes]:
        yield self._before
        left = self._upload.size
        for piece in self._upload.pieces:
            left -= len(piece)
            if left < 0:
                break
            yield piece
        if left:
            raise InvalidRequest(f"{self._upload.name} changed while it was sent; no job was made.")
        yield self._after

    def _head(self, name: str, more: str = "") -> bytes:
        disposition = f'Content-Disposition: form-data; name="{name}"{more}'
        return f"\r\n--{self._boundary}\r\n{disposition}\r\n\r\n".encode("utf-8", "backslashreplace")


def _document(source: str, asked: Asked) -> bytes:
    said = {"source": source, "model": asked.model, "destination": asked.destination}
    document: dict[str, object] = {name: text for name, text in said.items() if text is not None}
    if asked.options:
        document["options"] = asked.options
    return json.dumps(document).encode()


def _options(asked: Asked) -> str | None:
    return json.dumps(asked.options) if asked.options else None


def _watched(pieces: Iterable[bytes], on_bytes: Callable[[int], None]) -> Iterator[bytes]:
    sent = 0
    for piece in pieces:
        yield piece
        sent += len(piece)
        on_bytes(sent)

"""Bounded reading of multipart/form-data bodies, part by part, from an untrusted stream."""

from __future__ import annotations

from collections.abc import AsyncIterable, Mapping
from typing import TYPE_CHECKING, Protocol

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from app.errors import BodyTooLarge, InvalidRequest, TooManyImages
from app.routes.parts import Part, PartLimit

if TYPE_CHECKING:  # the name exists for type checkers only
    from python_multipart.multipart import MultipartCallbacks

MAX_PART_HEADERS = 16
MAX_PART_HEADER_BYTES = 4096


class Sink(Protocol):
    """Takes the bytes of one part as they come, so that they are never all in memory."""

    part: str
    """Name of the part that goes here."""

    def take(self, data: bytes) -> None:
        """Keep some bytes until the next `drain`."""
        ...

    async def drain(self) -> None:
        """Bring what was taken to where it belongs."""
        ...


async def read_parts(
    body: AsyncIterable[bytes],
    content_type: str,
    limits: Mapping[str, PartLimit],
    max_body_bytes: int,
    sink: Sink | None = None,
) -> list[Part]:
    """Read the whole form from `body`, in the order sent, and stop at the first byte over a limit.

    The part that goes into `sink` has no data here. Raises `InvalidRequest` (no boundary, broken framing,
    unknown or repeated part), `TooManyImages` and `BodyTooLarge`.
    """
    collector = _Collector(limits, sink)
    parser = _parser(content_type, collector.callbacks())
    received = 0
    async for chunk in body:
        received += len(chunk)
        if received > max_body_bytes:
            raise BodyTooLarge(f"The request body is larger than the limit of {max_body_bytes} bytes.")
        try:
            parser.write(chunk)
        except FormParserError as error:
            raise InvalidRequest(f"The multipart body is broken: {error}.") from error
        if sink is not None:
            await sink.drain()
    if not collector.finished:
        raise InvalidRequest("The multipart body ends before its closing boundary.")
    return collector.parts


def _parser(content_type: str, callbacks: MultipartCallbacks) -> MultipartParser:
    _, parameters = parse_options_header(content_type)
    boundary = parameters.get(b"boundary")
    if not boundary:
        raise InvalidRequest("The Content-Type multipart/form-data names no boundary.")
    try:
        return MultipartParser(
            boundary, callbacks, max_header_count=MAX_PART_HEADERS, max_header_size=MAX_PART_HEADER_BYTES
        )
    except FormParserError as error:
        raise InvalidRequest(f"The boundary of the multipart body is refused: {error}.") from error


class _Collector:
    """Owns the parts while the parser calls back; every limit but the body's is checked here."""

    def __init__(self, limits: Mapping[str, PartLimit], sink: Sink | None = None) -> None:
        self._sink = sink
        self.parts: list[Part] = []
        self.finished = False
        self._limits = limits
        self._counts = dict.fromkeys(limits, 0)
        self._start_part()

    def callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self._start_part,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._end_header,
            "on_headers_finished": self._end_headers,
            "on_part_data": self._part_data,
            "on_part_end": self._end_part,
            "on_end": self._end,
        }

    def _start_part(self) -> None:
        self._field, self._value = bytearray(), bytearray()
        self._disposition = b""
        self._name = ""
        self._filename: str | None = None
        self._data = bytearray()
        self._size = 0

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        if self._field.lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._field, self._value = bytearray(), bytearray()

    def _end_headers(self) -> None:
        disposition, parameters = parse_options_header(self._disposition)
        if disposition != b"form-data" or b"name" not in parameters:
            raise InvalidRequest("A part of the body has no Content-Disposition: form-data with a name.")
        self._name = _text(parameters[b"name"])
        filename = parameters.get(b"filename")
        self._filename = None if filename is None else _text(filename)
        self._admit()

    def _admit(self) -> None:
        if self._name not in self._limits:
            allowed = ", ".join(f"`{name}`" for name in self._limits)
            raise InvalidRequest(f"The part {self._name[:80]!r} is unknown; a request may have {allowed}.")
        self._counts[self._name] += 1
        most = self._limits[self._name].max_count
        if self._counts[self._name] <= most:
            return
        if self._name == "image":
            raise TooManyImages(f"The request has more than {most} images, the limit of one request.")
        raise InvalidRequest(f"The part `{self._name}` comes more than {_times(most)}.")

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        most = self._limits[self._name].max_bytes
        self._size += end - start
        if self._size > most:
            raise BodyTooLarge(f"The part `{self._name}` is larger than its limit of {most} bytes.")
        if self._sink is not None and self._sink.part == self._name:
            self._sink.take(data[start:end])
        else:
            self._data += data[start:end]

    def _end_part(self) -> None:
        self.parts.append(Part(self._name, self._filename, bytes(self._data)))
        self._data = bytearray()

    def _end(self) -> None:
        self.finished = True


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", errors="replace")


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"

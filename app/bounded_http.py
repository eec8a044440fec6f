"""The HTTP/1.1 reader of the service: uvicorn's fast one, with a bound on what comes before a body."""

from __future__ import annotations

import sys
from typing import Any

from httptools import HttpRequestParser
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES = 1 << 16
"""Most bytes of a request's first line and headers; as many of trailers and between two pieces of a body."""

_TOO_LARGE = b"The first line and the headers of the request have more than 65536 bytes."
_REFUSAL = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: text/plain; charset=utf-8\r\n"
    b"content-length: %d\r\nconnection: close\r\n\r\n%s" % (len(_TOO_LARGE), _TOO_LARGE)
)

_BODY_FOLLOWS = (b"content-length", b"transfer-encoding")


class _HeadTooLarge(Exception):  # noqa: N818 (it ends the parsing and is seen by nobody)
    """Raised into the parser, so that it stops."""


class BoundedHttpProtocol(HttpToolsProtocol):
    """Refuses what httptools would keep without end: it takes headers of any number and any length.

    What is known of headers is counted as they are complete. An unfinished one is kept by the parser, which
    tells nobody: so bytes are counted, too, that come without anything getting further.

    Answers requests for an upgrade as if they asked for none, as RFC 9110 lets it: Java's client asks for
    HTTP/2 whenever it may. At the end of such a head the parser gives up; a new one is fed a head of ours
    then, of which nothing is heard, so that it reads the body.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head_bytes = 0
        self._idle_bytes = 0
        self._piece_bytes = 0
        """Of what came last, as far as it is not known to belong to an earlier request."""
        self._refused = False
        self._headers_complete = False
        self._fed = b""
        self._left: bytes | None = None
        """To be fed next, after the head of a request for an upgrade."""
        self._body_comes = False
        """That of such a request."""

    def data_received(self, data: bytes) -> None:
        """Feed the parser; answers 431 and closes when the bound is exceeded."""
        if self._refused:
            return
        self._idle_bytes += len(data)
        self._piece_bytes = len(data)
        self._left = data
        while self._left is not None:
            self._fed, self._left = self._left, None
            super().data_received(self._fed)
        self._fed = b""
        if self._idle_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self._refuse()

    def send_400_response(self, msg: str) -> None:
        """Answer what cannot be parsed, and what we stopped the parser at."""
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refuse()
        else:
            super().send_400_response(msg)

    def _unsupported_upgrade_warning(self) -> None:
        """Go on behind the head of a request for an upgrade; uvicorn calls it from where it caught that."""
        behind: int = sys.exception().args[0]  # type: ignore[union-attr]
        rest = self._fed[behind:]
        if self._body_comes:
            self.parser = HttpRequestParser(self)
            lines = [b"%s: %s\r\n" % header for header in self.headers if header[0] in _BODY_FOLLOWS]
            self._left = b"".join((b"POST / HTTP/1.1\r\n", *lines, b"\r\n", rest))
        elif rest:
            self._left = rest

    def on_message_begin(self) -> None:
        """Begin a request: what came with its first byte counts, and may be all of an unfinished header."""
        if self._body_comes:
            return
        self._head_bytes = 0
        self._idle_bytes = self._piece_bytes
        self._headers_complete = False
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Take a piece of the request's target."""
        if self._body_comes:
            return
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one header; a trailer behind a body counts, but says nothing of the request or its sender."""
        if self._body_comes:
            return
        self._count(len(name) + len(value) + len(b": \r\n"))
        if not self._headers_complete:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Start the request."""
        self._idle_bytes = 0
        if self._body_comes:
            self._body_comes = False
            return
        self._headers_complete = True
        super().on_headers_complete()
        self._body_comes = self.parser.should_upgrade() and self._has_body()

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body, whose size the application bounds."""
        self._idle_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End the request."""
        if self._body_comes:
            return
        self._idle_bytes = self._piece_bytes = 0
        super().on_message_complete()

    def _has_body(self) -> bool:
        return any(name in _BODY_FOLLOWS for name, _ in self.headers)

    def _count(self, more: int) -> None:
        self._head_bytes += more
        if self._head_bytes > MAX_HEAD_BYTES:
            raise _HeadTooLarge

    def _refuse(self) -> None:
        self._refused = True
        self.transport.write(_REFUSAL)
        self.transport.close()

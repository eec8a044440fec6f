"""Strict JSON, as RFC 8259 has it: bytes that came from outside to Python values, or one sentence with the
place.
"""

from __future__ import annotations

import json
import math
import re
from typing import NoReturn

from app.errors import BodyTooLarge, InvalidJson

JsonValue = None | bool | int | float | str | list["JsonValue"] | dict[str, "JsonValue"]

_BOM = b"\xef\xbb\xbf"
_MAX_DEPTH = 500
_STRING_OR_CONSTANT = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"|NaN|-?Infinity', re.DOTALL)
_STRING_OR_BRACKET = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[\[\]{}]', re.DOTALL)
_MAX_EXACT_DIGITS = 300

MAX_VALUES = 2_000_000
"""Values of one document that are read: Python parses in one piece, while which no other thread runs."""


def parse(
    document: bytes, *, what: str = "The annotations", most_values: int = MAX_VALUES, of_python: bool = False
) -> JsonValue:
    """The value of a JSON document.

    Stricter than Python: no NaN or Infinity, no byte-order mark, UTF-8 only, no deeper than Python's parser
    goes (500 levels always pass). Integers too long to be counted with become floats (infinite ones where
    they overflow). Raises InvalidJson, and BodyTooLarge beyond `most_values`. `of_python` takes what Python
    and Windows write into files: NaN and Infinity become None, a byte-order mark is passed over.
    """
    if of_python:
        document = document.removeprefix(_BOM)
    if document.startswith(_BOM):
        raise InvalidJson(f"{what} start with a byte-order mark at byte 0; send plain UTF-8.")
    values = document.count(b",") + document.count(b"[") + document.count(b"{")  # those in strings, too
    if values > most_values:
        raise BodyTooLarge(
            f"{what} hold about {values} values, but the limit is {most_values}; send fewer at once."
        )
    try:
        text = document.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidJson(
            f"{what} are not valid UTF-8: byte {error.start} is not part of a character."
        ) from error
    try:
        return _loads(text, of_python=of_python)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise InvalidJson(f"{what} are not valid JSON: {error.msg} at {place}.") from error
    except _ConstantError as error:
        place = _place(text, _constant_at(text))
        raise InvalidJson(f"{what} are not valid JSON: {error} is no JSON number, at {place}.") from error
    except RecursionError as error:
        place = _place(text, _too_deep_at(text))
        raise InvalidJson(f"{what} are nested deeper than {_MAX_DEPTH} levels at {place}.") from error


class _ConstantError(Exception):
    """NaN, Infinity or -Infinity, which Python reads and JSON does not have."""


def _loads(text: str, *, of_python: bool) -> JsonValue:
    constant = _none if of_python else _refuse_constant
    try:
        value: JsonValue = (_decode_of_python if of_python else _decode)(text)
    except json.JSONDecodeError:
        raise
    except ValueError:  # an integer of more digits than Python converts; the slow parser reads it
        value = json.loads(text, parse_constant=constant, parse_int=_integer)
    return value


def _none(_: str) -> None:
    return None


def _refuse_constant(name: str) -> NoReturn:
    raise _ConstantError(name)


# `loads` would make one each time.
_decode = json.JSONDecoder(parse_constant=_refuse_constant).decode
_decode_of_python = json.JSONDecoder(parse_constant=_none).decode


def _integer(digits: str) -> int | float:
    return (
        int(digits) if len(digits) <= _MAX_EXACT_DIGITS else math.copysign(math.inf, float(digits[:2] + "1"))
    )


def _too_deep_at(text: str) -> int:
    """Where the nesting passes the limit; the text's length where it never does."""
    depth = 0
    for match in _STRING_OR_BRACKET.finditer(text):
        token = match.group()
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(token, 0)
        if depth > _MAX_DEPTH:
            return match.start()
    return len(text)


def _constant_at(text: str) -> int:
    return next((m.start() for m in _STRING_OR_CONSTANT.finditer(text) if not m.group().startswith('"')), 0)


def _place(text: str, position: int) -> str:
    line = text.count("\n", 0, position) + 1
    return f"line {line}, column {position - text.rfind(chr(10), 0, position)}"

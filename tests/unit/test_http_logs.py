"""Every event is one line, and what comes from outside cannot forge another."""

from __future__ import annotations

import logging

from app.logs import LineFormatter, pairs


def record(message: str, **more: object) -> logging.LogRecord:
    return logging.makeLogRecord(
        {"msg": message, "name": "n", "levelname": "INFO", "created": 0.0, "msecs": 0.0} | more
    )


def test_values_from_outside_are_quoted() -> None:
    assert pairs(path="/a b", status=200, ms=1.25, who='x" y="') == (
        'path="/a b" status=200 ms=1.2 who="x\\" y=\\""'
    )


def test_a_line_break_in_a_message_is_escaped() -> None:
    line = LineFormatter().format(record("one\r\ntwo"))
    assert line == "1970-01-01T00:00:00.000Z INFO n one\\r\\ntwo"


def test_a_traceback_follows_indented() -> None:
    try:
        {}["x"]
    except KeyError as error:
        info = (KeyError, error, error.__traceback__)
    first, *others = LineFormatter().format(record("failed", exc_info=info)).splitlines()
    assert first.endswith("n failed")
    assert others[-1] == "    KeyError: 'x'"
    assert all(line.startswith("    ") for line in others)

"""How the service logs: one line of key=value pairs per event, on standard error."""

from __future__ import annotations

import json
import logging
import logging.config
import re
import time

_PLAIN = re.compile(r"[\w.:/@+,*%-]+")


class LineFormatter(logging.Formatter):
    """Writes `time level logger message key=value …`; a traceback follows indented on its own lines."""

    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (logging's name)
        """One line without the traceback; line breaks inside the message are escaped."""
        return super().formatMessage(record).replace("\r", "\\r").replace("\n", "\\n")

    def formatException(self, ei: object) -> str:  # noqa: N802 (logging's name)
        """The traceback, indented, so that every event still begins at the margin."""
        text = super().formatException(ei)  # type: ignore[arg-type]
        return "\n".join(f"    {line}" for line in text.splitlines())


def pairs(**fields: object) -> str:
    """Write fields as `key=value key="va lue"`; values from outside cannot forge a pair or a line."""
    return " ".join(f"{key}={_value(value)}" for key, value in fields.items())


def configure_logs(level: str) -> None:
    """Send the logs of Simtrue and of the HTTP server, from `level` up, to standard error."""
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"line": {"()": LineFormatter}},
            "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
            "root": {"handlers": ["stderr"], "level": "WARNING"},
            "loggers": {
                "simtrue": {"level": level.upper()},
                "app": {"level": level.upper()},
                "python_multipart": {"level": "ERROR"},  # refused forms are answered, not logged
                "uvicorn": {"level": "WARNING"},
            },
        }
    )


def _value(value: object) -> str:
    text = f"{value:.1f}" if isinstance(value, float) else str(value)
    return text if _PLAIN.fullmatch(text) else json.dumps(text)

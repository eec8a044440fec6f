"""Owns the page as a whole: one HTML document with its style and pictures inside."""

from pathlib import Path

from trainer.evaluation.html.overview import alarms, cards, header
from trainer.evaluation.html.pictures import fitting
from trainer.evaluation.html.preservation import preservation
from trainer.evaluation.html.realism import realism
from trainer.evaluation.html.table import table
from trainer.evaluation.html.text import escape
from trainer.evaluation.html.usefulness import usefulness
from trainer.evaluation.pictures import Pictures
from trainer.evaluation.results import Report

STYLE = Path(__file__).with_name("style.css")


def render(report: Report, pictures: Pictures) -> str:
    """The report as HTML: under 2 MB, no script, nothing loaded from elsewhere."""
    inline = fitting(pictures)
    sections = (
        header(report),
        alarms(report),
        cards(report),
        table(report),
        realism(report, pictures, inline),
        preservation(report, pictures, inline),
        usefulness(report),
        _settings(report),
    )
    names = ", ".join(candidate.name for candidate in report.candidates)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">'
        f"<title>{escape(names)} – Simtrue evaluation</title>"
        f"<style>{STYLE.read_text(encoding='utf-8')}</style></head>\n<body><main>\n"
        + "\n".join(sections)
        + "\n</main></body></html>\n"
    )


def _settings(report: Report) -> str:
    minutes = report.seconds / 60
    took = f"{minutes:.0f} minutes" if minutes >= 2 else f"{report.seconds:.0f} seconds"
    rows = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in report.settings.items()
    )
    settings = f"<dl>{rows}</dl><pre><code>{escape(report.command)}</code></pre>"
    measured = f"Measured {escape(_moment(report.created_utc))} in {took}."
    return (
        f"<section><h2>How this was measured</h2>{settings}</section>"
        f"<footer>{measured} Every number is also in the JSON file.</footer>"
    )


def _moment(created_utc: str) -> str:
    """`2026-01-31T12:00:00+00:00` as a person writes it."""
    return f"{created_utc[:10]} {created_utc[11:16]} UTC"

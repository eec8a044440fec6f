"""Owns the files of a study: study.json, study.md and study.html, written anew after every run."""

import json
from pathlib import Path

from trainer.disk import telling, write_atomically
from trainer.evaluation.results import Estimate
from trainer.studies.outcome import Measure
from trainer.studies.page import to_html
from trainer.studies.results import Results, shown, spread_of, table_of, troubles


def write_results(results: Results) -> tuple[Path, ...]:
    """Write all three; each is whole at any time."""
    files = {
        "study.json": json.dumps(to_json(results), indent=2, ensure_ascii=False, allow_nan=False) + "\n",
        "study.md": to_markdown(results),
        "study.html": to_html(results),
    }
    with telling(results.out):
        results.out.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, text in files.items():
        content = text.encode()
        write_atomically(path := results.out / name, lambda file, content=content: file.write(content))  # type: ignore[misc]
        paths.append(path)
    return tuple(paths)


def to_json(results: Results) -> dict[str, object]:
    """Every number, of every run and over seeds."""
    table = table_of(results)
    return {
        "study": results.study.name,
        "question": results.study.question,
        "command": results.command,
        "seeds": list(results.seeds),
        "base": results.base.model_dump(mode="json"),
        "variants": [_variant(results, name, table.columns) for name in results.configs],
    }


def to_markdown(results: Results) -> str:
    """A table of mean ± standard deviation over seeds, what went wrong, and the command."""
    table = table_of(results)
    heads = ["variant", "settings", "runs", *(measure.heading for measure in table.columns)]
    lines = [
        f"# Study `{results.study.name}`",
        "",
        results.study.question,
        "",
        _row(heads),
        _row(["---"] * 3 + ["---:"] * len(table.columns)),
    ]
    for row in table.rows:
        cells = (_cell(cell, measure) for cell, measure in zip(row.cells, table.columns, strict=True))
        lines.append(_row([row.name, row.detail, row.runs, *cells]))
    lines += ["", f"Mean ± standard deviation over the seeds {', '.join(map(str, results.seeds))}."]
    lines += _troubles(results)
    return "\n".join([*lines, "", f"    {results.command}", ""])


def _variant(results: Results, name: str, columns: tuple[Measure, ...]) -> dict[str, object]:
    outcomes = results.of(name)
    spreads = {measure.name: spread_of(outcomes, measure.name) for measure in columns}
    return {
        "name": name,
        "changes": results.changed(name),
        "mean": {key: cell.mean for key, cell in spreads.items() if cell is not None},
        "standard_deviation": {key: cell.deviation for key, cell in spreads.items() if cell is not None},
        "runs": [outcome.model_dump(mode="json") for outcome in outcomes],
    }


def _troubles(results: Results) -> list[str]:
    lines = [f"- {variant}, {sentence}" for variant, sentence in troubles(results)]
    return ["", "What went wrong:", "", *lines] if lines else []


def _cell(cell: Estimate | None, measure: Measure) -> str:
    return shown(cell, measure).replace("\u202f", " ")


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

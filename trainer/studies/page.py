"""Owns the page of a study: one self-contained HTML file of table, training curves and sample grids."""

import base64

from trainer.evaluation.html.charts import Line, line_chart, swatch
from trainer.evaluation.html.overview import look
from trainer.evaluation.html.page import STYLE
from trainer.evaluation.html.text import NOTHING, escape
from trainer.run_folder import RunFolder
from trainer.studies.curves import mean_curve, read_lines
from trainer.studies.outcome import Measure, Outcome
from trainer.studies.results import Results, Row, shown, table_of, troubles

CURVES = (
    ("discriminator_accuracy", "Discriminator", "balanced accuracy; 0.5: it cannot tell"),
    ("realism_loss", "Realism loss", "what the refiner pays for looking refined"),
    ("self_regularization_loss", "Self-regularization", "|psi(refined) - psi(synthetic)|, without lambda"),
    ("mean_absolute_change_of_255", "Change", "mean |refined - synthetic|, levels of 255"),
    ("edge_agreement", "Edges", "agreement before and after; 1: every edge is where it was"),
)
DETAIL = "style='display:block;max-width:200px;white-space:normal;color:var(--soft)'"


def to_html(results: Results) -> str:
    """The study as HTML: no script, nothing loaded from elsewhere."""
    name = results.study.name
    sections = (
        f"<header><p class='brand'>Simtrue study</p><h1>{escape(name)}</h1>"
        f"<p class='how'>{escape(results.study.question)}</p><dl class='sets'><dt>synthetic</dt>"
        f"<dd>{escape(results.base.synthetic)}</dd><dt>real</dt><dd>{escape(results.base.real)}</dd></dl>"
        "</header>",
        _troubles(results),
        _table(results),
        _curves(results),
        _grids(results),
        _settings(results),
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">'
        f"<title>{escape(name)} – Simtrue study</title>"
        f"<style>{STYLE.read_text(encoding='utf-8')}</style></head>\n<body><main>\n"
        + "\n".join(sections)
        + "\n</main></body></html>\n"
    )


def _troubles(results: Results) -> str:
    items = [
        f"<li>{_named(results, variant)}, {escape(sentence)}</li>" for variant, sentence in troubles(results)
    ]
    if not items:
        return "<p class='calm'>No run diverged or raised an alarm.</p>"
    return (
        f"<aside class='alarms' aria-label='Alarms'><h2>What went wrong</h2><ul>{''.join(items)}</ul></aside>"
    )


def _table(results: Results) -> str:
    table = table_of(results)
    heads = "".join(
        f"<th scope='col'><span style='max-width:110px'>{escape(measure.heading)}</span></th>"
        for measure in table.columns
    )
    body = "".join(_row(results, row, table.columns) for row in table.rows)
    seeds = ", ".join(map(str, results.seeds))
    return (
        f"<section><h2>Variants</h2><p class='how'>Mean ± standard deviation over the seeds {seeds}.</p>"
        "<div class='wide' tabindex='0' role='group' aria-label='Table'><table><thead><tr><th>variant</th>"
        f"<th scope='col'>runs</th>{heads}</tr></thead><tbody>{body}</tbody></table></div></section>"
    )


def _row(results: Results, row: Row, columns: tuple[Measure, ...]) -> str:
    cells = "".join(
        f"<td>{escape(shown(cell, measure))}</td>" for cell, measure in zip(row.cells, columns, strict=True)
    )
    name = _named(results, row.name) if row.name in results.configs else escape(row.name)
    head = f"<th scope='row'>{name} <small {DETAIL}>{escape(row.detail)}</small></th>"
    return f"<tr>{head}<td>{row.runs}</td>{cells}</tr>"


def _curves(results: Results) -> str:
    logs = {
        variant: [read_lines(_run(results, outcome).metrics) for outcome in results.of(variant)]
        for variant in results.configs
    }
    charts = []
    for name, title, meaning in CURVES:
        lines = [
            Line(variant, look(index), mean_curve(logs[variant], name, config))
            for index, (variant, config) in enumerate(results.configs.items())
        ]
        lines = [line for line in lines if line.points]
        if lines:
            drawing = line_chart(title, lines, "refiner updates", title.lower())
            charts.append(
                f"<figure class='plot'><figcaption><b>{escape(title)}</b> {escape(meaning)}</figcaption>"
                f"{drawing}</figure>"
            )
    return (
        "<section><h2>Training</h2><p class='how'>Means over seeds, from the log of every run.</p>"
        f"<div class='charts'>{''.join(charts)}</div></section>"
    )


def _grids(results: Results) -> str:
    parts = []
    for variant in results.configs:
        for outcome in results.of(variant):
            grids = sorted(_run(results, outcome).grids.glob("*.png"))
            if grids:
                source = base64.b64encode(grids[-1].read_bytes()).decode()
                words = f"{variant}, seed {outcome.seed}, step {int(grids[-1].stem)}"
                parts.append(
                    f"<figure class='plot'><figcaption><b>{_named(results, variant)}</b> "
                    f"seed {outcome.seed}, step {int(grids[-1].stem)}</figcaption><img "
                    f"style='max-width:100%' alt='{escape(words)}' src='data:image/png;base64,{source}'>"
                    "</figure>"
                )
                break
    return f"<section><h2>Samples</h2>{''.join(parts)}</section>" if parts else ""


def _settings(results: Results) -> str:
    measured = {outcome.measured_with for outcome in results.outcomes if not outcome.diverged}
    return (
        "<section><h2>How this was measured</h2><dl><dt>preset</dt>"
        f"<dd>{escape(results.base.preset)}</dd><dt>steps of the base</dt><dd>{results.base.steps}</dd>"
        f"<dt>measured with</dt><dd>{escape('; '.join(sorted(measured)) or NOTHING)}</dd></dl>"
        f"<pre><code>{escape(results.command)}</code></pre></section><footer>Every number is also in "
        "study.json, every run in runs/.</footer>"
    )


def _named(results: Results, variant: str) -> str:
    return f"{swatch(look(list(results.configs).index(variant)))}{escape(variant)}"


def _run(results: Results, outcome: Outcome) -> RunFolder:
    return RunFolder(results.runs / outcome.run)

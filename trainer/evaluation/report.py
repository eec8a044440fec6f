"""Owns how an evaluation is shown: a table at the terminal, JSON for machines."""

from rich.console import Console
from rich.table import Table

from trainer.evaluation.evaluate import Evaluation


def print_report(evaluation: Evaluation, console: Console) -> None:
    """Show one evaluation as a table."""
    table = Table(title=evaluation.candidate, title_justify="left")
    table.add_column("judge: balanced accuracy (0.5 = cannot tell)")
    table.add_column("mean", justify="right")
    table.add_column("95 % ±", justify="right")
    for name, verdict in (
        ("floor: real against real", evaluation.floor),
        ("refined against real", evaluation.refined),
        ("start: synthetic against real", evaluation.start),
    ):
        table.add_row(name, f"{verdict.mean:.3f}", f"{verdict.half_width:.3f}")
    console.print(table)
    kept = evaluation.preservation
    console.print(
        f"mean absolute change {kept.mean_absolute_change_levels:.2f} levels · "
        f"correlation of gradients before and after {kept.gradient_correlation:.3f}",
        highlight=False,
    )


def to_json(evaluation: Evaluation) -> dict[str, object]:
    """The same numbers; `metrics` is what goes into a model card."""
    verdicts = {"floor": evaluation.floor, "refined": evaluation.refined, "start": evaluation.start}
    metrics: dict[str, float] = {}
    for name, verdict in verdicts.items():
        metrics[f"judge_{name}_accuracy"] = round(verdict.mean, 4)
        metrics[f"judge_{name}_half_width_95"] = round(verdict.half_width, 4)
    kept = evaluation.preservation
    metrics["mean_absolute_change_levels"] = round(kept.mean_absolute_change_levels, 4)
    metrics["gradient_correlation"] = round(kept.gradient_correlation, 4)
    return {
        "candidate": evaluation.candidate,
        "accuracies": {name: list(verdict.accuracies) for name, verdict in verdicts.items()},
        "metrics": metrics,
    }

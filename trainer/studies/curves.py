"""Owns what the log of a run says over its course: curves over refiner updates, and the minutes it took."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from trainer.config import TrainConfig
from trainer.run_folder import RunFolder

Points = tuple[tuple[float, float], ...]


def read_lines(metrics: Path) -> list[dict[str, float]]:
    """The log lines of Algorithm 1 (not of the warm-ups, nor alarms); a torn last line is left out."""
    if not metrics.is_file():
        return []
    lines = []
    for text in metrics.read_text(encoding="utf-8").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            break
        if line.pop("phase", None) == "training":
            lines.append(line)
    return lines


def mean_curve(runs: Sequence[Sequence[Mapping[str, float]]], name: str, config: TrainConfig) -> Points:
    """A number over refiner updates: at each log line the mean over those runs that have it."""
    values: dict[float, list[float]] = {}
    for lines in runs:
        for line in lines:
            if name in line:
                updates = line["step"] * config.refiner_updates_per_step
                values.setdefault(updates, []).append(line[name])
    return tuple((updates, fmean(values[updates])) for updates in sorted(values))


def minutes(run: RunFolder, config: TrainConfig) -> float:
    """How long Algorithm 1 took, without pauses between a stop and going on."""
    seconds, last = 0.0, 0.0
    for line in read_lines(run.metrics):
        images = (line["step"] - last) * config.refiner_updates_per_step * config.batch_size
        seconds += images / max(line["images_per_s"], 1e-9)
        last = line["step"]
    return seconds / 60.0

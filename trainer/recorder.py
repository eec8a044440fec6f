"""Owns what a run leaves behind: log lines, TensorBoard events, grids, checkpoints, alarms."""

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from time import monotonic

from trainer.alarms import Alarm
from trainer.checkpoint import save_checkpoint
from trainer.consistency import Consistency
from trainer.console import Console
from trainer.disk import telling, write_atomically
from trainer.evaluation.alarms import cannot_read
from trainer.grid import draw_grid, to_png
from trainer.run_folder import RunFolder
from trainer.samples import sample_rows
from trainer.tensorboard import TensorBoardLog
from trainer.training import Training
from trainer.validation import Validation

GRID_COLUMNS = 8


class Recorder:
    """The main process's pen; opened after a checkpoint was restored, so that no line is written twice."""

    def __init__(self, folder: RunFolder, run: Training, console: Console) -> None:
        self._folder, self._console = folder, console
        iteration = run.clock.iteration
        with telling(folder.metrics):
            keep_lines_until(folder.metrics, iteration)
            # Without a buffer: what a full disk refused must not come back when the file is closed.
            self._metrics = folder.metrics.open("ab", buffering=0)
        self._tensorboard: TensorBoardLog | None = None
        if run.config.tensorboard:
            with telling(folder.tensorboard):
                self._tensorboard = TensorBoardLog(folder.tensorboard, iteration + 1)
        self._last_time, self._last_updates = monotonic(), _updates(run)
        console.start(run)

    def learning(self, consistency: Consistency) -> None:
        """Say that an estimator learns before anything else is to be seen."""
        self._console.say(
            f"an estimator learns the labels of {len(consistency.learned)} synthetic images in "
            f"{consistency.updates} updates"
        )

    def learned(self, consistency: Consistency) -> None:
        """Say how well the estimator of the labels reads images that it has not seen."""
        metric, score = consistency.estimation.metric, consistency.score
        # Of the first iteration: a run that begins anew, for want of a checkpoint, writes it again.
        self._write({"iteration": 1, "estimator": {"metric": metric, "score": score}})
        self._console.say(
            f"its answers about {len(consistency.asked)} others: {metric} is {score:.3f}; refinement must "
            "keep them"
        )
        if (sentence := cannot_read(metric, score, consistency.skill)) is not None:
            self._write({"iteration": 1, "alarm": "blind_estimator", "sentence": sentence})
            self._console.alarm(Alarm("blind_estimator", 0, sentence))

    def log(self, run: Training, phase: str, step: int, means: Mapping[str, float]) -> None:
        """Write one line about the steps since the last one, and what is wrong, if anything."""
        images_per_s = self._images_per_s(run)
        line = metrics_line(run, means)
        place = {"iteration": run.clock.iteration, "phase": phase, "step": step}
        self._write({**place, **line, "images_per_s": round(images_per_s, 2)})
        if self._tensorboard is not None:
            with telling(self._folder.tensorboard):
                self._tensorboard.scalars({**line, "images_per_s": images_per_s}, run.clock.iteration)
        self._console.progress(run, phase, step, line, images_per_s)
        if phase == "training":
            self._tell(run.alarms.observe(step, line), run)

    def grid(self, run: Training, step: int) -> None:
        """Draw synthetic, refined and real samples."""
        image = draw_grid(sample_rows(run.ema.refiner, run.data, run.config.seed, GRID_COLUMNS))
        png = to_png(image)
        write_atomically(self._folder.grids / f"{step:06d}.png", lambda file: file.write(png))
        if self._tensorboard is not None:
            with telling(self._folder.tensorboard):
                self._tensorboard.image("samples", png, (image.height, image.width), run.clock.iteration)

    def validate(self, run: Training, step: int) -> Validation | None:
        """Measure the averaged refiner without labels; the validator remembers which one to hand over.

        None where the images are too small to be measured.
        """
        if run.validator is None:
            return None
        found = run.validator.observe(run.ema.refiner, step)
        kept = None if run.consistency is None else run.consistency.kept(run.ema.refiner)
        numbers = {
            **found.numbers,
            **({} if kept is None else {"label_change_mean": kept.mean, "label_change_median": kept.median}),
            "self_regularization_weight": run.regularization.weight,
            "refiner_pace": run.pace.factor,
            **({} if run.wide is None else {"wide_say": run.say.factor}),
        }
        self._write({"iteration": run.clock.iteration, "step": step, "validation": numbers})
        if self._tensorboard is not None:
            with telling(self._folder.tensorboard):
                named = {f"validation/{name}": value for name, value in numbers.items()}
                self._tensorboard.scalars(named, run.clock.iteration)
        colours = f" and {found.colours_lost_fraction:.1%} of the colours" if run.data.channels == 3 else ""
        pace = f", refiner {run.pace.factor:.2g} times as fast" if run.config.refiner_pace_limit > 1 else ""
        wide = "" if run.wide is None else f", larger patches have {run.say.factor:.0%} of their say"
        self._console.say(
            f"step {step}: patches {found.sliced_wasserstein:.2f} levels from real (synthetic ones "
            f"{run.validator.unrefined:.2f}), {found.lost_fraction:.1%} of the content{colours} lost, "
            f"lambda {run.regularization.weight:.3g}{pace}{wide}{'' if kept is None else f', {kept}'}"
        )
        beyond = found.beyond if kept is None else {**found.beyond, "drifting_labels": kept.drifting}
        self._tell(run.alarms.observe_validation(step, beyond, last=step == run.length.last), run)
        return found

    def extended(self, run: Training, step: int) -> None:
        """Say that the run has become longer."""
        self._write({"iteration": run.clock.iteration, "step": step, "last_step": run.length.last})
        self._console.say(
            f"step {step}: refiners are still far from real: {run.length.last} steps instead of "
            f"{run.config.steps}"
        )

    def checkpoint(self, run: Training) -> None:
        """Save the run; the caller has checked that it is finite."""
        path = save_checkpoint(
            self._folder.checkpoints, run.clock.iteration, run.state_dict(), run.config.keep_checkpoints
        )
        self._console.saved(path)

    def close(self) -> None:
        """Close every file."""
        self._console.stop()
        if self._tensorboard is not None:
            self._tensorboard.close()
        self._metrics.close()

    def _tell(self, due: Iterable[Alarm], run: Training) -> None:
        for alarm in due:
            self._write({"iteration": run.clock.iteration, "alarm": alarm.name, "sentence": alarm.sentence})
            self._console.alarm(alarm)

    def _write(self, line: Mapping[str, object]) -> None:
        with telling(self._folder.metrics):
            left = json.dumps(line).encode() + b"\n"
            while left:
                left = left[self._metrics.write(left) :]

    def _images_per_s(self, run: Training) -> float:
        now, updates = monotonic(), _updates(run)
        images = (updates - self._last_updates) * run.config.batch_size
        seconds = max(now - self._last_time, 1e-9)
        self._last_time, self._last_updates = now, updates
        return images / seconds


def metrics_line(run: Training, means: Mapping[str, float]) -> dict[str, float]:
    """The numbers of a log line: the means, the change in grey levels, D's balanced accuracy."""
    line = dict(means)
    if run.consistency is None:
        line.pop("label_divergence", None)
    if "mean_absolute_change" in line:
        change = line.pop("mean_absolute_change") / 2.0
        line["mean_absolute_change_levels"] = change * run.data.peak
        line["mean_absolute_change_of_255"] = change * 255.0
    if "accuracy_on_real" in line:
        line["discriminator_accuracy"] = (line["accuracy_on_refined"] + line["accuracy_on_real"]) / 2.0
    return line


def keep_lines_until(metrics: Path, iteration: int) -> None:
    """Cut off lines after `iteration`, and all from the first that a killed process or a power cut tore."""
    if not metrics.is_file():
        return
    kept = 0
    with metrics.open("rb") as file:
        for line in file:
            if not line.endswith(b"\n") or _iteration(line) > iteration:
                break
            kept += len(line)
    if kept < metrics.stat().st_size:
        with metrics.open("r+b") as file:
            file.truncate(kept)


def _iteration(line: bytes) -> float:
    """When a line was written; infinity for what is no log line."""
    try:
        return int(json.loads(line)["iteration"])
    except (ValueError, KeyError, TypeError):
        return math.inf


def _updates(run: Training) -> int:
    """Updates of R, or of D while R waits: both see one batch of synthetic images each."""
    clock = run.clock
    return clock.refiner_updates + clock.warmup_discriminator

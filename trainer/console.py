"""Owns what a run says at the terminal: a progress bar, or plain lines where there is no terminal."""

from collections.abc import Mapping
from pathlib import Path
from time import monotonic

from rich.console import Console as RichConsole
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from trainer.alarms import Alarm
from trainer.time_left import in_words
from trainer.training import Training

PHASES = {"warmup_refiner": "warm-up R", "warmup_discriminator": "warm-up D", "training": "training"}


class Console:
    """Speaks on standard error."""

    def __init__(self, rich: RichConsole | None = None) -> None:
        self._rich = rich or RichConsole(stderr=True, soft_wrap=True, highlight=False)
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._first_line: tuple[int, float] | None = None
        """Iteration and time of the first line about training itself, whose steps take the longest."""

    def say(self, sentence: str) -> None:
        """One plain line."""
        self._rich.print(sentence, markup=False)

    def start(self, run: Training) -> None:
        """Begin to show progress."""
        if not self._rich.is_terminal:
            return
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[numbers]}"),
            console=self._rich,
        )
        self._task = self._bar.add_task(
            "", total=total_iterations(run), completed=run.clock.iteration, numbers=""
        )
        self._bar.start()

    def progress(
        self, run: Training, phase: str, step: int, line: Mapping[str, float], images_per_s: float
    ) -> None:
        """Show a log line."""
        numbers = describe(line, images_per_s)
        if self._bar is not None and self._task is not None:
            self._bar.update(
                self._task,
                total=total_iterations(run),
                completed=run.clock.iteration,
                description=PHASES[phase],
                numbers=numbers,
            )
        else:
            left = f"{total_iterations(run) - run.clock.iteration} left{self._time_left(run, phase)}"
            self.say(f"{PHASES[phase]} {step} ({left}): {numbers}")

    def _time_left(self, run: Training, phase: str) -> str:
        """In words after a comma; nothing as long as too little of the training is timed."""
        if phase != "training":
            return ""
        now = run.clock.iteration, monotonic()
        if self._first_line is None:
            self._first_line = now
            return ""
        done, seconds = (one - other for one, other in zip(now, self._first_line, strict=True))
        left = total_iterations(run) - run.clock.iteration
        return f", {in_words(left * seconds / max(done, 1))}" if left else ""

    def saved(self, path: Path) -> None:
        """Say where a checkpoint is, on a terminal only in passing."""
        if self._bar is None:
            self.say(f"saved {path}")

    def decoding(self, role: str, done: int, total: int) -> None:
        """Show how far the images of one side are decoded."""
        if not self._rich.is_terminal:
            return
        if self._bar is None:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
            )
            self._bar = Progress(*columns, console=self._rich, transient=True)
            self._task = self._bar.add_task(f"decoding {role} images", total=total)
            self._bar.start()
        assert self._task is not None
        self._bar.update(self._task, completed=done)
        if done == total:
            self.stop()

    def alarm(self, alarm: Alarm) -> None:
        """Say what is wrong."""
        self._rich.print(f"warning: {alarm.sentence}", style="yellow", markup=False)

    def stop(self) -> None:
        """Leave the terminal as it was."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def total_iterations(run: Training) -> int:
    """Warm-up and training steps of the whole run."""
    config = run.config
    return config.warmup_refiner_steps + config.warmup_discriminator_steps + run.length.last


def describe(line: Mapping[str, float], images_per_s: float) -> str:
    """The numbers worth watching, in one line."""
    parts = [f"{images_per_s:.0f} images/s"]
    for label, key, pattern in (
        ("R", "refiner_loss", "{:.3f}"),
        ("D", "discriminator_loss", "{:.3f}"),
        ("D accuracy", "discriminator_accuracy", "{:.3f}"),
        ("labels", "label_divergence", "{:.3f}"),
        ("change", "mean_absolute_change_levels", "{:.2f} levels"),
    ):
        if key in line:
            parts.append(f"{label} {pattern.format(line[key])}")
    return " · ".join(parts)

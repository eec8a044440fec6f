"""What a run says where there is no terminal."""

import io
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from rich.console import Console as RichConsole  # noqa: E402

from trainer.console import Console  # noqa: E402
from trainer.time_left import in_words  # noqa: E402

pytestmark = pytest.mark.train


def run_at(iteration: int) -> Any:
    config = SimpleNamespace(warmup_refiner_steps=0, warmup_discriminator_steps=100)
    length = SimpleNamespace(last=3000)
    return SimpleNamespace(config=config, length=length, clock=SimpleNamespace(iteration=iteration))


def test_the_time_left_is_told_from_the_steps_of_training_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    said = io.StringIO()
    console = Console(RichConsole(file=said, soft_wrap=True))
    lines = ((0.0, 50, "warmup_discriminator"), (10.0, 150, "training"), (40.0, 250, "training"))
    for seconds, iteration, phase in (*lines, (865.0, 3000, "training"), (900.0, 3100, "training")):
        monkeypatch.setattr("trainer.console.monotonic", lambda seconds=seconds: seconds)
        console.progress(run_at(iteration), phase, iteration, {}, 60.0)
    assert [line.split(":")[0] for line in said.getvalue().splitlines()] == [
        "warm-up D 50 (3050 left)",
        "training 150 (2950 left)",
        "training 250 (2850 left, about 14 min)",
        "training 3000 (100 left, about 30 s)",
        "training 3100 (0 left)",
    ]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (3, "a few seconds"),
        (84, "about 80 s"),
        (95, "about 2 min"),
        (5e3, "about 83 min"),
        (9e3, "about 2.5 h"),
    ],
)
def test_times_are_rounded_as_one_says_them(seconds: float, words: str) -> None:
    assert in_words(seconds) == words

"""Training with labels: an estimator learns them first, and what it reads is compared from then on."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from small_runs import FAST, fit, flags, lines, refusal, write_images  # noqa: E402

from trainer.cli import main  # noqa: E402
from trainer.data import load_data  # noqa: E402
from trainer.distributed import World  # noqa: E402
from trainer.hardware import Hardware  # noqa: E402
from trainer.labels.task import load_lesson  # noqa: E402
from trainer.options import resolve  # noqa: E402
from trainer.sources import Reading  # noqa: E402
from trainer.training import build_training  # noqa: E402

pytestmark = pytest.mark.train


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def labelled(folder: Path, task: str = "", count: int = 32) -> Path:
    """A task file about `count` squares, in which half they lie; it need not name any real image."""
    np.savez(folder / "labels.npz", side=np.arange(count) % 2)
    file = folder / "task.toml"
    file.write_text(f'kind = "regression"\nlabels = "labels.npz:side"\nnames = ["side"]\n{task}')
    return file


@pytest.mark.parametrize("window", ["whole", "12x12"])
def test_labels_are_learned_first_and_what_is_read_in_images_is_compared_from_then_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], window: str
) -> None:
    task = labelled(tmp_path, '[test]\nimages = "nowhere"\nlabels = "nowhere.npz:x"\n')
    run = fit(tmp_path, labels=task, labels_updates=4, window=window, validate_every=6)
    told = lines(run)
    assert list(told[0]) == ["iteration", "estimator"]
    said = capsys.readouterr().err
    assert "an estimator learns the labels of 28 synthetic images in 4 updates" in said
    assert "its answers about 4 others: 1 - MAE / std is" in said
    steps = [line for line in told if line.get("phase") == "training"]
    assert all(line["label_divergence"] > 0 for line in steps)
    if window == "whole":  # smaller ones have too few pixels to be measured
        assert re.search(r"change of side [0-9.e-]+ \(median\)", said)
        measured = [line["validation"]["label_change_mean"] for line in told if "validation" in line]
        assert [change > 0 for change in measured] == [True, True]
    state = torch.load(max(run.checkpoints.glob("*.pt")), weights_only=True)["state"]
    assert set(state["consistency"]) == {"network", "score"}


def test_a_run_that_begins_anew_tells_once_what_its_estimator_learned(tmp_path: Path) -> None:
    run = fit(tmp_path, labels=labelled(tmp_path), labels_updates=2)
    told = lines(run)
    for checkpoint in run.checkpoints.glob("*.pt"):
        checkpoint.unlink()
    main(["resume", str(run.path)])
    again = lines(run)
    assert [line["iteration"] for line in again] == [line["iteration"] for line in told]
    assert again[0] == told[0]
    assert ["estimator" in line for line in again].count(True) == 1


def test_an_estimator_that_learned_nothing_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = fit(tmp_path, labels=labelled(tmp_path), labels_updates=1)
    (sentence,) = [line["sentence"] for line in lines(run) if line.get("alarm") == "blind_estimator"]
    assert sentence.startswith("the estimator cannot read the synthetic images: 1 - MAE / std is ")
    assert f"warning: {sentence}" in capsys.readouterr().err


@pytest.mark.parametrize(("weight", "colours_count"), [(1.0, False), (0.0, True)])
def test_colours_are_lost_content_only_where_no_label_is_watched(
    tmp_path: Path, weight: float, colours_count: bool
) -> None:
    config = resolve({**write_images(tmp_path), **FAST, "labels_updates": 1, "labels_weight": weight})
    data = load_data(config, tmp_path / "cache", lambda _role, _done, _total: None)
    hardware = Hardware(torch.device("cpu"), bf16=False, compile=False)
    lesson = load_lesson(labelled(tmp_path), config.synthetic, Reading())
    for given, wanted in ((None, True), (lesson, colours_count)):
        validator = build_training(config, data, World(0, 1, 0, 1), hardware, given).validator
        assert validator is not None
        assert validator.colours_count == wanted


def test_without_weight_labels_change_nothing(tmp_path: Path) -> None:
    task = labelled(tmp_path)
    runs = [
        fit(tmp_path, name="with", labels=task, labels_updates=2, labels_weight=0),
        fit(tmp_path, name="without"),
    ]
    one, other = (
        torch.load(max(run.checkpoints.glob("*.pt")), weights_only=True)["state"]["refiner"] for run in runs
    )
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_labels_of_other_images_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sources = {**write_images(tmp_path), **FAST, "runs_root": tmp_path / "runs"}
    arguments = ["fit", *flags({**sources, "labels": labelled(tmp_path, count=31)})]
    assert "has labels of 31 images" in refusal(capsys, arguments)
    assert "nowhere.toml" in refusal(capsys, ["fit", *flags({**sources, "labels": "nowhere.toml"})])
    assert not any((tmp_path / "runs").iterdir())

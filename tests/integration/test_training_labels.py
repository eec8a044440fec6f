"""Training with labels: an estimator learns them first, and what it reads is compared from then on."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from trainer.cli import main  # noqa: E402
from trainer.run_folder import RunFolder  # noqa: E402

pytestmark = pytest.mark.train
FAST = {
    "refiner_width": 8,
    "refiner_blocks": 1,
    "discriminator_layers": "gaze",
    "batch_size": 8,
    "history_capacity": 12,
    "steps": 12,
    "warmup_refiner_steps": 3,
    "warmup_discriminator_steps": 3,
    "log_every": 4,
    "grid_every": 6,
    "checkpoint_every": 6,
    "precision": "fp32",
    "threads": 1,
}


def write_images(folder: Path, *, count: int = 32) -> dict[str, str]:
    """Synthetic squares, and the same squares dimmer and noisy as the real ones."""
    rng = np.random.default_rng(0)
    synthetic = np.full((count, 16, 16), 200, np.uint8)
    for image in synthetic:
        top, left = rng.integers(1, 9, 2)
        image[top : top + 6, left : left + 6] = 30
    real = np.clip(synthetic[::-1] * 0.6 + 20 + rng.normal(0, 8, synthetic.shape), 0, 255).astype(np.uint8)
    np.savez(folder / "images.npz", synthetic=synthetic, real=real)
    return {"synthetic": f"{folder}/images.npz:synthetic", "real": f"{folder}/images.npz:real"}


def flags(values: dict[str, object]) -> list[str]:
    return [text for name, value in values.items() for text in (f"--{name.replace('_', '-')}", str(value))]


def fit(folder: Path, **changes: object) -> RunFolder:
    sources = write_images(folder)
    main(["fit", *flags({**sources, **FAST, "runs_root": folder / "runs", **changes})])
    return RunFolder(max((folder / "runs").iterdir()))


def lines(run: RunFolder) -> list[dict[str, object]]:
    return [json.loads(line) for line in run.metrics.read_text().splitlines()]


def refusal(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> str:
    """The one sentence of a command that fails."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    said = capsys.readouterr().err
    assert stopped.value.code == 1
    assert "Traceback" not in said
    return said.splitlines()[-1]


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

"""A run whose refiner follows its discriminator: its rate, its log, and going on from where it was."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from trainer.cli import main  # noqa: E402
from trainer.networks import build_networks, set_learning_rates  # noqa: E402
from trainer.options import resolve  # noqa: E402
from trainer.run_folder import RunFolder  # noqa: E402

pytestmark = pytest.mark.train
SMALL = {
    "refiner-width": 4,
    "refiner-blocks": 1,
    "discriminator-layers": "gaze",
    "batch-size": 4,
    "warmup-discriminator-steps": 3,
    "learning-rate-decay-share": 0,
    "validate-every": 3,
    "checkpoint-every": 3,
    "precision": "fp32",
    "compile": "off",
    "device": "cpu",
    "threads": 1,
}


@pytest.fixture
def images(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    file = tmp_path / "images.npz"
    synthetic, real = (rng.integers(0, top, (16, 16, 16), dtype=np.uint8) for top in (255, 90))
    np.savez(file, synthetic=synthetic, real=real)
    return file


def fit(images: Path, **changes: object) -> RunFolder:
    runs = images.parent / "runs"
    given = {"synthetic": f"{images}:synthetic", "real": f"{images}:real", "runs-root": runs, **SMALL}
    settings = {**given, **{name.replace("_", "-"): value for name, value in changes.items()}}
    main(["fit", *(text for name, value in settings.items() for text in (f"--{name}", str(value)))])
    return RunFolder(max(runs.iterdir()))


def measured(run: RunFolder, name: str) -> list[float]:
    """A number of every validation."""
    lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    return [line["validation"][name] for line in lines if "validation" in line]


def test_the_refiner_gets_faster_where_it_lags_and_goes_on_from_where_it_was(
    images: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("trainer.told.WAITS", 0)
    monkeypatch.setattr("trainer.told.EVERY", 2)
    monkeypatch.setattr("trainer.pace.LAGS", 0.0)
    monkeypatch.setattr("trainer.pace.KEEPS_UP", -1.0)
    monkeypatch.setattr("trainer.preservation_budget.PATIENCE", 0)  # whatever is lost, it does not slow down
    assert measured(fit(images, steps=9, refiner_pace_limit=1), "refiner_pace") == [1.0] * 3

    run = fit(images, steps=9, refiner_pace_limit=1.4)
    assert measured(run, "refiner_pace") == pytest.approx([1.1, 1.331, 1.4])
    said = " ".join(capsys.readouterr().err.split())
    assert re.search(r"step 9: patches \d+\.\d+ levels from real \(synthetic ones \d+\.\d+\), ", said)
    assert "lambda 1, refiner 1.4 times as fast" in said
    main(["resume", str(run.path), "--steps", "12"])
    at_once = fit(images, steps=12, refiner_pace_limit=1.4)
    for name in ("refiner_pace", "sliced_wasserstein"):
        assert measured(run, name) == measured(at_once, name)


def test_a_run_that_is_far_from_real_gets_longer_and_goes_on_from_where_it_was(
    images: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("trainer.length.EARLIEST", 6)
    monkeypatch.setattr("trainer.length.FAR", -10.0)  # whatever is measured, it is far
    asked = {"steps": 12, "learning_rate_decay_share": 0.5, "checkpoint_every": 20}
    assert len(measured(fit(images, **asked, steps_limit=0), "sliced_wasserstein")) == 4
    run = fit(images, **asked, steps_limit=17)
    assert "still far from real: 17 steps instead of 12" in " ".join(capsys.readouterr().err.split())
    steps = [json.loads(line)["step"] for line in run.metrics.read_text().splitlines() if "valid" in line]
    assert steps == [3, 6, 9, 12, 15, 17]
    with pytest.raises(SystemExit, match="1"):
        main(["resume", str(run.path), "--steps", "16"])
    assert "has already made 17 steps" in capsys.readouterr().err

    def crash(*_: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr("trainer.recorder.Recorder.grid", crash)
        with pytest.raises(ZeroDivisionError):
            fit(images, **{**asked, "steps_limit": 17, "checkpoint_every": 10, "grid_every": 12})
    broken = RunFolder(max((images.parent / "runs").iterdir()))
    shorter = RunFolder(Path(shutil.copytree(broken.path, images.parent / "shorter")))
    main(["resume", str(shorter.path), "--steps", "12"])
    assert len(measured(shorter, "sliced_wasserstein")) == 4, "as long as asked for, not as it had become"
    main(["resume", str(broken.path)])
    assert measured(broken, "sliced_wasserstein") == measured(run, "sliced_wasserstein")


def test_the_log_says_how_much_say_larger_patches_have(
    images: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("trainer.told.WAITS", 0)
    monkeypatch.setattr("trainer.told.EVERY", 2)
    monkeypatch.setattr("trainer.say.FAIR", 1.0)  # whatever is told, it is told fairly
    monkeypatch.setattr("trainer.say.HOPELESS", 2.0)
    monkeypatch.setattr("trainer.preservation_budget.PATIENCE", 0)
    run = fit(images, steps=6, wide_weight=1)
    assert measured(run, "wide_say") == pytest.approx([0.2, 1 - 0.8**3])
    assert "larger patches have 49% of their say" in " ".join(capsys.readouterr().err.split())


def test_the_pace_is_a_factor_on_the_rate_of_the_refiner_alone(images: Path) -> None:
    given = {"synthetic": f"{images}:synthetic", "real": f"{images}:real"}
    config = resolve({**given, "refiner_learning_rate": 0.002, "discriminator_learning_rate": 0.003})
    networks = build_networks(config, 1, torch.device("cpu"))
    set_learning_rates(networks, config, 0, pace=1.7)
    rates = [
        optimiser.param_groups[0]["lr"]
        for optimiser in (networks.refiner_optimiser, networks.discriminator_optimiser)
    ]
    assert rates == pytest.approx([0.0034, 0.003])

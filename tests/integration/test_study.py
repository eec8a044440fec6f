"""A study from its request to its files: trained, measured, interrupted, gone on with."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from trainer.cli import main  # noqa: E402
from trainer.errors import ConfigError  # noqa: E402
from trainer.evaluation.evaluate import Plan  # noqa: E402
from trainer.evaluation.judge import Judging  # noqa: E402
from trainer.evaluation.results import CandidateResult  # noqa: E402
from trainer.evaluation.usefulness.learning import Learning  # noqa: E402
from trainer.options import resolve  # noqa: E402
from trainer.run_folder import RunFolder  # noqa: E402
from trainer.running import fit  # noqa: E402
from trainer.studies import study as course  # noqa: E402
from trainer.studies.definitions import find_study  # noqa: E402
from trainer.studies.measuring import Measuring  # noqa: E402
from trainer.studies.results import Results  # noqa: E402
from trainer.studies.study import Request, run_study  # noqa: E402

pytestmark = pytest.mark.train
FAST = {
    "refiner_width": 4,
    "refiner_blocks": 1,
    "batch_size": 8,
    "history_capacity": 12,
    "steps": 3,
    "warmup_discriminator_steps": 1,
    "log_every": 1,
    "checkpoint_every": 1,
    "validate_every": 0,
    "tensorboard": False,
    "precision": "fp32",
    "threads": 1,
}


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One thread, and measures of a few updates."""
    monkeypatch.setattr("trainer.evaluation.evaluate.QUICK_JUDGING", Judging(folds=2, updates=2))
    monkeypatch.setattr("trainer.evaluation.evaluate.QUICK", Learning(1, 2, most_images=32, variants=1))
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def write_images(folder: Path) -> dict[str, str]:
    """Squares, dark or bright inside: their class; the real ones are the same, dimmer and noisy."""
    rng = np.random.default_rng(0)
    label = np.arange(48) % 2
    synthetic = np.full((48, 16, 16), 128, np.uint8)
    for image, bright in zip(synthetic, label, strict=True):
        top, left = rng.integers(1, 9, 2)
        image[top : top + 6, left : left + 6] = 230 if bright else 30
    real = np.clip(synthetic[::-1] * 0.6 + 20 + rng.normal(0, 8, synthetic.shape), 0, 255).astype(np.uint8)
    boxes = np.tile(np.array((1, 1, 15, 15), np.float32), (48, 1))
    np.savez(
        folder / "images.npz", synthetic=synthetic, real=real, label=label, of_real=label[::-1], boxes=boxes
    )
    return {"synthetic": f"{folder}/images.npz:synthetic", "real": f"{folder}/images.npz:real"}


def request(folder: Path, name: str = "history", **settings: object) -> Request:
    base = resolve({**write_images(folder), **FAST, **settings})
    return Request(
        find_study(name),
        base,
        (0,),
        folder / "out",
        None,
        f"simtrue-train study {name}",
        Plan(1, 16, quick=True),
    )


def stamps(results: Results) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in results.runs.rglob("*") if path.is_file()}


def test_a_study_trains_measures_and_writes_and_does_nothing_twice(tmp_path: Path) -> None:
    asked = request(tmp_path)

    results = run_study(asked)

    assert [outcome.variant for outcome in results.outcomes] == ["on", "off"]
    kept = json.loads((tmp_path / "out/study.json").read_text())
    on, off = kept["variants"]
    assert (on["changes"], off["changes"]) == ({}, {"history_capacity": 0})
    assert RunFolder(results.runs / off["runs"][0]["run"]).read_config().history_capacity == 0
    assert {"judge", "sliced_wasserstein", "structure_kept", "minutes"} <= set(on["mean"])
    assert 0.0 <= on["mean"]["judge"] <= 1.0
    table = (tmp_path / "out/study.md").read_text()
    assert "| off | history_capacity = 0 | 1 of 1 |" in table
    assert "| real | against other real ones |" in table
    assert "    simtrue-train study history\n" in table
    page = (tmp_path / "out/study.html").read_text()
    assert page.count("data:image/png;base64,") == 2
    assert page.count("<polyline") == 10  # five curves of two variants
    assert "<script" not in page

    before = stamps(results)
    again = run_study(asked)
    assert stamps(again) == before
    assert again.outcomes == results.outcomes


def test_an_interrupted_study_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = request(tmp_path)
    short = replace(asked, base=asked.base.model_copy(update={"steps": 2}))
    config = course._of_run(short, "on", 0, short.base)
    run = fit(config)  # as if it had been stopped after two of three steps ...
    run.write_config(config.model_copy(update={"steps": 3}))
    measure = Measuring.measure
    calls: list[Path] = []

    def killed(measuring: Measuring, path: Path) -> CandidateResult:
        calls.append(path)
        if len(calls) == 2:
            raise KeyboardInterrupt  # ... and then again while the second run is measured
        return measure(measuring, path)

    monkeypatch.setattr(Measuring, "measure", killed)
    with pytest.raises(KeyboardInterrupt):
        run_study(asked)
    assert "| on | the base | 1 of 1 |" in (tmp_path / "out/study.md").read_text()
    lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    assert [line["step"] for line in lines if "phase" in line] == [1, 1, 2, 3]  # the first is warm-up
    calls.clear()

    results = run_study(asked)

    assert [path.name for path in calls] == ["00002-default-history-off-seed0"]
    assert len(list(results.runs.iterdir())) == 2
    assert all(outcome.diverged is None for outcome in results.outcomes)


def test_a_run_that_diverges_is_a_result_and_is_not_tried_again(tmp_path: Path) -> None:
    asked = request(tmp_path, refiner_learning_rate=10.0, discriminator_learning_rate=10.0, optimiser="sgd")
    asked = replace(
        asked, base=asked.base.model_copy(update={"self_regularization_weight": 1e6, "steps": 60})
    )

    results = run_study(asked)

    assert all("the run has diverged" in str(outcome.diverged) for outcome in results.outcomes)
    table = (tmp_path / "out/study.md").read_text()
    assert "0 of 1, 1 diverged" in table
    assert "- on, seed 0 diverged: " in table
    assert "diverged" in (tmp_path / "out/study.html").read_text()
    before = stamps(results)
    assert stamps(run_study(asked)) == before


def test_with_a_task_what_was_measured_without_is_measured_again_and_not_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = request(tmp_path)
    run_study(asked)
    capsys.readouterr()
    task = tmp_path / "task.toml"
    task.write_text(
        'kind = "classification"\nlabels = "images.npz:label"\nregions = "images.npz:boxes"\n'
        '[test]\nimages = "images.npz:real"\nlabels = "images.npz:of_real"\n'
    )

    def never(*_arguments: object) -> RunFolder:
        raise AssertionError("trained again")

    monkeypatch.setattr(course, "fit", never)
    monkeypatch.setattr(course, "resume", never)
    results = run_study(replace(asked, task=task))

    for outcome in results.outcomes:
        scores = {"score", "score_moved", "score_augmented"}
        assert {*scores, "estimator_change", "judge"} <= set(outcome.measures)
        assert scores <= set(outcome.start)
    counts = re.findall(r"^\[(\d+)/(\d+)\] ", capsys.readouterr().err, re.MULTILINE)
    # Floor and start, then every run; estimators of synthetic images are trained with the first.
    pieces = [4, 1 + 2 + 1 + 2 + 1 + 3 + 2 + 3, 1 + 2 + 1 + 2 + 1 + 2 + 1 + 2]
    assert counts == [(str(one + 1), str(total)) for total in pieces for one in range(total)]


def test_runs_of_other_settings_are_not_taken_for_its_own(tmp_path: Path) -> None:
    asked = request(tmp_path)
    config = course._of_run(asked, "on", 0, asked.base)
    fit(config.model_copy(update={"batch_size": 4, "steps": 1}))

    with pytest.raises(ConfigError, match=r"batch_size = 4.*another --out"):
        run_study(asked)


def test_another_failure_than_divergence_ends_the_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object) -> RunFolder:
        raise ConfigError("no such thing")

    monkeypatch.setattr(course, "fit", refuse)
    with pytest.raises(ConfigError, match="no such thing"):
        run_study(request(tmp_path))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["gamma"], "there is no study 'gamma'"),
        ([], "name a study"),
        (["history", "--seeds", "0,x"], "not whole numbers"),
        (["history", "--seeds", "1,1"], "different whole numbers"),
        (["history", "--seed", "3"], "--seed is given by the study"),
        (["history", "--name", "mine"], "--name is given by the study"),
        (["history", "--history-capacity", "0"], "the same with these settings"),
    ],
)
def test_what_cannot_be_studied_is_refused_in_a_sentence(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    sources = ["--synthetic", f"{tmp_path}/s.npz", "--real", f"{tmp_path}/r.npz"]
    with pytest.raises(SystemExit) as stopped:
        main(["study", *words, *sources, "--out", str(tmp_path / "out")])

    assert stopped.value.code == 1
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_studies_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    main(["study", "--list"])

    listed = capsys.readouterr().out
    assert all(f"{name}: " in listed for name in ("history", "loss", "psi", "lambda", "updates"))

"""`simtrue-train evaluate` from the command line to the table, the numbers and the page."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from PIL import Image

torch = pytest.importorskip("torch")

from small_runs import flags, refusal  # noqa: E402

from model.card import read_card  # noqa: E402
from trainer.cli import main  # noqa: E402
from trainer.evaluating import told_apart  # noqa: E402
from trainer.evaluation.candidate import Candidate  # noqa: E402
from trainer.evaluation.evaluate import Ground, measure  # noqa: E402
from trainer.evaluation.judge import Judging  # noqa: E402
from trainer.evaluation.progress import Progress  # noqa: E402
from trainer.evaluation.usefulness.learning import Learning  # noqa: E402
from trainer.run_folder import RunFolder  # noqa: E402

pytestmark = pytest.mark.train
FAST = {
    "refiner_width": 8,
    "refiner_blocks": 1,
    "discriminator_layers": "gaze",
    "batch_size": 8,
    "history_capacity": 12,
    "steps": 3,
    "warmup_refiner_steps": 1,
    "warmup_discriminator_steps": 1,
    "log_every": 2,
    "precision": "fp32",
    "threads": 1,
}
QUICK = ["--quick", "--seeds", "1", "--images", "16"]
COUNT = 48


def write_images(folder: Path) -> dict[str, str]:
    """Squares, dark or bright inside: their class; the real ones are the same, dimmer and noisy."""
    rng = np.random.default_rng(0)
    synthetic = np.full((COUNT, 16, 16), 128, np.uint8)
    boxes = np.empty((COUNT, 4), np.float32)
    label = np.arange(COUNT) % 2
    for image, box, bright in zip(synthetic, boxes, label, strict=True):
        top, left = rng.integers(1, 9, 2)
        image[top : top + 6, left : left + 6] = 230 if bright else 30
        box[:] = (left, top, left + 6, top + 6)
    real = np.clip(synthetic[::-1] * 0.6 + 20 + rng.normal(0, 8, synthetic.shape), 0, 255).astype(np.uint8)
    arrays = {"synthetic": synthetic, "real": real, "label": label, "boxes": boxes}
    for name, part in (("tested", slice(COUNT // 2)), ("learned", slice(COUNT // 2, None))):
        arrays |= {name: real[part], f"{name}_label": label[::-1][part]}
    np.savez(folder / "images.npz", **arrays)  # type: ignore[arg-type]
    return {"synthetic": f"{folder}/images.npz:synthetic", "real": f"{folder}/images.npz:real"}


def write_task(folder: Path) -> Path:
    file = folder / "task.toml"
    file.write_text(
        'kind = "classification"\nlabels = "images.npz:label"\nregions = "images.npz:boxes"\n'
        '[test]\nimages = "images.npz:tested"\nlabels = "images.npz:tested_label"\n'
        '[upper_bound]\nimages = "images.npz:learned"\nlabels = "images.npz:learned_label"\n'
    )
    return file


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run of a few steps with an alarm in its log, beside its images."""
    folder = tmp_path_factory.mktemp("evaluated")
    threads = torch.get_num_threads()
    main(["fit", *flags({**write_images(folder), **FAST, "runs_root": folder / "runs", "name": "squares"})])
    torch.set_num_threads(threads)
    (path,) = (folder / "runs").iterdir()
    with RunFolder(path).metrics.open("a") as file:
        file.write('{"iteration": 5, "alarm": "lost_content", "sentence": "step 3: the content is lost"}\n')
    return RunFolder(path)


@pytest.fixture(scope="module")
def exported(run: RunFolder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run's refiner as a file, published after an evaluation."""
    run.evaluation.write_text('{"metrics": {"gap_closed": 0.5}}')
    models = tmp_path_factory.mktemp("models")
    main(["export", str(run.path), "--models", str(models), "--name", "squares"])
    return models / "squares/1/refiner.onnx"


@pytest.fixture(autouse=True)
def _short_trainings(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is learned is tested elsewhere; here it is enough that it is asked for."""
    judging = Judging(folds=2, updates=2)
    learning = Learning(seeds=1, updates=2, most_images=32, variants=2)
    monkeypatch.setattr("trainer.evaluation.evaluate.QUICK_JUDGING", judging)
    monkeypatch.setattr("trainer.evaluation.evaluate.QUICK", learning)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_without_a_task_a_run_keeps_realism_and_preservation(
    run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["evaluate", str(run.path), *QUICK, "--json", str(tmp_path / "e.json")])
    shown = capsys.readouterr()
    assert "judge" in shown.out
    assert "while training, step 3: the content is lost" in " ".join(shown.out.split())
    kept = json.loads(run.evaluation.read_text())
    assert kept == json.loads((tmp_path / "e.json").read_text())
    assert {"judge_floor_accuracy", "judge_start_accuracy", "judge_refined_accuracy"} <= set(kept["metrics"])
    (candidate,) = kept["candidates"]
    assert candidate["metrics"] == kept["metrics"]
    assert candidate["preservation"]["regions_of"] == "whole images"
    assert candidate["preservation"]["measured"] + candidate["preservation"]["unmeasured"] == 16
    assert candidate["usefulness"] is None
    assert kept["command"].startswith(f"simtrue-train evaluate {run.path} --quick")
    assert "Not measured" in run.report.read_text()


def test_with_a_task_every_arm_is_scored_and_what_estimators_say_is_compared(
    run: RunFolder,
) -> None:
    task = write_task(run.path.parent.parent)
    main(["evaluate", str(run.path), *QUICK, "--task", str(task)])
    kept = json.loads(run.evaluation.read_text())
    scores = kept["candidates"][0]["usefulness"]["scores"]
    assert {(score["arm"], score["augmentation"]) for score in scores} == {
        (arm, augmentation)
        for arm in ("synthetic", "refined", "both", "real")
        for augmentation in ("none", "moves", "strong")
        if (arm, augmentation) != ("both", "moves")
    }
    assert kept["candidates"][0]["preservation"]["regions_of"] == "boxes"
    assert kept["candidates"][0]["preservation"]["estimator"]["measure"]
    assert 0.0 <= kept["metrics"]["accuracy_refined"] <= 1.0
    assert "With strong augmentation" in run.report.read_text()
    assert kept["settings"]["test images"].startswith("24 of the 24 test images are among the real images")


def test_without_real_labels_a_task_still_says_whether_labels_hold(
    run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = write_task(run.path.parents[1])
    task = whole.with_name("no-test.toml")
    task.write_text(whole.read_text().partition("[test]")[0])
    page = tmp_path / "page.html"
    main(["evaluate", str(run.path), "--task", str(task), *QUICK, "--html", str(page)])
    (one,) = json.loads(run.evaluation.read_text())["candidates"]
    assert one["preservation"]["regions_of"] == "boxes"
    assert one["preservation"]["estimator"]["measure"] == "same class"
    assert one["usefulness"] is None
    assert "the task has no labelled real images to test on" in page.read_text()
    assert "test images" not in json.loads(run.evaluation.read_text())["settings"]
    pieces = re.findall(r"^\[(\d+)/(\d+)\]", capsys.readouterr().err, re.MULTILINE)
    assert {total for _, total in pieces} == {pieces[-1][0]}, "as many pieces as were foretold"


def test_estimators_learn_as_long_as_asked_for(run: RunFolder) -> None:
    task = write_task(run.path.parent.parent)
    torch.set_num_threads(1)
    main(["evaluate", str(run.path), *QUICK, "--updates", "3", "--threads", "2", "--task", str(task)])
    assert torch.get_num_threads() == 2
    page = run.report.read_text()
    assert "1 seed, 3 updates, 2 refinements of each" in page


def test_every_piece_of_work_is_told_before_it_begins_with_how_many_there_are(
    run: RunFolder, exported: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    main(
        ["evaluate", str(run.path), str(exported), *QUICK, "--task", str(write_task(run.path.parent.parent))]
    )
    shown = capsys.readouterr()
    told = re.findall(r"^\[(\d+)/(\d+)\] (.*)$", shown.err, re.MULTILINE)
    assert [int(number) for number, _, _ in told] == list(range(1, len(told) + 1))
    assert {int(total) for _, total, _ in told} == {len(told)}
    begun = [re.sub(r", (about|a few) .* left$", "", what) for _, _, what in told]
    for name in (run.path.name, "squares/1"):
        for what in ("realism, judge 2 of 2", "preservation", "usefulness, both, augmented, seed 0"):
            assert f"{name}: {what}" in begun
    assert begun.count("usefulness, synthetic, seed 0") == 1
    assert re.search(r"^    accuracy [01]\.\d{4} \(\d+ s\)$", shown.err, re.MULTILINE)
    timed = [what.endswith(" left") for _, _, what in told]
    first = begun.index("usefulness, synthetic, seed 0")
    assert not any(timed[: first - 1]), "what an estimator takes was not known"
    assert all(timed[first:])
    assert "judge 2 of 2" not in shown.out


def test_in_a_terminal_a_bar_says_what_is_measured(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    capsys.readouterr()
    main(["evaluate", str(run.path), *QUICK, "--task", str(write_task(run.path.parent.parent))])
    said = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capsys.readouterr().err)
    assert re.search(r"usefulness, synthetic, seed 0: accuracy [01]\.\d{4} \(\d+ s\)", said)
    # The bar is drawn ten times a second and when it ends: only its last state is sure to be seen.
    assert re.search(r"21/22 .* usefulness, real, augmented, seed 0, .* left", said)


def test_a_run_and_its_exported_refiner_stand_side_by_side(
    run: RunFolder, exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page, numbers = tmp_path / "both.html", tmp_path / "both.json"
    capsys.readouterr()
    main(["evaluate", str(run.path), str(exported), *QUICK, "--html", str(page), "--json", str(numbers)])
    assert "squares/1" in capsys.readouterr().out
    both = json.loads(numbers.read_text())
    first, second = both["candidates"]
    assert (first["name"], second["name"]) == (run.path.name, "squares/1")
    # The exported refiner is the run's: the same images, hence the same change, but for rounding.
    changes = [one["metrics"]["mean_absolute_change_levels"] for one in (first, second)]
    assert changes[0] == pytest.approx(changes[1], abs=0.02)
    assert "metrics" not in both
    assert "2 refiners side by side" in page.read_text()
    assert len(json.loads(run.evaluation.read_text())["candidates"]) == 1


def test_what_is_known_when_it_is_stopped_is_kept(
    run: RunFolder, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[str] = []

    def measure_one(candidate: Candidate, ground: Ground, progress: Progress) -> object:
        measured.append(candidate.name)
        if len(measured) > 1:
            raise KeyboardInterrupt
        return measure(candidate, ground, progress)

    monkeypatch.setattr("trainer.evaluation.evaluate.measure", measure_one)
    page, numbers = tmp_path / "kept.html", tmp_path / "kept.json"
    with pytest.raises(SystemExit):
        main(["evaluate", str(run.path), str(exported), *QUICK, "--html", str(page), "--json", str(numbers)])
    assert [one["name"] for one in json.loads(numbers.read_text())["candidates"]] == [run.path.name]
    assert run.path.name in page.read_text()
    assert "1 of 2 refiners" in page.read_text()
    assert json.loads(run.evaluation.read_text())["command"].endswith(str(numbers))


def test_refiners_of_one_name_are_told_apart() -> None:
    def candidate(name: str, source: str) -> Candidate:
        return Candidate(name, source, 1, 8, lambda images, _seed: images)

    named = told_apart([candidate("a", "one/a"), candidate("b", "one/b"), candidate("a", "two/a")])

    assert [(one.name, one.source) for one in named] == [
        ("a (1)", "a (1): one/a"),
        ("b", "one/b"),
        ("a (2)", "a (2): two/a"),
    ]


def test_the_numbers_of_the_last_evaluation_go_into_the_card(exported: Path) -> None:
    session = onnxruntime.InferenceSession(exported, providers=["CPUExecutionProvider"])
    assert read_card(session.get_modelmeta().custom_metadata_map).metrics == {"gap_closed": 0.5}


def test_folders_are_read_in_the_kind_of_the_exported_refiner(exported: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for role, side in (("synthetic", 16), ("real", 20)):
        (tmp_path / role).mkdir()
        for index in range(16):
            colour = rng.integers(0, 255, (side, side, 3)).astype(np.uint8)
            Image.fromarray(colour).save(tmp_path / role / f"{index}.png")
    sources = {"synthetic": tmp_path / "synthetic", "real": tmp_path / "real", "resize": "16x16"}
    page = tmp_path / "report.html"
    main(
        [
            "evaluate",
            str(exported),
            *flags({**sources, "html": page}),
            "--quick",
            "--seeds",
            "1",
            "--images",
            "8",
        ]
    )
    assert re.search(r"8 images of each set, 16 x 16 px", page.read_text())


def test_categories_of_boxes_that_are_measured_as_one_are_told(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    names = [f"{index}.png" for index in range(24)]
    for role in ("synthetic", "real"):
        (tmp_path / role).mkdir()
        for name in names:
            Image.fromarray(rng.integers(0, 255, (16, 16)).astype(np.uint8)).save(tmp_path / role / name)
    document = {
        "images": [{"id": place, "file_name": name} for place, name in enumerate(names)],
        "annotations": [
            {"image_id": place, "category_id": place % 2, "bbox": [2, 2, 6, 6]} for place in range(24)
        ],
        "categories": [{"id": 0, "name": "red"}, {"id": 1, "name": "<white>"}],
    }
    (tmp_path / "labels.json").write_text(json.dumps(document))
    task = tmp_path / "task.toml"
    task.write_text('kind = "boxes"\nlabels = "labels.json"\n[test]\nimages="real"\nlabels = "labels.json"\n')
    files = {"html": tmp_path / "e.html", "json": tmp_path / "e.json", "task": task}
    sources = {role: tmp_path / role for role in ("synthetic", "real")}

    main(["evaluate", str(exported), *QUICK, *flags({**sources, **files})])

    said = "the 2 categories red, <white> are measured as one: where boxes are, not which"
    assert f"note: {said}\n" in capsys.readouterr().err
    assert json.loads(files["json"].read_text())["settings"]["boxes"] == said
    assert "red, &lt;white&gt; are measured as one" in files["html"].read_text()


def test_what_cannot_be_evaluated_is_refused_in_a_sentence(
    run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(run.path)
    (tmp_path / "bad.onnx").write_bytes(b"no graph at all")
    sources = flags(write_images(tmp_path))
    bad = ["evaluate", str(tmp_path / "bad.onnx"), *sources]
    assert "is no ONNX file that can be run" in refusal(capsys, bad)
    assert "at least 1 seed and 8 images" in refusal(capsys, ["evaluate", path, "--images", "4"])
    assert "--variants 0 is not between 1 and 64" in refusal(capsys, ["evaluate", path, "--variants", "0"])
    assert "--updates 0 is not between 1 and 1000000" in refusal(capsys, ["evaluate", path, "--updates", "0"])
    assert "--threads" in refusal(capsys, ["evaluate", path, "--threads", "many"])
    assert "named twice" in refusal(capsys, ["evaluate", path, f"{path}/"])
    for flag in ("--json", "--html"):
        command = ["evaluate", path, flag, str(tmp_path / "nowhere" / "file")]
        assert f"{flag} {tmp_path}/nowhere/file: there is no folder" in refusal(capsys, command)
        assert f"{flag} {tmp_path} is a folder" in refusal(capsys, ["evaluate", path, flag, str(tmp_path)])
    both = ["evaluate", path, "--html", str(tmp_path / "out"), "--json", str(tmp_path / "out")]
    assert "--html and --json both name" in refusal(capsys, both)
    assert "there is no file" in refusal(capsys, ["evaluate", path, str(tmp_path / "none.onnx")])

"""`simtrue-train` from the command line to the run folder, and the sentence for whatever stops it."""

import dataclasses
import errno
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")

from small_runs import FAST, fit, flags, lines, refusal, write_images  # noqa: E402

from model.card import read_card  # noqa: E402
from model.refiner import Refiner  # noqa: E402
from trainer.cli import main  # noqa: E402
from trainer.data import load_data  # noqa: E402
from trainer.distributed import World  # noqa: E402
from trainer.evaluation.candidate import load_candidate  # noqa: E402
from trainer.hardware import Hardware  # noqa: E402
from trainer.loop import train  # noqa: E402
from trainer.options import resolve  # noqa: E402
from trainer.run_folder import RunFolder  # noqa: E402
from trainer.trained import load_trained  # noqa: E402
from trainer.training import Training, build_training  # noqa: E402
from trainer.validation import Validation, Validator  # noqa: E402

pytestmark = pytest.mark.train
SHARED = Path(__file__).resolve().parents[2].parent / "shared"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return fit(tmp_path_factory.mktemp("finished"), name="squares")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def prepare(folder: Path, **changes: object) -> Training:
    config = resolve({**write_images(folder), **FAST, **changes})
    data = load_data(config, folder / "cache", lambda _role, _done, _total: None)
    hardware = Hardware(torch.device("cpu"), bf16=False, compile=False)
    return build_training(config, data, World(0, 1, 0, 1), hardware)


def test_a_run_leaves_its_settings_numbers_pictures_and_checkpoints(finished: RunFolder) -> None:
    assert finished.path.name == "00001-default-squares"
    assert finished.read_config().steps == 12
    assert sorted(path.name for path in finished.grids.iterdir()) == ["000006.png", "000012.png"]
    assert [path.stem for path in sorted(finished.checkpoints.glob("*.pt"))] == [
        "000000006",
        "000000012",
        "000000018",
    ]
    assert len(list(finished.tensorboard.iterdir())) == 1
    with Image.open(finished.grids / "000012.png") as grid:
        assert grid.mode == "RGB"


def test_the_log_tells_phase_step_losses_accuracy_change_and_speed(finished: RunFolder) -> None:
    logged = [line for line in lines(finished) if "phase" in line]
    assert [(line["phase"], line["step"]) for line in logged] == [
        ("warmup_refiner", 3),
        ("warmup_discriminator", 3),
        ("training", 4),
        ("training", 8),
        ("training", 12),
    ]
    assert {
        "iteration",
        "refiner_loss",
        "realism_loss",
        "self_regularization_loss",
        "discriminator_loss",
        "r1_penalty",
        "accuracy_on_refined",
        "accuracy_on_real",
        "discriminator_accuracy",
        "mean_absolute_change_levels",
        "images_per_s",
    } <= set(logged[-1])
    assert "realism_loss" in logged[0]
    assert logged[0]["realism_loss"] == 0
    assert "refiner_loss" not in logged[1]


def test_tensorboard_reads_the_same_numbers(finished: RunFolder) -> None:
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    found = {
        (event.step, value.tag): value.tensor.float_val[0]
        for event in EventFileLoader(str(next(finished.tensorboard.iterdir()))).Load()
        for value in event.summary.value
        if value.tensor.float_val
    }
    last = lines(finished)[-1]
    assert found[18, "refiner_loss"] == pytest.approx(last["refiner_loss"], rel=1e-6)


def test_runs_are_numbered_and_never_overwrite_each_other(tmp_path: Path) -> None:
    short = {"steps": 1, "warmup_refiner_steps": 0, "warmup_discriminator_steps": 0}
    names = [fit(tmp_path, **short).path.name for _ in range(2)]
    assert names == ["00001-default", "00002-default"]


def test_the_history_is_really_fed_and_really_used(tmp_path: Path) -> None:
    run = prepare(
        tmp_path, warmup_refiner_steps=0, warmup_discriminator_steps=0, steps=2,
        discriminator_updates_per_step=1, discriminator_views=0,
    )  # fmt: skip
    assert run.history is not None
    train(run, None)
    assert len(run.history) == 8
    seen: list[torch.Tensor] = []
    run.discriminator.forward.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    known = run.history.images.clone()
    run.length.last = 3
    train(run, None)
    judged = seen[-1][:8]
    old = [any(torch.equal(image, stored) for stored in known) for image in judged]
    assert old == [False] * 4 + [True] * 4
    assert len(run.history) == 12


def test_k_g_and_k_d_updates_see_fresh_images_each(tmp_path: Path) -> None:
    run = prepare(
        tmp_path, steps=2, refiner_updates_per_step=3, discriminator_updates_per_step=2, batch_size=4
    )
    train(run, None)
    assert run.clock.refiner_updates == 3 + 2 * 3
    assert run.clock.discriminator_updates == 3 + 2 * 2
    draws = [run.streams.refiner_synthetic.draw(update) for update in range(9)]
    assert not any(torch.equal(draws[i], draws[j]) for i in range(9) for j in range(i))


@pytest.mark.parametrize(("reduction", "scale"), [("sum", 16), ("mean", 1)])
def test_the_patch_reduction_of_the_settings_reaches_both_losses(
    tmp_path: Path, reduction: str, scale: int
) -> None:
    assert prepare(tmp_path, patch_reduction=reduction).objective.scale == scale


def test_the_learning_rates_drop_when_the_settings_say_so(tmp_path: Path) -> None:
    run = prepare(
        tmp_path, steps=5, learning_rate_drop_step=4, learning_rate_decay_share=0, refiner_learning_rate=0.002
    )
    seen: list[float] = []
    run.networks.refiner_optimiser.register_step_pre_hook(
        lambda optimiser, _arguments, _keywords: seen.append(optimiser.param_groups[0]["lr"])
    )
    train(run, None)
    assert seen == [0.002] * 3 + [0.002] * 4 + [0.0005]


def test_the_learning_rates_fall_to_zero_over_the_last_steps(tmp_path: Path) -> None:
    run = prepare(tmp_path, steps=5, learning_rate_decay_share=0.8, refiner_learning_rate=0.002)
    seen: list[float] = []
    run.networks.refiner_optimiser.register_step_pre_hook(
        lambda optimiser, _arguments, _keywords: seen.append(optimiser.param_groups[0]["lr"])
    )
    train(run, None)
    assert seen[3:] == pytest.approx([0.002, 0.002, 0.0015, 0.001, 0.0005])


@pytest.mark.parametrize("reuse", [False, True])
def test_the_discriminator_can_judge_the_refinements_of_the_refiners_update(
    tmp_path: Path, reuse: bool
) -> None:
    run = prepare(
        tmp_path, steps=2, warmup_refiner_steps=0, warmup_discriminator_steps=0, history_capacity=0,
        reuse_refined=reuse, discriminator_updates_per_step=2, discriminator_views=0,
    )  # fmt: skip
    refined: list[torch.Tensor] = []
    judged: list[torch.Tensor] = []
    run.refiner.forward.register_forward_hook(lambda _module, _inputs, out: refined.append(out.detach()))
    run.discriminator.forward.register_forward_pre_hook(lambda _module, inputs: judged.append(inputs[0]))
    train(run, None)
    by_refiner, by_discriminator = (
        [images[: len(images) // 2] for images in judged if len(images) == 2 * run.config.batch_size],
        refined,
    )
    same = [any(torch.equal(one, other) for other in by_discriminator) for one in by_refiner]
    assert len(same) == 4
    assert all(same)
    assert run.clock.refiner_updates == 2
    # Two passes for the updates of R; D asks for two a step, of which it can spare the first.
    assert len(refined) == 2 + (2 if reuse else 4)


def test_the_average_of_the_refiner_follows_it(tmp_path: Path) -> None:
    run = prepare(tmp_path, ema_decay=0.5)
    train(run, None)
    pairs = list(zip(run.ema.refiner.parameters(), run.networks.refiner.parameters(), strict=True))
    assert any(not torch.equal(average, weight) for average, weight in pairs)
    assert all((average - weight).abs().max() < 0.01 for average, weight in pairs)


def test_a_measured_precision_is_saved_so_that_resume_cannot_decide_otherwise(tmp_path: Path) -> None:
    assert fit(tmp_path, precision="auto", steps=1).read_config().precision in {"fp32", "bf16"}


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_gpu_that_is_not_there_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = {**write_images(tmp_path), **FAST, "runs_root": tmp_path / "runs", "device": "cuda"}
    assert "GPU 0 is not there; this machine has 0" in refusal(capsys, ["fit", *flags(values)])


def test_networks_see_images_from_minus_one_to_one(tmp_path: Path) -> None:
    run = prepare(tmp_path)
    batch = run.streams.refiner_synthetic.draw(0)
    assert batch.min().item() == pytest.approx(2 * 30 / 255 - 1, abs=1e-6)
    assert batch.max().item() == pytest.approx(2 * 200 / 255 - 1, abs=1e-6)


def test_a_healthy_run_raises_no_alarm_and_moves_towards_the_real_images(tmp_path: Path) -> None:
    run = fit(tmp_path, steps=120, warmup_refiner_steps=0, log_every=10, refiner_learning_rate=0.002)
    logged = lines(run)
    assert [line for line in logged if "alarm" in line] == []
    assert logged[-1]["mean_absolute_change_levels"] > 1.0


def test_a_run_that_does_nothing_says_so_and_still_succeeds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = fit(tmp_path, steps=70, self_regularization_weight=1000, log_every=5, refiner_learning_rate=1e-6)
    alarms = [line["alarm"] for line in lines(run) if "alarm" in line]
    assert alarms.count("identity_refiner") == 1
    assert "the refiner does nothing" in capsys.readouterr().err


def test_a_run_that_diverges_says_where_and_keeps_the_checkpoint_before(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sources = write_images(tmp_path)
    wild = {
        "optimiser": "sgd",
        "preset": "gaze",
        "discriminator_learning_rate": 10,
        "refiner_learning_rate": 10,
    }
    calm = {**sources, **FAST, **wild, "runs_root": tmp_path / "runs", "steps": 300, "checkpoint_every": 1}
    sentence = refusal(capsys, ["fit", *flags(calm)])
    assert re.search(r"(loss|norm|penalty) is (nan|inf|-inf) in update \d+: the run has diverged", sentence)
    (path,) = (tmp_path / "runs").iterdir()
    kept = max((path / "checkpoints").glob("*.pt"))
    state = torch.load(kept, weights_only=True)["state"]
    assert all(
        weight.isfinite().all()
        for name in ("refiner", "discriminator", "ema")
        for weight in state[name].values()
    )


def test_bad_images_leave_no_run_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sources = {**write_images(tmp_path), "real": tmp_path / "nowhere"}
    assert "do not exist" in refusal(capsys, ["fit", *flags({**sources, "runs_root": tmp_path / "runs"})])
    assert list((tmp_path / "runs").iterdir()) == []


def test_a_full_disk_stops_the_run_with_a_sentence_and_resume_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    run = fit(tmp_path)
    whole = lines(run)
    for path in run.checkpoints.glob("000000018.*"):
        path.unlink()
    run.metrics.rename(tmp_path / "lines")
    run.metrics.symlink_to("/dev/full")
    assert "no space left on the disk" in refusal(capsys, ["resume", str(run.path)])
    run.metrics.unlink()
    (tmp_path / "lines").rename(run.metrics)
    with monkeypatch.context() as disk:
        disk.setattr(os, "fsync", full)
        assert "no space left on the disk" in refusal(capsys, ["resume", str(run.path)])
    assert not list(run.checkpoints.glob("*000000018*"))
    main(["resume", str(run.path)])
    assert [{**line, "images_per_s": 0} for line in lines(run)] == [
        {**line, "images_per_s": 0} for line in whole
    ]


def test_a_second_process_is_kept_out_of_a_run(
    finished: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    with finished.locked():
        said = refusal(capsys, ["resume", str(finished.path)])
    assert "another process is training" in said


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "is not a run folder" in refusal(capsys, ["resume", str(tmp_path)])


STOPPING_TRANSFORM = """
import signal
import torch

class Transform(torch.nn.Module):
    calls = 0

    def forward(self, image):
        Transform.calls += 1
        if Transform.calls == {call}:
            signal.raise_signal(signal.{signal})
        return image

def make(channels):
    return Transform()
"""


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGINT", 130)])
def test_a_run_that_is_asked_to_stop_saves_its_step_and_resume_gives_the_same_numbers(
    name: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Found although the folder is on no search path: a console script, unlike python -m, does not add it.
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path not in ("", str(tmp_path))])
    (tmp_path / f"on_{name.lower()}.py").write_text(STOPPING_TRANSFORM.format(call=21, signal=name))
    with pytest.raises(SystemExit) as stopped:
        fit(tmp_path, feature_transform=f"module:on_{name.lower()}:make")
    assert stopped.value.code == code
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith(f"simtrue-train: stopped by {name} after training step 8, which is saved")
    run = RunFolder(tmp_path / "runs" / "00001-default")
    assert max(run.checkpoints.glob("*.pt")).stem == "000000014"
    main(["resume", str(run.path)])
    never_stopped = fit(tmp_path, feature_transform="identity")
    assert [{**line, "images_per_s": 0} for line in lines(run)] == [
        {**line, "images_per_s": 0} for line in lines(never_stopped)
    ]


@pytest.mark.parametrize(
    ("new", "words"),
    [
        ("refiner_width = 6", "size mismatch"),
        ("history_capacity = 16", "capacity of 12 images, this one of 16"),
        ('optimiser = "sgd"', "saved with the optimiser adam"),
    ],
)
def test_a_checkpoint_of_other_settings_is_refused_in_one_sentence(
    finished: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str], new: str, words: str
) -> None:
    run = RunFolder(Path(shutil.copytree(finished.path, tmp_path / "run")))
    name = new.split(maxsplit=1)[0]
    run.config.write_text(re.sub(f"^{name} = .*", new, run.config.read_text(), flags=re.MULTILINE))
    sentence = refusal(capsys, ["resume", str(run.path), "--steps", "20"])
    assert "does not fit config.toml or the images" in sentence
    assert words in sentence
    assert run.read_config().steps == 12


def test_an_export_of_other_settings_is_refused_in_one_sentence(
    finished: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = RunFolder(Path(shutil.copytree(finished.path, tmp_path / "run")))
    run.config.write_text(run.config.read_text().replace("refiner_width = 8", "refiner_width = 6"))
    command = ["export", str(run.path), "--models", str(tmp_path / "models"), "--name", "squares"]
    assert "does not fit config.toml" in refusal(capsys, command)


def test_fewer_steps_than_were_made_are_refused_and_not_saved(
    finished: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "has already made 12 steps" in refusal(capsys, ["resume", str(finished.path), "--steps", "5"])
    assert finished.read_config().steps == 12


def test_a_run_measures_its_refiner_without_labels_and_hands_over_the_best(finished: RunFolder) -> None:
    measured = {line["step"]: line["validation"] for line in lines(finished) if "validation" in line}
    assert list(measured) == [12]
    assert measured[12]["sliced_wasserstein"] > 0
    assert load_trained(finished.path, print).step == 12


def test_lambda_follows_the_preservation_budget_and_goes_on_from_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    observe = Validator.observe

    def losing(validator: Validator, refiner: Refiner, step: int) -> Validation:
        return dataclasses.replace(observe(validator, refiner, step), lost_fraction=0.5)

    monkeypatch.setattr(Validator, "observe", losing)
    run = fit(tmp_path, steps=8, validate_every=4, preservation_budget=0.01, self_regularization_weight=2.0)
    main(["resume", str(run.path), "--steps", "12"])

    measured = [line["validation"] for line in lines(run) if "validation" in line]
    assert [one["self_regularization_weight"] for one in measured] == pytest.approx([2.0, 3.0, 4.5])


def test_a_torn_line_in_the_log_does_not_keep_a_run_from_going_on(
    finished: RunFolder, tmp_path: Path
) -> None:
    run = RunFolder(Path(shutil.copytree(finished.path, tmp_path / "run")))
    with run.metrics.open("ab") as log:
        log.write(b'\0\0\0\0\n{"x": 1}\n')
    main(["resume", str(run.path), "--steps", "16"])
    assert [line["step"] for line in lines(run) if "phase" in line] == [3, 3, 4, 8, 12, 16]


def test_images_that_were_added_to_a_run_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = fit(tmp_path)
    write_images(tmp_path, count=40)
    main(["resume", str(run.path), "--steps", "13"])
    assert "there are more or fewer images" in " ".join(capsys.readouterr().err.split())


def test_resume_can_prolong_a_run(tmp_path: Path) -> None:
    short = fit(tmp_path)
    main(["resume", str(short.path), "--steps", "16"])
    assert lines(short)[-1]["step"] == 16
    assert short.read_config().steps == 16


def test_mixed_precision_and_every_option_of_the_step_run(tmp_path: Path) -> None:
    run = fit(
        tmp_path,
        precision="bf16",
        adversarial_loss="least_squares",
        feature_transform="0.5*normalised+derivatives",
        noise_pixel_channels=0,
        noise_image_channels=0,
        history_capacity=0,
        window="12x14",
    )
    assert lines(run)[-1]["step"] == 12


def test_a_wrong_feature_transform_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = {**write_images(tmp_path), **FAST, "runs_root": tmp_path / "runs", "feature_transform": "magic"}
    assert "--feature-transform: there is no feature transform 'magic'" in refusal(
        capsys, ["fit", *flags(values)]
    )


def test_an_exported_refiner_is_published_as_the_next_version_with_its_card(
    finished: RunFolder, tmp_path: Path
) -> None:
    import onnxruntime

    for _ in range(2):
        main(["export", str(finished.path), "--models", str(tmp_path), "--name", "squares"])
    assert sorted(path.name for path in (tmp_path / "squares").iterdir()) == ["1", "2"]
    session = onnxruntime.InferenceSession(
        tmp_path / "squares" / "2" / "refiner.onnx", providers=["CPUExecutionProvider"]
    )
    card = read_card(session.get_modelmeta().custom_metadata_map)
    assert (card.steps, card.licence, card.preset, card.metrics) == (12, "not stated", "default", {})
    assert card.noise.channels == 6


def test_the_int8_profile_of_a_run_is_published_with_how_far_it_lies_from_fp32(
    finished: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["export", str(finished.path), "--models", str(tmp_path), "--name", "squares"]
    main([*command, "--precision", "int8"])

    assert "int8 against fp32 differ by at most" in " ".join(capsys.readouterr().err.split())
    (version,) = (tmp_path / "squares").iterdir()
    assert [file.name for file in version.iterdir()] == ["refiner.onnx"]
    candidate = load_candidate(version / "refiner.onnx", lambda _: None)
    assert candidate.name == "squares/1"


def test_a_tolerance_that_no_grey_level_has_is_refused(
    finished: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["export", str(finished.path), "--models", str(tmp_path), "--name", "squares"]

    words = refusal(capsys, [*command, "--precision", "int8", "--int8-tolerance", "-1"])

    assert "--int8-tolerance -1 is not between 0 and 255" in words
    assert not (tmp_path / "squares").exists()


def test_a_published_version_is_never_replaced(
    finished: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "squares" / "7").mkdir(parents=True)
    command = ["export", str(finished.path), "--models", str(tmp_path), "--name", "squares", "--version", "7"]
    assert "a published version never changes" in refusal(capsys, command)


@pytest.mark.parametrize("version", ["0", "-2"])
def test_a_version_that_no_service_would_find_is_refused(
    finished: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str], version: str
) -> None:
    command = ["export", str(finished.path), "--models", str(tmp_path), "--name", "squares"]
    assert "whole numbers from 1" in refusal(capsys, [*command, "--version", version])
    assert list(tmp_path.iterdir()) == []


def test_a_name_the_card_does_not_allow_is_refused(
    finished: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["export", str(finished.path), "--models", str(tmp_path), "--name", "No Good"]
    assert "--name 'No Good'" in refusal(capsys, command)
    assert list(tmp_path.iterdir()) == []


def test_a_preview_shows_variants_and_strength_zero_shows_the_synthetic_images(
    finished: RunFolder, tmp_path: Path
) -> None:
    main(["preview", str(finished.path), "--out", str(tmp_path / "p.png"), "--strength", "0"])
    with Image.open(tmp_path / "p.png") as opened:
        pixels = np.asarray(opened)
    rows = pixels[4 : 4 + 5 * 100].reshape(5, 100, *pixels.shape[1:])
    margin = 110
    np.testing.assert_array_equal(rows[0][:, margin:], rows[1][:, margin:])
    assert (rows[0][:, margin:] != rows[4][:, margin:]).any()


@pytest.mark.shared
def test_the_smallest_shared_set_trains(tmp_path: Path) -> None:
    file = SHARED / "data" / "ci-tiny" / "ci_tiny.npz"
    if not file.exists():
        pytest.skip(f"needs {file}")
    sources = {"synthetic": f"{file}:synthetic", "real": f"{file}:real_train"}
    main(["fit", *flags({**FAST, **sources, "runs_root": tmp_path, "steps": 8})])
    (run,) = (RunFolder(path) for path in tmp_path.iterdir())
    assert lines(run)[-1]["step"] == 8
    assert (run.grids / "000008.png").stat().st_size > 0

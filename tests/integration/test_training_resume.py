"""A run that is killed again and again ends with the numbers of a run that never stopped."""

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.train
ROOT = Path(__file__).resolve().parents[2]
NEVER = 10**9

# Imports once, then forks a process for every command on its standard input, one JSON line each: the
# arguments, and when to send SIGKILL: after some seconds, or while the checkpoint of an iteration is being
# written. It answers with the exit status, and whether that left a checkpoint half written.
NURSERY = """
import json, os, pathlib, signal, sys, time
import trainer.commands
from trainer.cli import main

def half_written(root):
    found = set()
    for path in pathlib.Path(root).glob("*/checkpoints/.*.pt.*.simtrue-partial"):
        try:
            found.add((path, path.stat().st_mtime_ns))
        except FileNotFoundError:
            pass
    return found

for line in sys.stdin:
    order = json.loads(line)
    before = half_written(order["root"])
    child = os.fork()
    if child == 0:
        os.dup2(2, 1)
        try:
            main(order["arguments"])
        except SystemExit as stopped:
            os._exit(stopped.code or 0)
        os._exit(0)
    begin, status = time.monotonic(), None
    while status is None:
        ended, code = os.waitpid(child, os.WNOHANG)
        if ended:
            status = os.waitstatus_to_exitcode(code)
        writing = any(
            int(path.name.split(".")[1]) >= order["kill_in_write_of"]
            for path, _ in half_written(order["root"]) - before
        )
        late = order["kill_after_s"] is not None and time.monotonic() - begin > order["kill_after_s"]
        if status is None and (late or writing):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            status = -9
        time.sleep(0.0005)
    torn = bool(half_written(order["root"]) - before)
    print(json.dumps({"status": status, "torn": torn}), flush=True)
"""

SETTINGS = {
    "refiner_width": 8,
    "refiner_blocks": 1,
    "noise_smooth_channels": 1,
    "noise_image_channels": 2,
    "noise_recovery_weight": 0.3,
    "wide_weight": 0.5,
    "discriminator_layers": "gaze",
    "batch_size": 8,
    "history_capacity": 400,
    "steps": 32,
    "warmup_refiner_steps": 6,
    "warmup_discriminator_steps": 6,
    "log_every": 3,
    "grid_every": 0,
    "checkpoint_every": 4,
    "validate_every": 8,
    "labels_updates": 3,
    "precision": "fp32",
    "threads": 1,
}


class Nursery:
    """Starts commands in processes of their own and kills them when told."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", NURSERY],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={"OMP_NUM_THREADS": "1", "PATH": ""},
        )

    def run(
        self, arguments: list[str], root: Path, *, after_s: float | None = None, in_write_of: int = NEVER
    ) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        order = {
            "arguments": arguments,
            "root": str(root),
            "kill_after_s": after_s,
            "kill_in_write_of": in_write_of,
        }
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)
        self._process.stdout.close()


def fit_arguments(images: Path, root: Path) -> list[str]:
    values = {
        **SETTINGS,
        "synthetic": f"{images}:synthetic",
        "real": f"{images}:real",
        "labels": images.with_name("task.toml"),
        "runs_root": root,
    }
    return [
        "fit",
        *(text for name, value in values.items() for text in (f"--{name.replace('_', '-')}", str(value))),
    ]


def final_state(run: Path) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(max((run / "checkpoints").glob("*.pt")), weights_only=True)["state"]
    state.pop("config")  # the two runs live in different folders
    return state


def numbers(run: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "images_per_s"} for line in lines]


def assert_same(one: Any, other: Any, where: str) -> None:
    assert type(one) is type(other), where
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other), where
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            assert_same(one[key], other[key], f"{where}/{key}")
    elif isinstance(one, list):
        assert len(one) == len(other), where
        for index, pair in enumerate(zip(one, other, strict=True)):
            assert_same(*pair, f"{where}/{index}")
    else:
        assert one == other, where


def test_a_run_killed_at_any_moment_ends_with_the_same_numbers(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = tmp_path / "images.npz"
    np.savez(
        images,
        synthetic=rng.integers(0, 255, (40, 16, 16)).astype(np.uint8),
        real=rng.integers(60, 200, (50, 16, 16)).astype(np.uint8),
        number=rng.normal(0, 1, 40),
    )
    images.with_name("task.toml").write_text('kind = "regression"\nlabels = "images.npz:number"\n')
    calm, rough = tmp_path / "calm", tmp_path / "rough"
    nursery = Nursery()
    try:
        assert nursery.run(fit_arguments(images, calm), calm)["status"] == 0
        answers = [nursery.run(fit_arguments(images, rough), rough, in_write_of=6)]
        (run,) = rough.iterdir()
        moments = random.Random(7)
        for iteration in (16, 28, 36):
            resume = ["resume", str(run)]
            answers.append(nursery.run(resume, rough, after_s=moments.uniform(0.1, 0.8)))
            answers.append(nursery.run(resume, rough, in_write_of=iteration))
        assert nursery.run(["resume", str(run)], rough)["status"] == 0
    finally:
        nursery.close()
    assert [answer["status"] for answer in answers].count(-9) >= 4
    assert any(answer["torn"] for answer in answers), "no kill fell into the writing of a checkpoint"
    (reference,) = calm.iterdir()
    assert_same(final_state(run), final_state(reference), "state")
    assert numbers(run) == numbers(reference)
    steps = [line["iteration"] for line in numbers(run) if "phase" in line]
    assert steps == sorted(set(steps))
    assert sum("validation" in line for line in numbers(run)) == 4

"""How fast the paper's gaze step trains: our trainer beside a loop as public PyTorch ports write it.

    .venv/bin/python tests/benchmarks/training_speed.py            # a table; --json FILE keeps all rounds

A step is one refiner and one discriminator update on images of 35x55 px. Ours is the trainer's own loop with
what it chooses by itself and `reuse_refined`; plain is eager float32 with fresh refinements for the
discriminator, a history in numpy and numbers read at every step. Both have a process of their own (ours sets
up the allocator) and take turns, also with the measurement of the machine's peak (see peak_gflop_per_s).
FLOPs are those a step cannot do without, so the plain loop's fresh refinements count for nothing.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from model.discriminator import LocalDiscriminator
from model.refiner import Refiner
from trainer.allocator import keep_freed_memory
from trainer.config import TrainConfig
from trainer.data import TrainingData
from trainer.distributed import World
from trainer.hardware import choose_hardware
from trainer.loop import train
from trainer.networks import discriminator_config, refiner_config
from trainer.options import resolve
from trainer.training import build_training

HEIGHT, WIDTH = 35, 55
IMAGES = 2048
WARM_UP_STEPS = 2
MATRIX_SIDE, PEAK_WIDTH = 3072, 512
GIVE_UP_S = 300
Side = Literal["plain", "ours"]
SIDES: tuple[Side, ...] = ("plain", "ours")
PEAKS = {"float32": "of the fp32 peak", "bfloat16": "of the bf16 peak"}
Steps = Callable[[int], None]
"""Makes so many steps."""


@dataclass(frozen=True)
class Load:
    """What both sides do."""

    batch: int
    threads: int
    compile: str
    precision: str


@dataclass(frozen=True)
class Round:
    """Images per second of both sides, by the clock and by processor time, and what the machine could do."""

    images_per_s: dict[str, float]
    images_per_cpu_s: dict[str, float]
    peak_gflop_per_s: dict[str, float]


def main() -> None:
    """Measure in turns and print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=3, help="steps of each side in a round")
    parser.add_argument("--compile", choices=["auto", "on", "off"], default="auto")
    parser.add_argument("--precision", choices=["auto", "fp32", "bf16"], default="auto")
    parser.add_argument("--quick", action="store_true", help="two rounds of one step, one start")
    parser.add_argument("--json", type=Path, help="write every round to this file")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.rounds, chosen.steps = 2, 1
    load = Load(chosen.batch, chosen.threads, chosen.compile, chosen.precision)
    torch.set_num_threads(chosen.threads)
    starts_s = [start_to_first_step_s(chosen.threads) for _ in range(1 if chosen.quick else 3)]
    with ExitStack() as stack:
        sides = {side: stack.enter_context(_started(side, load)) for side in SIDES}
        rounds = [_round(sides, load.batch, chosen.steps) for _ in range(chosen.rounds)]
    flop = flop_of_an_image()
    hardware = f"{_processor()}, {chosen.threads} threads, torch {torch.__version__}, batch {chosen.batch}"
    print(f"{hardware}; {flop / 1e9:.2f} GFLOP an image and step\n\n{_table(rounds, flop)}")
    print(f"\nStart to first step of `simtrue-train fit`: {statistics.median(starts_s):.1f} s")
    if chosen.json:
        found = {
            "hardware": hardware,
            "flop_of_an_image": flop,
            "start_to_first_step_s": starts_s,
            "rounds": [asdict(one) for one in rounds],
        }
        chosen.json.write_text(json.dumps(found, indent=1), encoding="utf-8")


def _round(sides: dict[Side, Connection], batch: int, steps: int) -> Round:
    wall: dict[str, float] = {}
    cpu: dict[str, float] = {}
    for side, pipe in sides.items():
        pipe.send(steps)
        wall_s, cpu_s = pipe.recv()
        wall[side], cpu[side] = steps * batch / wall_s, steps * batch / cpu_s
    peaks = {name: peak_gflop_per_s(getattr(torch, name)) for name in PEAKS}
    return Round(wall, cpu, peaks)


@contextmanager
def _started(side: Side, load: Load) -> Iterator[Connection]:
    """A process that makes as many steps as it is told through this pipe; 0 ends it."""
    pipe, its_end = get_context("spawn").Pipe()
    process = get_context("spawn").Process(target=_work, args=(its_end, side, load), daemon=True)
    process.start()
    its_end.close()
    try:
        pipe.recv()
        yield pipe
    finally:
        pipe.send(0)
        process.join(GIVE_UP_S)


def _work(pipe: Connection, side: Side, load: Load) -> None:
    """Answers every number of steps with the seconds they took: by the clock, and of the processor."""
    make_steps = {"ours": ours, "plain": plain}[side](load)
    make_steps(WARM_UP_STEPS)
    pipe.send(None)
    while steps := pipe.recv():
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        make_steps(steps)
        pipe.send((time.perf_counter() - wall_s, time.process_time() - cpu_s))


def config_of(load: Load) -> TrainConfig:
    """The preset gaze with one update of each network a step, and nothing beside the steps."""
    return resolve(
        {
            "synthetic": "synthetic",
            "real": "real",
            "preset": "gaze",
            "batch_size": load.batch,
            "refiner_updates_per_step": 1,
            "discriminator_updates_per_step": 1,
            "reuse_refined": True,
            "history_capacity": 10 * load.batch,
            "warmup_refiner_steps": 0,
            "warmup_discriminator_steps": 0,
            "validate_every": 0,
            "threads": load.threads,
            "compile": load.compile,
            "precision": load.precision,
        }
    )


def ours(load: Load) -> Steps:
    """The trainer's own loop."""
    keep_freed_memory()
    config, world = config_of(load), World(rank=0, size=1, local_rank=0, local_size=1)
    hardware = choose_hardware(config, 0, 1)
    print(f"ours: {hardware}", file=sys.stderr)
    synthetic, real = _images("synthetic"), _images("real")
    run = build_training(config, TrainingData(synthetic, real, (HEIGHT, WIDTH)), world, hardware)

    def steps(count: int) -> None:
        until = config.model_copy(update={"steps": run.clock.step + count})
        train(replace(run, config=until), None)

    return steps


def plain(load: Load) -> Steps:
    """The loop of public ports, as the fastest of them write it: they keep D's update out of R."""
    torch.set_num_threads(load.threads)
    config = config_of(load)
    refiner, discriminator = (
        Refiner(refiner_config(config, 1)),
        LocalDiscriminator(discriminator_config(config, 1)),
    )
    of_refiner = torch.optim.SGD(refiner.parameters(), lr=config.refiner_learning_rate)
    of_discriminator = torch.optim.SGD(discriminator.parameters(), lr=config.discriminator_learning_rate)
    synthetic, real = (
        torch.from_numpy(_images(role)).permute(0, 3, 1, 2).contiguous().float() / 127.5 - 1
        for role in ("synthetic", "real")
    )
    history = NumpyHistory(config.history_capacity, load.batch // 2)
    patches = math.prod(discriminator.config.output_size(HEIGHT, WIDTH))
    weight = config.self_regularization_weight * patches

    def step() -> None:
        discriminator.requires_grad_(False)
        images = _drawn(synthetic, load.batch)
        refined = refiner(images)
        realism, _ = _judged(discriminator, refined, 0)
        loss = realism + weight * functional.l1_loss(refined, images)
        of_refiner.zero_grad()
        torch.autograd.backward(loss)
        of_refiner.step()
        loss.item()

        discriminator.requires_grad_(True)
        refined = history.mixed(refiner(_drawn(synthetic, load.batch)).detach())
        on_real, right_on_real = _judged(discriminator, _drawn(real, load.batch), 0)
        on_refined, right_on_refined = _judged(discriminator, refined, 1)
        loss = on_real + on_refined
        of_discriminator.zero_grad()
        torch.autograd.backward(loss)
        of_discriminator.step()
        sum(value.item() for value in (loss, right_on_real, right_on_refined))

    def steps(count: int) -> None:
        for _ in range(count):
            step()

    return steps


def _judged(discriminator: nn.Module, images: Tensor, target: int) -> tuple[Tensor, Tensor]:
    """The cross-entropy of all patches against one class, summed over patches, and the share told right."""
    logits = discriminator(images).permute(0, 2, 3, 1).reshape(-1, 2)
    targets = torch.full((len(logits),), target)
    loss = functional.cross_entropy(logits, targets, reduction="sum") / len(images)
    return loss, (logits.argmax(1) == targets).float().mean()


class NumpyHistory:
    """Past refined images as ports keep them: one array, grown and shuffled as a whole."""

    def __init__(self, capacity: int, half: int) -> None:
        self._capacity, self._half = capacity, half
        self._images = np.zeros((0, 1, HEIGHT, WIDTH), np.float32)
        self._rng = np.random.default_rng(0)

    def mixed(self, refined: Tensor) -> Tensor:
        """Half of the batch out of the history, and half of the batch into it."""
        newest = refined.numpy()[: self._half].copy()
        if len(self._images) >= self._half:
            self._rng.shuffle(self._images)
            refined[: self._half] = torch.from_numpy(self._images[: self._half].copy())
        if len(self._images) < self._capacity:
            self._images = np.append(self._images, newest, axis=0)
        else:
            self._images[: self._half] = newest
        return refined


def _drawn(images: Tensor, batch: int) -> Tensor:
    return images[torch.randint(len(images), (batch,))]


def _images(role: str) -> np.ndarray:
    """Soft discs with grain, uint8 [N, H, W, 1]; those called real are darker and noisier."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    centres = rng.uniform((10, 15), (25, 40), (IMAGES, 2))[:, :, None, None]
    away = np.hypot(rows - centres[:, 0], columns - centres[:, 1])
    level, grain = (150, 2) if role == "synthetic" else (110, 9)
    soft = level - 90 / (1 + np.exp(away - 8)) + rng.normal(0, grain, away.shape)
    images: np.ndarray = soft.clip(0, 255).astype(np.uint8)[..., None]
    return images


@torch.no_grad()
def peak_gflop_per_s(dtype: torch.dtype) -> float:
    """The best of some large matrix products and wide convolutions: machines differ in which is faster."""
    one, other = (torch.randn(MATRIX_SIDE, MATRIX_SIDE).to(dtype) for _ in range(2))
    weights = torch.randn(PEAK_WIDTH, PEAK_WIDTH, 3, 3).to(dtype, memory_format=torch.channels_last)
    image = torch.randn(4, PEAK_WIDTH, HEIGHT, WIDTH).to(dtype, memory_format=torch.channels_last)
    works: dict[float, Callable[[], Tensor]] = {
        2 * MATRIX_SIDE**3: lambda: torch.mm(one, other),
        2 * 9 * PEAK_WIDTH * image.numel(): lambda: functional.conv2d(image, weights, padding=1),
    }
    rates = []
    for flop, work in [*works.items()] * 4:
        start_s = time.perf_counter()
        work()
        rates.append(flop / (time.perf_counter() - start_s) / 1e9)
    return max(rates)


def flop_of_an_image() -> int:
    """What a step needs for each image of its batch: products and sums of all convolutions.

    A convolution goes forward, and back to its weights and to its input. The first one of a network whose
    input does not learn has no way back to the input; D has none to its weights while R learns. Refinements
    are those of R's update; D sees as many real images.
    """
    config = config_of(Load(2, 1, "off", "fp32"))
    of_refiner = _flop_of_layers(Refiner(refiner_config(config, 1)))
    of_discriminator = _flop_of_layers(LocalDiscriminator(discriminator_config(config, 1)))
    refiner_update = 3 * sum(of_refiner) - of_refiner[0] + 2 * sum(of_discriminator)
    discriminator_update = 2 * (3 * sum(of_discriminator) - of_discriminator[0])
    return refiner_update + discriminator_update


@torch.no_grad()
def _flop_of_layers(network: nn.Module) -> list[int]:
    found: list[int] = []

    def count(layer: nn.Module, _inputs: object, answer: Tensor) -> None:
        assert isinstance(layer, nn.Conv2d)
        found.append(2 * answer.numel() * layer.weight[0].numel())

    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(count)
    network(torch.zeros(1, 1, HEIGHT, WIDTH))
    return found


def start_to_first_step_s(threads: int) -> float:
    """From the start of the command, with the default preset, to the log line of its first step."""
    with tempfile.TemporaryDirectory() as folder:
        images = Path(folder) / "images.npz"
        np.savez(images, synthetic=_images("synthetic")[:512], real=_images("real")[:512])
        program = Path(sys.executable).with_name("simtrue-train")
        sets = ["--synthetic", f"{images}:synthetic", "--real", f"{images}:real", "--threads", str(threads)]
        command = [str(program), "fit", *sets, "--runs-root", folder, "--log-every", "1"]
        start_s = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            while not any(file.stat().st_size for file in Path(folder).glob("*/metrics.jsonl")):
                if process.poll() is not None or time.perf_counter() - start_s > GIVE_UP_S:
                    process.kill()
                    raise SystemExit("simtrue-train fit has made no step")
                time.sleep(0.005)
            took_s = time.perf_counter() - start_s
            process.terminate()
    return took_s


def _table(rounds: list[Round], flop: int) -> str:
    """Medians over the rounds; every ratio is first taken within its round."""
    columns = ["loop", "images/s", "of plain", "by processor time", "GFLOP/s", *PEAKS.values()]
    lines = [f"| {' | '.join(columns)} |", "|" + " --- |" * len(columns)]
    for side in SIDES:
        rate = statistics.median(one.images_per_s[side] for one in rounds)
        ratio = statistics.median(one.images_per_s[side] / one.images_per_s["plain"] for one in rounds)
        by_cpu = statistics.median(
            one.images_per_cpu_s[side] / one.images_per_cpu_s["plain"] for one in rounds
        )
        shares = [
            statistics.median(
                one.images_per_s[side] * flop / 1e9 / one.peak_gflop_per_s[kind] for one in rounds
            )
            for kind in PEAKS
        ]
        values = [f"{rate:.1f}", f"{ratio:.2f}", f"{by_cpu:.2f}", f"{rate * flop / 1e9:.0f}"]
        lines.append(f"| {' | '.join([side, *values, *(f'{share:.0%}' for share in shares)])} |")
    best = [statistics.median(one.peak_gflop_per_s[kind] for one in rounds) for kind in PEAKS]
    lines.append(f"| peak | – | – | – | {best[0]:.0f} and {best[1]:.0f} | 100% | 100% |")
    return "\n".join(lines)


def _processor() -> str:
    file = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*: (.*)$", file.read_text() if file.exists() else "", re.MULTILINE)
    return found.group(1) if found else platform.machine()


if __name__ == "__main__":
    main()

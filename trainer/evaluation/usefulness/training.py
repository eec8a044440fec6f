"""Owns the training of one estimator, and asking it."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trainer.evaluation.results import Augmentation
from trainer.evaluation.usefulness.augmentation import draw_moves, restyle
from trainer.evaluation.usefulness.estimation import Answers, Estimation
from trainer.evaluation.usefulness.frame import to_float
from trainer.sampling import Sampler, generator, stream_seed

LEARNING_RATE = 3e-3
WEIGHT_DECAY = 1e-3
WARM_UP = 0.1
MOST_GRADIENT = 5.0
ASKED_AT_ONCE = 128


@dataclass(frozen=True, eq=False)
class Pool:
    """What an arm is trained on."""

    images: Tensor
    """uint8 or float32 [N, C, h, w], from Frame.take."""
    targets: Tensor
    """[N, …]."""
    draws: NDArray[np.int64]
    """Rows of the above, each as often as it counts."""


def train(
    estimation: Estimation,
    pool: Pool,
    seed: int,
    *,
    augmentation: Augmentation,
    updates: int,
    device: torch.device,
) -> nn.Module:
    """Train a fresh network: AdamW, a short warm-up, a cosine down to 0; it comes back in eval mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(seed, "usefulness/weights"))
        network: nn.Module = estimation.network().to(device)
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        _learn(
            estimation, network.train(), pool, seed, augmentation=augmentation, updates=updates, device=device
        )
    return network.eval()


def _learn(
    estimation: Estimation,
    network: nn.Module,
    pool: Pool,
    seed: int,
    *,
    augmentation: Augmentation,
    updates: int,
    device: torch.device,
) -> None:
    optimiser = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda update: _rate(update / updates))
    sampler = Sampler(seed, "usefulness/order", len(pool.draws))
    size = min(estimation.batch_size, len(pool.draws))
    for update in range(updates):
        rows = torch.from_numpy(pool.draws[sampler.indices(update, size)])
        images, targets = to_float(pool.images[rows], device), pool.targets[rows].to(device)
        images, targets = augment(estimation, images, targets, seed, update, augmentation=augmentation)
        loss = estimation.loss(network(images), targets)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(network.parameters(), MOST_GRADIENT)
        optimiser.step()
        schedule.step()


def augment(
    estimation: Estimation,
    images: Tensor,
    targets: Tensor,
    seed: int,
    update: int,
    *,
    augmentation: Augmentation,
) -> tuple[Tensor, Tensor]:
    """Images [N, C, H, W] in [0, 1] and their targets as an arm with this augmentation sees them."""
    if augmentation == "none":
        return images, targets
    source = generator(seed, "usefulness/augmentation", update)
    moves = draw_moves(images, estimation.freedom, source)
    if moves is not None:
        images, targets = moves.images(images), estimation.move(targets, moves)
    if augmentation == "strong":
        images = restyle(images, estimation.largest_occluder, source)
    return images, targets


@torch.no_grad()
def ask(estimation: Estimation, network: nn.Module, images: Tensor, device: torch.device) -> Answers:
    """What a trained network says about images from Frame.take."""
    parts = [
        estimation.answers(network(to_float(part, device)).float().cpu())
        for part in torch.split(images, ASKED_AT_ONCE)
    ]
    return np.concatenate(parts)


def _rate(progress: float) -> float:
    if progress < WARM_UP:
        return (progress + 1e-3) / (WARM_UP + 1e-3)
    return 0.5 * (1.0 + float(np.cos(np.pi * (progress - WARM_UP) / (1.0 - WARM_UP))))

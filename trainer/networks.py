"""Owns how a config becomes networks: refiner, discriminator, their optimisers, all seeded."""

from dataclasses import dataclass
from math import gcd

import torch
from torch import nn

from model.card import NoiseSpec
from model.discriminator import (
    DEFAULT_LAYERS,
    GAZE_LAYERS,
    GLOBAL_LAYERS,
    HAND_LAYERS,
    WIDE_LAYERS,
    DiscriminatorConfig,
    LocalDiscriminator,
)
from model.noise_reader import NoiseReader, make_noise_reader
from model.refiner import Refiner, RefinerConfig
from model.variety import VarietyDiscriminator
from trainer.config import TrainConfig
from trainer.sampling import stream_seed

LAYERS = {"default": DEFAULT_LAYERS, "gaze": GAZE_LAYERS, "hand": HAND_LAYERS, "global": GLOBAL_LAYERS}


@dataclass(frozen=True)
class Networks:
    """R and D, where asked for the reader of noise and two more discriminators, each with its optimiser."""

    refiner: Refiner
    discriminator: LocalDiscriminator
    refiner_optimiser: torch.optim.Optimizer
    discriminator_optimiser: torch.optim.Optimizer
    noise_reader: NoiseReader | None
    noise_reader_optimiser: torch.optim.Optimizer | None
    variety: VarietyDiscriminator | None
    variety_optimiser: torch.optim.Optimizer | None
    wide: LocalDiscriminator | None
    wide_optimiser: torch.optim.Optimizer | None


def refiner_config(config: TrainConfig, channels: int) -> RefinerConfig:
    """The refiner that a config describes, for images of `channels` channels."""
    return RefinerConfig(
        channels=channels,
        width=config.refiner_width,
        blocks=config.refiner_blocks,
        kernel_size=config.refiner_kernel_size,
        first_kernel_size=config.refiner_first_kernel_size,
        grid=config.refiner_grid,
        head_width=config.refiner_head_width,
        padding=config.refiner_padding,
        output=config.refiner_output,
        noise=NoiseSpec(
            pixel_channels=config.noise_pixel_channels,
            smooth_channels=config.noise_smooth_channels,
            image_channels=config.noise_image_channels,
        ),
    )


def discriminator_config(config: TrainConfig, channels: int) -> DiscriminatorConfig:
    """The discriminator that a config describes, for images of `channels` channels."""
    return DiscriminatorConfig(
        channels=channels,
        layers=LAYERS[config.discriminator_layers],
        negative_slope=config.discriminator_negative_slope,
        high_pass=config.discriminator_high_pass,
        spectral_norm=config.discriminator_spectral_norm,
    )


def variety_group(config: TrainConfig) -> int:
    """Images that the second discriminator sees together: as asked for, or what of it divides a batch."""
    return gcd(config.variety_group, config.batch_size)


def build_networks(config: TrainConfig, channels: int, device: torch.device) -> Networks:
    """Fresh networks; the same seed gives the same weights everywhere, and global random state stays."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(config.seed, "weights"))
        refiner = Refiner(refiner_config(config, channels))
        discriminator = LocalDiscriminator(discriminator_config(config, channels))
        reader = make_noise_reader(channels, config.noise_image_channels, config.noise_recovery_weight)
        variety = _variety(config, channels)
        wide = _wide(config, channels)
    refiner.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    discriminator.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    reader = None if reader is None else reader.to(device)
    variety = None if variety is None else variety.to(device)
    if wide is not None:
        wide.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Networks(
        refiner,
        discriminator,
        _optimiser(config, refiner, config.refiner_learning_rate),
        _optimiser(config, discriminator, config.discriminator_learning_rate),
        reader,
        None if reader is None else _optimiser(config, reader, config.discriminator_learning_rate),
        variety,
        None if variety is None else _optimiser(config, variety, config.discriminator_learning_rate),
        wide,
        None if wide is None else _optimiser(config, wide, config.discriminator_learning_rate),
    )


def _variety(config: TrainConfig, channels: int) -> VarietyDiscriminator | None:
    if config.variety_weight == 0:
        return None
    return VarietyDiscriminator(channels, variety_group(config), config.discriminator_negative_slope)


def _wide(config: TrainConfig, channels: int) -> LocalDiscriminator | None:
    if config.weight_of_wide == 0:
        return None
    layers = {"layers": WIDE_LAYERS}
    return LocalDiscriminator(discriminator_config(config, channels).model_copy(update=layers))


def set_learning_rates(
    networks: Networks, config: TrainConfig, step: int, *, share: float = 1.0, pace: float = 1.0
) -> None:
    """Give every optimiser the rate of `step` (0 is the first step of Algorithm 1); all but R have D's.

    `share` is what the fall at the end of a run leaves of it, `pace` a factor on that of R alone.
    """
    dropped = 0 < config.learning_rate_drop_step <= step
    factor = share * (config.learning_rate_drop_factor if dropped else 1.0)
    for optimiser, rate in (
        (networks.refiner_optimiser, config.refiner_learning_rate * pace),
        (networks.discriminator_optimiser, config.discriminator_learning_rate),
        (networks.noise_reader_optimiser, config.discriminator_learning_rate),
        (networks.variety_optimiser, config.discriminator_learning_rate),
        (networks.wide_optimiser, config.discriminator_learning_rate),
    ):
        for group in optimiser.param_groups if optimiser is not None else ():
            group["lr"] = rate * factor


def _optimiser(config: TrainConfig, network: nn.Module, rate: float) -> torch.optim.Optimizer:
    if config.optimiser == "sgd":
        return torch.optim.SGD(network.parameters(), lr=rate)
    return torch.optim.Adam(network.parameters(), lr=rate, betas=(config.adam_beta1, config.adam_beta2))

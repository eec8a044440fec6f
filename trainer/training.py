"""Owns the state of a run and how everything it needs is put together."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from model.discriminator import DiscriminatorConfig
from model.errors import FeatureTransformError
from model.feature_transform import make_feature_transform
from model.history import HistoryBuffer, HistoryState
from model.looks import Looks
from trainer.alarms import Alarms
from trainer.batches import Batches
from trainer.config import TrainConfig
from trainer.consistency import Comparison, Consistency, make_consistency
from trainer.content_balance import ContentBalance, balance_content
from trainer.data import TrainingData
from trainer.distributed import World
from trainer.ema import Ema
from trainer.errors import ConfigError
from trainer.hardware import Hardware
from trainer.labels.task import Lesson
from trainer.length import Length
from trainer.meters import Meters
from trainer.networks import Networks, build_networks
from trainer.pace import Pace
from trainer.preservation_budget import Regularization
from trainer.sampling import Sampler, Stream, draw_noise, generator
from trainer.say import Say
from trainer.sources import Images
from trainer.step import DISCRIMINATOR_TERMS, REFINER_TERMS, VARIETY_TERMS, WIDE_TERMS, Learner, Objective
from trainer.stopping import Stopping
from trainer.told import Told
from trainer.validation import Validator, make_validator
from trainer.views import Views, draw_views

SAMPLE_IMAGES = 512
"""Windows of a set from which content balance, or the looks there are, are measured, at most."""
SAMPLE_PIXELS = 1 << 21
"""Pixels of all these windows together, at most."""


@dataclass
class Clock:
    """How far a run is. Data position and noise follow from the update counts and need no other state."""

    warmup_refiner: int = 0
    warmup_discriminator: int = 0
    step: int = 0
    refiner_updates: int = 0
    discriminator_updates: int = 0

    @property
    def iteration(self) -> int:
        """Warm-up and training steps together; names checkpoints and orders log lines."""
        return self.warmup_refiner + self.warmup_discriminator + self.step


@dataclass(frozen=True)
class Streams:
    """The three sources of one process's batches."""

    refiner_synthetic: Batches
    discriminator_synthetic: Batches
    discriminator_real: Batches


@dataclass(frozen=True)
class Training:
    """A run ready to go on: what it is, what it sees, what it learns, how far it is."""

    config: TrainConfig
    data: TrainingData
    world: World
    hardware: Hardware
    networks: Networks
    refiner: Learner
    discriminator: Learner
    noise_reader: Learner | None
    variety: Learner | None
    wide: Learner | None
    wide_objective: Objective
    """That of the wide discriminator."""
    say: Say
    consistency: Consistency | None
    """Where the synthetic images have labels that refinement must keep."""
    objective: Objective
    regularization: Regularization
    pace: Pace
    length: Length
    streams: Streams
    history: HistoryBuffer | None
    ema: Ema
    meters: Meters
    alarms: Alarms
    validator: Validator | None
    """Only in the main process."""
    clock: Clock
    stopping: Stopping

    def noise(self, stream: Stream, update: int) -> Tensor | None:
        """This process's share of the noise of a global batch: float32 [n, K, H, W], or None."""
        size = (self.config.batch_size, *self.data.window)
        source = generator(self.config.seed, stream, update, self.hardware.device)
        noise = draw_noise(self.networks.refiner.config.noise, size, source)
        return None if noise is None else noise[self.world.shard(self.config.batch_size)]

    def views(self, stream: Stream, update: int) -> Views | None:
        """This process's share of how a global batch is shown to the discriminator, or None."""
        if self.config.discriminator_views == 0:
            return None
        source = generator(self.config.seed, stream, update)
        views = draw_views(self.config.batch_size, self.config.discriminator_views, source)
        return views[self.world.shard(self.config.batch_size)]

    def comparison(self, update: int) -> Comparison | None:
        """Images whose labels are compared in an update of the refiner, if any."""
        if self.consistency is None:
            return None
        return self.consistency.comparison(
            update,
            self.streams.refiner_synthetic.rows(update),
            partial(draw_noise, self.networks.refiner.config.noise),
        )

    def state_dict(self) -> dict[str, object]:
        """Everything that the next step depends on, beside config and images."""
        return {
            "config": self.config.model_dump(mode="json"),
            "channels": self.data.channels,
            "bit_depth": self.data.bit_depth,
            "images": [len(self.data.synthetic), len(self.data.real)],
            "refiner": self.networks.refiner.state_dict(),
            "discriminator": self.networks.discriminator.state_dict(),
            "refiner_optimiser": self.networks.refiner_optimiser.state_dict(),
            "discriminator_optimiser": self.networks.discriminator_optimiser.state_dict(),
            "noise_reader": _state(self.networks.noise_reader),
            "noise_reader_optimiser": _state(self.networks.noise_reader_optimiser),
            "variety": _state(self.networks.variety),
            "variety_optimiser": _state(self.networks.variety_optimiser),
            "wide": _state(self.networks.wide),
            "wide_optimiser": _state(self.networks.wide_optimiser),
            "say": self.say.state_dict(),
            "consistency": None if self.consistency is None else self.consistency.state_dict(),
            "ema": self.ema.refiner.state_dict(),
            "history": None if self.history is None else dict(self.history.state_dict()),
            "meters": dict(self.meters.state_dict()),
            "alarms": dict(self.alarms.state_dict()),
            "regularization": self.regularization.state_dict(),
            "pace": self.pace.state_dict(),
            "length": self.length.state_dict(),
            "chosen": None if self.validator is None else self.validator.state_dict(),
            "clock": asdict(self.clock),
            "random": random_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state; ValueError and its like when it belongs to other settings or images."""
        if state["config"]["optimiser"] != self.config.optimiser:
            raise ValueError(f"it was saved with the optimiser {state['config']['optimiser']}")
        self.networks.refiner.load_state_dict(state["refiner"])
        self.networks.discriminator.load_state_dict(state["discriminator"])
        self.networks.refiner_optimiser.load_state_dict(state["refiner_optimiser"])
        self.networks.discriminator_optimiser.load_state_dict(state["discriminator_optimiser"])
        if self.networks.noise_reader is not None and self.networks.noise_reader_optimiser is not None:
            self.networks.noise_reader.load_state_dict(state["noise_reader"])
            self.networks.noise_reader_optimiser.load_state_dict(state["noise_reader_optimiser"])
        if self.networks.variety is not None and self.networks.variety_optimiser is not None:
            self.networks.variety.load_state_dict(state["variety"])
            self.networks.variety_optimiser.load_state_dict(state["variety_optimiser"])
        if self.networks.wide is not None and self.networks.wide_optimiser is not None:
            self.networks.wide.load_state_dict(state["wide"])
            self.networks.wide_optimiser.load_state_dict(state["wide_optimiser"])
            self.say.load_state_dict(state["say"])
        if self.consistency is not None:
            self.consistency.load_state_dict(state["consistency"])
        self.ema.refiner.load_state_dict(state["ema"])
        if self.history is not None:
            self.history.load_state_dict(_on_device(state["history"], self.hardware.device))
        self.meters.load_state_dict(state["meters"])
        self.alarms.load_state_dict(state["alarms"])
        self.regularization.load_state_dict(state["regularization"])
        self.pace.load_state_dict(state.get("pace"))
        self.length.load_state_dict(state.get("length"))
        if self.validator is not None:
            self.validator.load_state_dict(state.get("chosen"))
        for name, value in state["clock"].items():
            setattr(self.clock, name, value)
        restore_random_state(state["random"])


def build_training(
    config: TrainConfig,
    data: TrainingData,
    world: World,
    hardware: Hardware,
    lesson: Lesson | None = None,
) -> Training:
    """Put a run together at its very beginning; ConfigError when config and images do not fit.

    lesson: labels of the synthetic images, whatever `labels` in the config says.
    """
    device = hardware.device
    networks = build_networks(config, data.channels, device)
    ema = Ema(networks.refiner, config.ema_decay)
    if hardware.compile:
        _compile(networks, config)
    objective = _objective(config, data, networks, world, hardware)
    return Training(
        config=config,
        data=data,
        world=world,
        hardware=hardware,
        networks=networks,
        refiner=_learner(networks.refiner, networks.refiner_optimiser, world, device),
        discriminator=_learner(networks.discriminator, networks.discriminator_optimiser, world, device),
        noise_reader=_optional(networks.noise_reader, networks.noise_reader_optimiser, world, device),
        variety=_optional(networks.variety, networks.variety_optimiser, world, device),
        consistency=_consistency(config, data, lesson, world, device),
        objective=objective,
        wide=_optional(networks.wide, networks.wide_optimiser, world, device),
        wide_objective=_of_wide(objective, config, data, networks, device),
        say=Say(Told.of(device)),
        regularization=Regularization.of(config.self_regularization_weight, config.preservation_budget),
        pace=Pace(config.refiner_pace_limit, Told.of(device)),
        length=Length.of(
            config.steps, config.steps_limit, config.learning_rate_decay_share, config.validate_every
        ),
        streams=_streams(config, data, world, device),
        history=_history(config),
        ema=ema,
        meters=Meters((*REFINER_TERMS, *DISCRIMINATOR_TERMS, *VARIETY_TERMS, *WIDE_TERMS), device),
        alarms=Alarms(config.steps),
        validator=_validator(config, data, world, lesson),
        clock=Clock(),
        stopping=Stopping(),
    )


def _consistency(
    config: TrainConfig, data: TrainingData, lesson: Lesson | None, world: World, device: torch.device
) -> Consistency | None:
    if lesson is None:
        return None
    return make_consistency(lesson, data, config, world, device)


def _validator(
    config: TrainConfig, data: TrainingData, world: World, lesson: Lesson | None
) -> Validator | None:
    if not config.validate_every or not world.is_main:
        return None
    return make_validator(
        data,
        config.seed,
        config.preservation_budget,
        colours_count=lesson is None or not config.labels_weight,
    )


def random_state() -> dict[str, object]:
    """Torch's global generators. The trainer draws nothing from them; a user's feature transform may."""
    return {"torch": torch.get_rng_state(), "cuda": list(torch.cuda.get_rng_state_all())}


def restore_random_state(state: Mapping[str, Any]) -> None:
    """Set torch's global generators; those of GPUs only where the machine has as many."""
    torch.set_rng_state(state["torch"])
    if len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])


def _on_device(history: HistoryState, device: torch.device) -> HistoryState:
    """The buffer's images where new ones will come from."""
    images = history["images"]
    return {**history, "images": None if images is None else images.to(device)}


def _learner(
    module: nn.Module, optimiser: torch.optim.Optimizer, world: World, device: torch.device
) -> Learner:
    return Learner(module, world.synchronised(module, device), optimiser)


def _optional(
    module: nn.Module | None, optimiser: torch.optim.Optimizer | None, world: World, device: torch.device
) -> Learner | None:
    if module is None or optimiser is None:
        return None
    return _learner(module, optimiser, world, device)


def _state(part: nn.Module | torch.optim.Optimizer | None) -> dict[str, Any] | None:
    return None if part is None else part.state_dict()


def _compile(networks: Networks, config: TrainConfig) -> None:
    networks.refiner.compile()
    if config.r1_weight == 0:
        # The R1 penalty differentiates twice through D, which compiled graphs do not support.
        networks.discriminator.compile()


def _objective(
    config: TrainConfig, data: TrainingData, networks: Networks, world: World, hardware: Hardware
) -> Objective:
    try:
        feature_transform = make_feature_transform(config.feature_transform, data.channels)
    except FeatureTransformError as error:
        raise ConfigError(f"--feature-transform: {error}") from error
    height, width = networks.discriminator.config.output_size(*data.window)
    return Objective(
        feature_transform.to(hardware.device),
        config.adversarial_loss,
        config.r1_weight,
        config.r1_every,
        height * width if config.patch_reduction == "sum" else 1,
        config.noise_recovery_weight,
        config.variety_weight,
        config.labels_weight,
        config.looks_weight,
        _looks(config, data, world, hardware.device),
        _content_balance(config, data, networks.discriminator.config, hardware.device),
        hardware.autocast,
    )


def _of_wide(
    objective: Objective, config: TrainConfig, data: TrainingData, networks: Networks, device: torch.device
) -> Objective:
    if networks.wide is None:
        return objective
    balance = _content_balance(config, data, networks.wide.config, device)
    return replace(objective, content_balance=balance, r1_weight=0.0, scale=1)


def _looks(
    config: TrainConfig, data: TrainingData, world: World, device: torch.device
) -> Callable[[Tensor], Tensor] | None:
    if config.looks_weight == 0 or len(data.real) < 2:
        return None
    looks = Looks.of(_sample(config, data, data.real, "looks/real", device))
    return partial(looks.distance, gather=world.gather, first=world.shard(config.batch_size).start)


def _content_balance(
    config: TrainConfig, data: TrainingData, layers: DiscriminatorConfig, device: torch.device
) -> ContentBalance | None:
    if config.content_balance_limit == 1:
        return None
    return balance_content(
        make_feature_transform("local_contrast", data.channels).to(device),
        layers.receptive_field or max(data.window),
        _sample(config, data, data.synthetic, "balance/synthetic", device),
        _sample(config, data, data.real, "balance/real", device),
        patches=layers.output_size(*data.window),
        limit=config.content_balance_limit,
    )


def _sample(
    config: TrainConfig, data: TrainingData, images: Images, stream: Stream, device: torch.device
) -> Tensor:
    """Windows of a set that depend on nothing but the images and the seed: every process has the same."""
    pixels = data.window[0] * data.window[1]
    count = min(len(images), SAMPLE_IMAGES, max(SAMPLE_PIXELS // pixels, 1))
    sampler = Sampler(config.seed, stream, len(images))
    return Batches(images, sampler, data.window, count, data.peak, slice(0, count), device).draw(0)


def _streams(config: TrainConfig, data: TrainingData, world: World, device: torch.device) -> Streams:
    shard = world.shard(config.batch_size)

    def batches(images: Images, stream: Stream) -> Batches:
        sampler = Sampler(config.seed, stream, len(images))
        return Batches(images, sampler, data.window, config.batch_size, data.peak, shard, device)

    return Streams(
        batches(data.synthetic, "refiner/synthetic"),
        batches(data.synthetic, "discriminator/synthetic"),
        batches(data.real, "discriminator/real"),
    )


def _history(config: TrainConfig) -> HistoryBuffer | None:
    if config.history_capacity == 0:
        return None
    return HistoryBuffer(config.history_capacity, generator(config.seed, "history"))

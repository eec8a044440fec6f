"""Owns TrainConfig: every setting of a training run, its meaning, unit, default and bounds."""

from typing import Literal, Self

from pydantic import Field, model_validator

from trainer.config_run import RunConfig
from trainer.config_values import (
    ALGORITHM,
    DISCRIMINATOR,
    LOGS,
    LOSSES,
    OPTIMISER,
    REFINER,
    SPEED,
    Odd,
    Weight,
)


class TrainConfig(RunConfig):
    """Settings of one run; immutable, and together with the images all that decides its result."""

    steps: int = Field(
        4000,
        ge=1,
        le=100_000_000,
        description="steps of Algorithm 1, after both warm-ups",
        json_schema_extra=ALGORITHM,
    )
    steps_limit: int = Field(
        0,
        ge=0,
        le=100_000_000,
        description="as many steps instead, where all refiners are far from real when the learning rate "
        "should begin to fall: more than an eighth of the distance of synthetic patches is left; not before "
        "step 1000; no more than steps: never",
        json_schema_extra=ALGORITHM,
    )
    batch_size: int = Field(
        32,
        ge=2,
        le=65_536,
        multiple_of=2,
        description="b, images per update over all processes together",
        json_schema_extra=ALGORITHM,
    )
    refiner_updates_per_step: int = Field(
        1, ge=1, le=1000, description="K_g, refiner updates per step", json_schema_extra=ALGORITHM
    )
    discriminator_updates_per_step: int = Field(
        1, ge=1, le=1000, description="K_d, discriminator updates per step", json_schema_extra=ALGORITHM
    )
    reuse_refined: bool = Field(
        False,
        description="the first discriminator update of a step judges the refinements of its last refiner "
        "update instead of fresh ones: one pass of the refiner less",
        json_schema_extra=ALGORITHM,
    )
    warmup_refiner_steps: int = Field(
        0,
        ge=0,
        le=10_000_000,
        description="first updates of the refiner, on self-regularization alone",
        json_schema_extra=ALGORITHM,
    )
    warmup_discriminator_steps: int = Field(
        0,
        ge=0,
        le=10_000_000,
        description="then updates of the discriminator alone",
        json_schema_extra=ALGORITHM,
    )
    history_capacity: int = Field(
        2048,
        ge=0,
        le=10_000_000,
        description="B, past refined images kept for the discriminator; 0: no history",
        json_schema_extra=ALGORITHM,
    )

    self_regularization_weight: float = Field(
        0.5,
        ge=0,
        le=1e6,
        description="lambda, on the mean |psi(refined) - psi(synthetic)| with images in [-1, 1] and the "
        "adversarial term averaged over patches, whatever patch_reduction is",
        json_schema_extra=LOSSES,
    )
    preservation_budget: float = Field(
        1.0,
        gt=0,
        le=1,
        description="share of the content that may be lost (structure; without labels colours too), measured "
        "every validate_every steps; above it lambda is raised by half, well below it falls back to its "
        "start; 1, or validate_every 0: lambda is fixed",
        json_schema_extra=LOSSES,
    )
    feature_transform: str = Field(
        "identity",
        min_length=1,
        max_length=500,
        description="psi: identity, derivatives, channel_mean, normalised, normalised_derivatives, "
        "local_contrast or module:PATH:FACTORY; several joined as 0.5*identity+derivatives",
        json_schema_extra=LOSSES,
    )
    adversarial_loss: Literal["cross_entropy", "least_squares"] = Field(
        "cross_entropy", description="cross_entropy: Eqs. 2 and 3 of the paper", json_schema_extra=LOSSES
    )
    patch_reduction: Literal["sum", "mean"] = Field(
        "mean",
        description="sum multiplies both networks' whole losses by the number of patches; with plain SGD "
        "only sum moves the discriminator",
        json_schema_extra=LOSSES,
    )
    r1_weight: float = Field(
        0.0,
        ge=0,
        le=1e6,
        description="weight of the squared gradient of the discriminator at real images; 0: off",
        json_schema_extra=LOSSES,
    )
    r1_every: int = Field(
        1,
        ge=1,
        le=1000,
        description="discriminator updates from one with R1 to the next, which is that many times as strong: "
        "nearly the same effect at a part of the cost",
        json_schema_extra=LOSSES,
    )
    refiner_width: int = Field(64, ge=1, le=4096, description="feature maps", json_schema_extra=REFINER)
    refiner_blocks: int = Field(4, ge=0, le=256, description="ResNet blocks", json_schema_extra=REFINER)
    refiner_kernel_size: Odd = Field(
        3, ge=1, le=63, description="kernel of the blocks, px, odd", json_schema_extra=REFINER
    )
    refiner_first_kernel_size: Odd = Field(
        3, ge=1, le=63, description="kernel of the first convolution, px, odd", json_schema_extra=REFINER
    )
    refiner_grid: int = Field(
        1,
        ge=1,
        le=16,
        description="side of the squares of px that its convolutions take as one place; 4 costs a sixteenth "
        "of 1 with the same width, and kernels count squares; 1: single pixels, as in the paper",
        json_schema_extra=REFINER,
    )
    refiner_head_width: int = Field(
        0,
        ge=0,
        le=512,
        description="feature maps of a last layer on single px; 0: none",
        json_schema_extra=REFINER,
    )
    refiner_padding: Literal["zeros", "replicate"] = Field(
        "zeros",
        description="what its convolutions see outside the image: zeros, as in the paper, or the edge pixels "
        "again, which draws no frame along the borders",
        json_schema_extra=REFINER,
    )
    refiner_output: Literal["tanh", "residual"] = Field(
        "residual",
        description="tanh: a new image, as in the paper; residual: a change added to the input",
        json_schema_extra=REFINER,
    )
    noise_pixel_channels: int = Field(
        0, ge=0, le=64, description="noise inputs drawn for every pixel", json_schema_extra=REFINER
    )
    noise_smooth_channels: int = Field(
        0, ge=0, le=64, description="noise that changes slowly: haze, shadows", json_schema_extra=REFINER
    )
    noise_image_channels: int = Field(
        0, ge=0, le=64, description="noise inputs drawn once per image", json_schema_extra=REFINER
    )
    content_balance_limit: float = Field(
        1.0,
        ge=1,
        le=100,
        description="largest weight of a real patch, and inverse of the smallest, so that structure is as "
        "frequent for the discriminator as in the synthetic set, and erasing it gains nothing; 1: off",
        json_schema_extra=LOSSES,
    )
    noise_recovery_weight: float = Field(
        0.0,
        ge=0,
        le=1e6,
        description="weight of the mean squared error with which a small network reads the noise of an image "
        "out of its refinement, so that R has to use it and one image gets many looks; 0: off",
        json_schema_extra=LOSSES,
    )
    looks_weight: float = Field(
        0.0,
        ge=0,
        le=1e6,
        description="weight of how far refined images are from being as bright, and as grainy, as often as "
        "real ones are: without it a refiner draws most often what it draws best; 0: off, as in the paper",
        json_schema_extra=LOSSES,
    )
    labels_weight: float = Field(
        1.0,
        ge=0,
        le=1e6,
        description="weight of how far what the estimator of --labels says of refined images is from what it "
        "says of synthetic ones; without --labels it has no meaning",
        json_schema_extra=LOSSES,
    )
    labels_updates: int = Field(
        0,
        ge=0,
        le=1_000_000,
        description="updates in which the estimator learns the labels, before all else; 0: as many as their "
        "kind needs, one to three minutes of a processor",
        json_schema_extra=LOSSES,
    )
    variety_weight: float = Field(
        0.0,
        ge=0,
        le=1e6,
        description="weight, beside the realism of patches, of a second discriminator that judges images in "
        "small groups by their mean features and how these differ: it misses looks that the refiner never "
        "draws; 0: off, as in the paper",
        json_schema_extra=LOSSES,
    )
    wide_weight: Weight = Field(
        0.0,
        description="weight, beside the realism of patches, of that of larger ones (21 px), which a "
        "discriminator of its own judges. It counts in full while that one tells at most 70 % of them right, "
        "and not at all from 85 % on, for then it tells by shapes and places, which must not change; auto: 1 "
        "with --labels, which hold what it could cost, else 0; 0: off, as in the paper",
        json_schema_extra=LOSSES,
    )
    discriminator_layers: Literal["default", "gaze", "hand", "global"] = Field(
        "default",
        description="layers of the discriminator; all judge patches but global, which has those of default "
        "and one answer per image",
        json_schema_extra=DISCRIMINATOR,
    )
    discriminator_negative_slope: float = Field(
        0.0,
        ge=0,
        le=1,
        description="slope of its activations below zero; 0: ReLU, as in the paper",
        json_schema_extra=DISCRIMINATOR,
    )
    discriminator_high_pass: bool = Field(
        False,
        description="show the discriminator the fine detail a second time, enlarged, so that it sees grain",
        json_schema_extra=DISCRIMINATOR,
    )
    discriminator_views: float = Field(
        0.0,
        ge=0,
        le=0.9,
        description="how often the discriminator is shown an image turned or mirrored, brighter or darker, "
        "of other contrast (each by itself), so that it cannot learn few real ones by heart; 0: never",
        json_schema_extra=DISCRIMINATOR,
    )
    discriminator_spectral_norm: bool = Field(
        False, description="limit each layer's Lipschitz constant", json_schema_extra=DISCRIMINATOR
    )

    variety_group: int = Field(
        8,
        ge=2,
        le=1024,
        description="images that the second discriminator of variety_weight sees together; where they do not "
        "divide batch_size, the largest part of them that does",
        json_schema_extra=DISCRIMINATOR,
    )

    optimiser: Literal["sgd", "adam"] = Field(
        "adam", description="sgd: plain, as in the paper", json_schema_extra=OPTIMISER
    )
    refiner_learning_rate: float = Field(
        2e-4, gt=0, le=10, description="learning rate of the refiner", json_schema_extra=OPTIMISER
    )
    refiner_pace_limit: float = Field(
        1.0,
        ge=1,
        le=100,
        description="largest multiple of its learning rate that the refiner takes: after 300 "
        "steps it rises while the discriminator tells more than 70 % of the patches right and nothing is "
        "lost beyond preservation_budget, and falls back below 66 %; 1: the rate is fixed, as in the paper",
        json_schema_extra=OPTIMISER,
    )
    discriminator_learning_rate: float = Field(
        2e-4, gt=0, le=10, description="learning rate of the discriminator", json_schema_extra=OPTIMISER
    )
    adam_beta1: float = Field(
        0.5, ge=0, lt=1, description="decay of Adam's mean", json_schema_extra=OPTIMISER
    )
    adam_beta2: float = Field(
        0.999, ge=0, lt=1, description="decay of Adam's square", json_schema_extra=OPTIMISER
    )
    learning_rate_drop_step: int = Field(
        0,
        ge=0,
        le=100_000_000,
        description="step from which both rates are multiplied; 0: never",
        json_schema_extra=OPTIMISER,
    )
    learning_rate_drop_factor: float = Field(
        0.25, gt=0, le=1, description="the factor of that drop", json_schema_extra=OPTIMISER
    )
    learning_rate_decay_share: float = Field(
        0.0,
        ge=0,
        le=1,
        description="last share of the steps, over which both rates fall to 0 in a straight line; 0: none",
        json_schema_extra=OPTIMISER,
    )
    ema_decay: float = Field(
        0.999,
        ge=0,
        lt=1,
        description="decay per refiner update of the averaged refiner; 0: no averaging",
        json_schema_extra=OPTIMISER,
    )

    device: str = Field(
        "auto",
        pattern=r"^(auto|cpu|cuda(:\d+)?)$",
        description="auto: a GPU when there is one",
        json_schema_extra=SPEED,
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto",
        description="bf16: mixed precision; auto: bf16 where the hardware multiplies it",
        json_schema_extra=SPEED,
    )
    compile: Literal["auto", "on", "off"] = Field(
        "auto", description="torch.compile; auto: on a GPU only", json_schema_extra=SPEED
    )
    threads: int = Field(
        0,
        ge=0,
        le=1024,
        description="CPU threads of this process; 0: all cores, shared out",
        json_schema_extra=SPEED,
    )

    log_every: int = Field(
        50, ge=1, le=1_000_000, description="steps between log lines", json_schema_extra=LOGS
    )
    grid_every: int = Field(
        500,
        ge=0,
        le=100_000_000,
        description="steps between sample grids; 0: only at the end",
        json_schema_extra=LOGS,
    )
    validate_every: int = Field(
        500,
        ge=0,
        le=100_000_000,
        description="steps between measurements of realism and preservation, without labels; the last "
        "sound one, if possible within preservation_budget, is what export and evaluate take; 0: they take "
        "the very last",
        json_schema_extra=LOGS,
    )
    checkpoint_every: int = Field(
        500,
        ge=0,
        le=100_000_000,
        description="steps between checkpoints; 0: only at the end",
        json_schema_extra=LOGS,
    )
    keep_checkpoints: int = Field(
        3, ge=1, le=10_000, description="newest checkpoints kept", json_schema_extra=LOGS
    )
    tensorboard: bool = Field(True, description="write TensorBoard event files", json_schema_extra=LOGS)

    @property
    def weight_of_wide(self) -> float:
        """What `wide_weight` says, as a number."""
        if self.wide_weight == "auto":
            return 0.0 if self.labels == "none" else 1.0
        return self.wide_weight

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if 0 < self.history_capacity < self.batch_size // 2:
            raise ValueError(
                f"history_capacity {self.history_capacity} cannot fill half a batch of {self.batch_size}; "
                f"take at least {self.batch_size // 2}, or 0 for no history"
            )
        if self.warmup_refiner_steps and self.self_regularization_weight == 0:
            raise ValueError("a refiner warm-up needs self_regularization_weight above 0, its only loss")
        return self

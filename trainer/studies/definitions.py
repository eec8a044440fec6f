"""Owns the paper's studies: the question of each, its variants, and how they become settings of a run."""

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import lcm

from trainer.config import TrainConfig
from trainer.errors import ConfigError
from trainer.options import validate

Value = str | int | float

STEP_COUNTS = (
    "learning_rate_drop_step",
    *(name for name in TrainConfig.model_fields if name.endswith("_every")),
)
"""Settings that count steps, beside `steps` itself; 0 keeps its meaning."""


@dataclass(frozen=True)
class Variant:
    """One way to train: what it changes in the common base."""

    name: str
    """As part of a run's name: a-z, 0-9, dot, dash, underscore."""
    settings: Mapping[str, Value] = field(default_factory=dict)
    """Setting → its value here."""
    factors: Mapping[str, float] = field(default_factory=dict)
    """Setting → by what that of the base is multiplied."""


@dataclass(frozen=True)
class Study:
    """One question to the method, answered by training all variants."""

    name: str
    question: str
    """What the paper claims or leaves open, with its section."""
    variants: tuple[Variant, ...]
    equal_refiner_updates: bool = False
    """Every variant makes as many refiner updates in all: `steps`, and what else counts steps, follow K_g."""


STUDIES: tuple[Study, ...] = (
    Study(
        "history",
        "Section 2.3 claims that a discriminator which sees only the newest refined images forgets older "
        "artefacts, so that they come back, and that a history of refined images prevents it.",
        (Variant("on"), Variant("off", {"history_capacity": 0})),
    ),
    Study(
        "loss",
        "Sections 2.2 and 3.3 claim that one answer per local patch keeps the refiner from the artefacts "
        "that one answer per image leaves; both have the same layers here, and see what --window shows them.",
        (
            Variant("local", {"discriminator_layers": "default"}),
            Variant("global", {"discriminator_layers": "global"}),
        ),
    ),
    Study(
        "psi",
        "Section 2.1 leaves open in which space psi the refined image must stay close to the synthetic one: "
        "which keeps the content and still lets the image become real, at the same lambda?",
        tuple(
            Variant(name, {"feature_transform": name, "preservation_budget": 1.0})
            for name in ("identity", "derivatives", "normalised", "local_contrast")
        ),
    ),
    Study(
        "lambda",
        "Eq. 4 trades realism against staying close to the synthetic image by a weight lambda, whose value "
        "the paper does not tell: how wide is the range that works?",
        tuple(
            Variant(f"x{name}", {"preservation_budget": 1.0}, factors={"self_regularization_weight": factor})
            for name, factor in (("0.1", 0.1), ("0.33", 1 / 3), ("1", 1.0), ("3", 3.0), ("10", 10.0))
        ),
    ),
    Study(
        "updates",
        "Algorithm 1 makes K_g refiner updates before each discriminator update; the text of section 3.1 "
        "says two, its second version 50: which, when all make as many refiner updates in total?",
        tuple(Variant(f"{count}", {"refiner_updates_per_step": count}) for count in (1, 2, 5, 50)),
        equal_refiner_updates=True,
    ),
)


def find_study(name: str) -> Study:
    """The study of this name; ConfigError lists those there are."""
    for study in STUDIES:
        if study.name == name:
            return study
    there = f"there are: {', '.join(study.name for study in STUDIES)}"
    raise ConfigError(f"there is no study {name!r}; {there}" if name else f"name a study; {there}")


def describe_studies() -> str:
    """Every study with its variants and its question, as text for the terminal."""
    parts = []
    for study in STUDIES:
        names = ", ".join(variant.name for variant in study.variants)
        parts.append(f"{study.name}: {names}\n{textwrap.indent(textwrap.fill(study.question, 96), '    ')}")
    return "\n".join(parts)


def resolve_variants(study: Study, base: TrainConfig) -> dict[str, TrainConfig]:
    """The settings of every variant by its name, in the order of the study.

    ConfigError where one is out of bounds, or where two would be the same: then `base` leaves nothing to
    compare.
    """
    total = _refiner_updates(study, base)
    resolved: dict[str, TrainConfig] = {}
    for variant in study.variants:
        config = _resolve(study, variant, base, total)
        for other, known in resolved.items():
            if known == config:
                raise ConfigError(
                    f"the variants {other} and {variant.name} of the study {study.name} are the same with "
                    f"these settings: {_said(variant, base)}"
                )
        resolved[variant.name] = config
    return resolved


def changes(config: TrainConfig, base: TrainConfig) -> dict[str, Value | None]:
    """What a variant's settings change in those of the base, by name."""
    here, there = config.model_dump(mode="json"), base.model_dump(mode="json")
    return {name: value for name, value in here.items() if value != there[name]}


def _resolve(study: Study, variant: Variant, base: TrainConfig, total: int) -> TrainConfig:
    values: dict[str, object] = {**base.model_dump(), **variant.settings}
    for name, factor in variant.factors.items():
        # 15 digits: a third of 3 is 1, not 0.9999999999999999.
        values[name] = float(f"{factor * getattr(base, name):.15g}")
    config = validate(values)
    if not study.equal_refiner_updates:
        return config
    steps = total // config.refiner_updates_per_step
    counts = {name: round(getattr(base, name) * steps / base.steps) for name in STEP_COUNTS}
    kept = {name: max(1, count) if getattr(base, name) else 0 for name, count in counts.items()}
    return validate({**values, **kept, "steps": steps})


def _refiner_updates(study: Study, base: TrainConfig) -> int:
    """Refiner updates of every variant: those of the base, rounded down to what all can make."""
    total = base.steps * base.refiner_updates_per_step
    if not study.equal_refiner_updates:
        return total
    share = lcm(*(int(variant.settings["refiner_updates_per_step"]) for variant in study.variants))
    if total < share:
        raise ConfigError(
            f"the study {study.name} needs at least {share} refiner updates, --steps {base.steps} with "
            f"--refiner-updates-per-step {base.refiner_updates_per_step} makes {total}"
        )
    return total // share * share


def _said(variant: Variant, base: TrainConfig) -> str:
    names = [*variant.settings, *variant.factors]
    return ", ".join(f"{name} = {getattr(base, name)}" for name in names)

"""Values of settings as people write them: `35x55`, `auto`, `3`."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, JsonValue

Section = dict[str, JsonValue]
# The group of a field in `--help` and in config.toml.
DATA: Section = {"section": "data"}
RUN: Section = {"section": "run"}
ALGORITHM: Section = {"section": "algorithm 1"}
LOSSES: Section = {"section": "losses"}
REFINER: Section = {"section": "refiner"}
DISCRIMINATOR: Section = {"section": "discriminator"}
OPTIMISER: Section = {"section": "optimiser"}
SPEED: Section = {"section": "speed"}
LOGS: Section = {"section": "logs"}


def _parse_size(value: object) -> object:
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"(\d+)[x×](\d+)", value.strip())
    if match is None:
        raise ValueError(f"{value!r} is not HEIGHTxWIDTH, for example 35x55")
    return (int(match[1]), int(match[2]))


def _parse_auto(value: object) -> object:
    return int(value) if isinstance(value, str) and value.isdecimal() else value


def _parse_weight(value: object) -> object:
    if not isinstance(value, str) or value == "auto":
        return value
    try:
        return float(value)
    except ValueError:
        return value


def _odd(size: int) -> int:
    if size % 2 == 0:
        raise ValueError(f"{size} is even and would shift the image: take an odd one")
    return size


Odd = Annotated[int, AfterValidator(_odd)]
Pixels = Annotated[int, Field(ge=1, le=65_536)]
Size = Annotated[tuple[Pixels, Pixels], BeforeValidator(_parse_size)]
"""Height and width in pixels, written `35x55`."""
Channels = Annotated[Literal["auto"] | Annotated[int, Field(ge=1, le=64)], BeforeValidator(_parse_auto)]
BitDepth = Annotated[Literal["auto", 8, 16], BeforeValidator(_parse_auto)]
Weight = Annotated[
    Literal["auto"] | Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)],
    BeforeValidator(_parse_weight),
]
"""A factor of a loss, or what a setting makes of `auto`."""

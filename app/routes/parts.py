"""One part of a form, and how much of it may come."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PartLimit:
    """How often a part may come and how many bytes each may have."""

    max_count: int
    max_bytes: int


@dataclass(frozen=True)
class Part:
    """One part of a form; `filename` is what the client claims and never a path of ours."""

    name: str
    filename: str | None
    data: bytes

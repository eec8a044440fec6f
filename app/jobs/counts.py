"""What became of files: how many got each verdict, were copied, were dropped or failed, and why."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from app.jobs.text import storable
from app.preservation.verdict import Verdict

MAX_REASONS = 20
MAX_REASON_CHARACTERS = 300
OTHER_REASONS = "other reasons"


@dataclass(frozen=True)
class Counts:
    """Files by what became of them; counts of two chunks are added with `+`.

    At most MAX_REASONS different reasons are told apart, those that came first; the rest are one more, named
    OTHER_REASONS. So a job's counts stay small however many files fail, and in however many ways.
    """

    verdicts: Mapping[Verdict, int] = field(default_factory=dict)
    copied: int = 0
    dropped: int = 0
    failures: Mapping[str, int] = field(default_factory=dict)
    """How many files failed for which reason (a sentence)."""

    @property
    def refined(self) -> int:
        """Images that have a verdict."""
        return sum(self.verdicts.values())

    @property
    def failed(self) -> int:
        """Files that failed, for any reason."""
        return sum(self.failures.values())

    @property
    def files(self) -> int:
        """All files counted."""
        return self.refined + self.copied + self.dropped + self.failed

    def __add__(self, other: Counts) -> Counts:
        verdicts = dict(self.verdicts)
        for verdict, count in other.verdicts.items():
            verdicts[verdict] = verdicts.get(verdict, 0) + count
        return Counts(
            verdicts,
            self.copied + other.copied,
            self.dropped + other.dropped,
            _bounded(self.failures, other.failures),
        )

    def to_json(self) -> str:
        """The text that `from_json` reads."""
        return json.dumps(
            {
                "verdicts": dict(self.verdicts),
                "copied": self.copied,
                "dropped": self.dropped,
                "failures": _bounded({}, self.failures),
            },
            separators=(",", ":"),
        )

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote."""
        return cls(**json.loads(text))


def _bounded(kept: Mapping[str, int], more: Mapping[str, int]) -> dict[str, int]:
    reasons = dict(kept)
    for reason, count in more.items():
        name = storable(reason, MAX_REASON_CHARACTERS)
        known = len(reasons) - (OTHER_REASONS in reasons)
        key = name if name in reasons or known < MAX_REASONS else OTHER_REASONS
        reasons[key] = reasons.get(key, 0) + count
    return reasons

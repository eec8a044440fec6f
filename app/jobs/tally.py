"""From what became of each file to the counts that the ledger adds up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from app.datasets.manifest import Entry
from app.jobs.counts import Counts
from app.preservation.verdict import Verdict


def tally(entries: Iterable[Entry]) -> Counts:
    """Count the entries of a chunk."""
    verdicts: Counter[Verdict] = Counter()
    failures: Counter[str] = Counter()
    actions: Counter[str] = Counter()
    for entry in entries:
        if entry.action == "refined" and entry.refined is not None:
            verdicts[entry.refined.verdict] += 1
        elif entry.action == "failed":
            failures[entry.reason or "unknown"] += 1
        else:
            actions[entry.action] += 1
    return Counts(dict(verdicts), actions["copied"], actions["dropped"], dict(failures))

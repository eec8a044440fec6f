"""Which drivers are gone: seen on the watcher's own clock, since those of two machines may differ."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from app.jobs.job import Lease


class LeaseWatch:
    """Remembers since when each beat stands still."""

    def __init__(self, lease_s: float, clock_s: Callable[[], float]) -> None:
        self._lease_s, self._clock_s = lease_s, clock_s
        self._since_s: dict[Lease, float] = {}

    def stale(self, leases: Iterable[Lease]) -> list[Lease]:
        """Those of the leases whose beat has stood still for as long as a lease lasts."""
        now_s = self._clock_s()
        self._since_s = {lease: self._since_s.get(lease, now_s) for lease in leases}
        return [lease for lease, since_s in self._since_s.items() if now_s - since_s >= self._lease_s]

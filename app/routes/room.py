"""How much of one thing all requests may hold at once; who would need more is told to come back."""

from __future__ import annotations

from typing import Self

from app.errors import EngineBusy


class Room:
    """Owns the count of what is free, for one event loop. full: the sentence for who finds no room."""

    def __init__(self, size: int, full: str) -> None:
        self._free = size
        self._full = full

    def share(self) -> Share:
        """What one request holds; all of it is given back at the end of a `with` block."""
        return Share(self)

    def give_back(self, amount: int) -> None:
        """Only for `Share`."""
        self._free += amount

    def take(self, amount: int) -> None:
        """Only for `Share`, which gives back what it took. Raises EngineBusy when there is not so much."""
        if amount > self._free:
            raise EngineBusy(self._full)
        self._free -= amount


class Share:
    """What one request holds of a room, until its block ends."""

    def __init__(self, room: Room) -> None:
        self.held = 0
        self._room = room

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.give_back()

    def take(self, amount: int) -> None:
        """Hold so much more. Raises EngineBusy at once when there is no room, never waits."""
        self._room.take(amount)
        self.held += amount

    def give_back(self) -> None:
        """Hold nothing any more."""
        self._room.give_back(self.held)
        self.held = 0

    def moved(self) -> Share:
        """All of it in another share, that lasts until it is given back."""
        other = Share(self._room)
        other.held, self.held = self.held, 0
        return other

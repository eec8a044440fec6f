"""The history B: refined images of the past, which keep D from forgetting them (paper, section 2.3)."""

from typing import TypedDict

import torch
from torch import Tensor

from model.errors import HistoryError


class HistoryState(TypedDict):
    """Everything a history needs to go on as if it had never stopped."""

    capacity: int
    images: Tensor | None
    """The stored images [size, C, H, W] on the CPU, in the order of their slots; None before the first."""
    generator: Tensor
    """State of the random generator, uint8."""


class HistoryBuffer:
    """A fixed number of slots for refined images; draws slots with the generator it is given."""

    def __init__(self, capacity: int, generator: torch.Generator) -> None:
        """Open an empty history of `capacity` images; `generator` lives on the CPU."""
        if capacity < 1:
            raise HistoryError(f"a history of {capacity} images cannot hold any; use at least 1")
        self.capacity = capacity
        self._generator = generator
        self._slots: Tensor | None = None
        self._size = 0

    def __len__(self) -> int:
        """How many images are stored; never more than the capacity."""
        return self._size

    @property
    def images(self) -> Tensor | None:
        """The stored images [size, C, H, W] in the order of their slots; None before the first."""
        return None if self._slots is None else self._slots[: self._size]

    def mix(self, refined: Tensor) -> Tensor:
        """Give D its batch, then remember new images: the rule of section 2.3.

        refined: float [b, C, H, W] of the current refiner, b ≥ 2. Returns [b, C, H, W] without gradient: b/2
        current images (one more where b is odd), then b/2 different ones of the history; all current while it
        holds fewer. Afterwards the b/2 current images that were left out go into slots never used so far and,
        once there are none, over b/2 randomly drawn different ones. Raises HistoryError.
        """
        refined = refined.detach()
        half = refined.shape[0] // 2
        self._require_fit(refined, half)
        newest = refined[-half:]
        batch = refined
        if self._size >= half:
            batch = torch.cat([refined[:-half], self._recall(half).to(refined)])
        self._store(newest)
        return batch

    def state_dict(self) -> HistoryState:
        """Copy the state: bit for bit, generator included."""
        images = None if self.images is None else self.images.cpu().clone()
        return {"capacity": self.capacity, "images": images, "generator": self._generator.get_state()}

    def load_state_dict(self, state: HistoryState) -> None:
        """Go on from a saved state. Raises HistoryError when it belongs to another capacity."""
        if state["capacity"] != self.capacity:
            raise HistoryError(
                f"the saved history has a capacity of {state['capacity']} images, this one of {self.capacity}"
            )
        images = state["images"]
        self._slots, self._size = None, 0
        if images is not None:
            self._slots = self._empty_slots(images)
            self._size = images.shape[0]
            self._slots[: self._size] = images
        self._generator.set_state(state["generator"])

    def _require_fit(self, refined: Tensor, half: int) -> None:
        if half < 1 or half > self.capacity:
            raise HistoryError(
                f"half of a batch of {refined.shape[0]} must lie between 1 and {self.capacity}, the capacity"
            )
        if self._slots is not None and self._slots.shape[1:] != refined.shape[1:]:
            stored, given = list(self._slots.shape[1:]), list(refined.shape[1:])
            raise HistoryError(f"the history holds images of [C, H, W] = {stored}, but was given {given}")

    def _recall(self, count: int) -> Tensor:
        assert self._slots is not None
        return self._slots[self._draw(self._size, count).to(self._slots.device)]

    def _store(self, newest: Tensor) -> None:
        if self._slots is None:
            self._slots = self._empty_slots(newest)
        elif self._slots.device != newest.device:
            self._slots = self._slots.to(newest.device)
        appended = min(newest.shape[0], self.capacity - self._size)
        overwritten = self._draw(self._size, newest.shape[0] - appended)
        slots = torch.cat([torch.arange(self._size, self._size + appended), overwritten])
        self._slots[slots.to(newest.device)] = newest.to(self._slots.dtype)
        self._size += appended

    def _empty_slots(self, like: Tensor) -> Tensor:
        return like.new_empty((self.capacity, *like.shape[1:]), dtype=torch.float32)

    def _draw(self, population: int, count: int) -> Tensor:
        """Different slots among the first `population`, each as likely as any other."""
        return torch.randperm(population, generator=self._generator)[:count]

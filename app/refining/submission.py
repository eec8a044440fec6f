"""One image on its way through the engine: its tiles, the canvas they come back to, its future."""

from __future__ import annotations

from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from threading import Lock

import numpy as np

from app.errors import SimtrueError
from app.refining.session import Pixels
from app.refining.tiles import Tile, plan_tiles
from model.card import ModelCard


class Submission:
    """The state of one submitted image.

    Tiles are handed out under the engine's lock; they may come back from several threads at once. The future
    stays cancellable until the last tile is back; whoever cancels or fails it makes the rest of the tiles be
    dropped.
    """

    def __init__(
        self,
        image: Pixels,
        seed: int,
        card: ModelCard,
        *,
        tile_pixels: int,
        submitted_s: float,
        deadline_s: float | None,
        background: bool,
    ) -> None:
        height, width, channels = image.shape
        assert image.dtype == card.dtype, f"image is {image.dtype}, the model takes {card.dtype}"
        assert channels == card.channels, f"image has {channels} channels, the model takes {card.channels}"
        assert height > 0, "the image has no rows"
        assert width > 0, "the image has no columns"
        self.future: Future[Pixels] = Future()
        self.seed = seed
        self.pixels = height * width
        self.submitted_s = submitted_s
        self.deadline_s = deadline_s
        self.background = background
        self.begun = False
        self._lock = Lock()
        self._image = image
        self._plan = plan_tiles(height, width, card.receptive_field_radius, tile_pixels, card.grid)
        self._taken = 0
        self._returned = 0
        self._canvas: Pixels | None = None
        window = self._plan[0].window
        self.tile_shape = (window.height, window.width)

    @property
    def waiting(self) -> int:
        """How many tiles nobody has taken yet."""
        return len(self._plan) - self._taken

    def take_tile(self) -> Tile:
        """Hand out the next tile; all tiles of an image have `tile_shape`."""
        tile = self._plan[self._taken]
        self._taken += 1
        return tile

    def crop(self, tile: Tile) -> Pixels:
        """Cut what the refiner reads for a tile: a view of [h, w, C]."""
        return self._image[tile.window.within]

    def put(self, tile: Tile, refined: Pixels) -> None:
        """Take back a refined window [h, w, C]; the last one resolves the future.

        Copies, so that no result keeps the memory of a whole batch alive.
        """
        with self._lock:
            if self._canvas is None:
                self._canvas = np.empty_like(self._image, order="C")
            canvas = self._canvas
        canvas[tile.core.within] = refined[tile.core.relative_to(tile.window).within]
        with self._lock:
            self._returned += 1
            complete = self._returned == len(self._plan)
        if complete:
            self._canvas = None
            with suppress(InvalidStateError):  # cancelled meanwhile
                self.future.set_result(canvas)

    def fail(self, error: SimtrueError) -> None:
        """Resolve the future with an error, unless it is resolved or cancelled already."""
        self._canvas = None
        with suppress(InvalidStateError):
            self.future.set_exception(error)

    def expired(self, now_s: float) -> bool:
        """Whether the deadline has passed."""
        return self.deadline_s is not None and now_s >= self.deadline_s

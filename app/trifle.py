"""One image so small that handing it over takes longer: refined in the thread that asks, where it can be."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from app.refinement import (
    ImageJob,
    Prepared,
    RefinedImage,
    all_settled,
    begin_inference,
    decoded,
    finish_variant,
    is_trifling,
)
from app.refining.session import Pixels
from app.services import Services


@dataclass(frozen=True, eq=False)
class Begun:
    """A decoded image that waits for the engine, as `finish` does."""

    job: ImageJob
    prepared: Prepared
    inference: Sequence[Future[Pixels]]

    async def finish(self) -> RefinedImage:
        """The refined image; cancelling gives it up. Raises what `refine_image` does."""
        try:
            await all_settled(self.inference)
            (pixels,) = (future.result() for future in self.inference)
        finally:
            for future in self.inference:
                future.cancel()
        return finish_variant(self.job, self.prepared, 0, pixels)


def refine_trifle(services: Services, job: ImageJob) -> RefinedImage | Begun | None:
    """Refine an image as far as can be done without waiting; its job is no background work.

    None when it is no trifle; nothing was done with it then. Raises the errors of decode, encode and the
    engine, and InvalidOptions.
    """
    if not is_trifling([job]):
        return None
    prepared = decoded(job, services.settings.max_pixels)
    pixels: Pixels | None = prepared.model_input.pixels
    if job.options.strength > 0:
        image, (seed,) = prepared.model_input.pixels, prepared.noise_seeds
        pixels = services.engine.refine_at_once(job.model, image, seed)
    if pixels is None:
        return Begun(job, prepared, begin_inference(services, job, prepared))
    return finish_variant(job, prepared, 0, pixels)

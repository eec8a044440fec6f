"""The inference of one image so small that handing it over takes longer: done here, where it can be."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from app.refinement import ImageJob, Prepared, all_settled, begin_inference
from app.refining.session import Pixels
from app.services import Services


@dataclass(frozen=True, eq=False)
class Begun:
    """Refined pixels that the engine owes."""

    inference: Sequence[Future[Pixels]]

    async def pixels(self) -> Pixels:
        """Wait for them; cancelling gives them up. Raises what `Engine.submit_all` puts into its futures."""
        try:
            await all_settled(self.inference)
            (pixels,) = (future.result() for future in self.inference)
        finally:
            for future in self.inference:
                future.cancel()
        return pixels


def infer_trifle(services: Services, job: ImageJob, prepared: Prepared) -> Pixels | Begun:
    """The refined pixels of a job with one variant, or who will have them. Raises what the engine does."""
    if job.options.strength == 0:
        return prepared.model_input.pixels
    (seed,) = prepared.noise_seeds
    pixels = services.engine.refine_at_once(job.model, prepared.model_input.pixels, seed)
    return Begun(begin_inference(services, job, prepared)) if pixels is None else pixels

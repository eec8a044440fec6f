"""The inference of one image so small that handing it over takes longer: done here, where it can be."""

from __future__ import annotations

from concurrent.futures import Future

from app.delivery import ImageJob, Prepared
from app.refinement import begin_inference
from app.refining.session import Pixels
from app.services import Services


def infer_trifle(services: Services, job: ImageJob, prepared: Prepared) -> Pixels | Future[Pixels]:
    """The refined pixels of a job with one variant, or what will have them. Raises what the engine does."""
    if job.options.strength == 0:
        return prepared.model_input.pixels
    (seed,) = prepared.noise_seeds
    pixels = services.engine.refine_at_once(job.model, prepared.model_input.pixels, seed)
    if pixels is not None:
        return pixels
    (inference,) = begin_inference(services, job, prepared)
    return inference

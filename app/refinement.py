"""The way of one image: bytes, pixels, refined, blended, judged, bytes; the same for requests and folders."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from app.annotations.shapes import ImageGeometry, Shape
from app.errors import InvalidOptions, RequestTimeout
from app.locks import lock_mask, unmatched_labels
from app.options import LockAnnotations, RefineOptions
from app.pixel_budget import PixelBudget
from app.preservation.verdict import Decision, Thresholds, Verdict, decide
from app.refining.blending import blend
from app.refining.colour import ModelInput, from_model, to_model
from app.refining.encode import Encoded, encode
from app.refining.images import DecodedImage, Pixels, decode
from app.refining.models import ServedModel
from app.services import Services
from model.noise import seed_for_image
from model.preservation.drift import MAX_REGIONS, Drift
from model.preservation.drift import measure as measure_drift
from model.preservation.grey import grey_pair


@dataclass(frozen=True)
class ImageJob:
    """One image to refine.

    index: its position in the request. pixels: height times width as its header claims. geometry: what its
    annotations say, None without annotations. output_format: given the source's format (png, jpeg, …), the
    one to write, None for the same. deadline_s: a moment of `time.monotonic`, None for never. background:
    everything else goes first; the caller bounds how many such images are on their way.
    """

    index: int
    filename: str
    data: bytes
    pixels: int
    geometry: ImageGeometry | None
    model: ServedModel
    options: RefineOptions
    output_format: Callable[[str], str | None]
    deadline_s: float | None
    background: bool


@dataclass(frozen=True)
class Preservation:
    """What became of the structure under one annotation.

    annotation: its position in the document. box: x1, y1, x2, y2 in px of the upright image.
    """

    annotation: int
    label: str | None
    box: tuple[float, float, float, float]
    drift: Drift


@dataclass(frozen=True)
class RefinedImage:
    """One refined image, encoded, with everything that is reported about it.

    strength_applied: below the one asked for when the image was softened. mode: Pillow's mode of `data`.
    preservation: one entry per measured annotation, None without annotations.
    problems: what is wrong with its annotations. notes: what else a careful reader should know.
    """

    index: int
    filename: str
    variant: int
    seed: int
    strength_applied: float
    width: int
    height: int
    mode: str
    media_type: str
    extension: str
    lossless: bool
    verdict: Verdict
    preservation: tuple[Preservation, ...] | None
    problems: tuple[str, ...]
    notes: tuple[str, ...]
    data: bytes


@dataclass(frozen=True, eq=False)
class Prepared:
    """A decoded image, how the model sees it, the noise of each variant, and what of it is locked."""

    decoded: DecodedImage
    model_input: ModelInput
    noise_seeds: tuple[int, ...]
    locked: NDArray[np.bool_] | None


async def refine_image(services: Services, job: ImageJob, budget: PixelBudget) -> list[RefinedImage]:
    """Refine one image in all its variants. Cancelling stops what has not begun yet.

    Decoding and encoding run in a pool of the services, inference in the engine; nothing blocks the event
    loop.
    Raises the errors of decode, encode and the engine, and InvalidOptions.
    """
    codecs = services.background_codecs if job.background else services.codecs
    in_codecs = partial(asyncio.get_running_loop().run_in_executor, codecs)
    async with budget.hold(job.pixels * job.options.variants):
        prepared = await in_codecs(_decoded, job, services.settings.max_pixels)
        refined = await _through_engine(services, job, prepared)
        finishing = [in_codecs(finish_variant, job, prepared, i, pixels) for i, pixels in enumerate(refined)]
        return await asyncio.gather(*finishing)


def refuse_impossible(options: RefineOptions, model: ServedModel, *, annotated: bool) -> None:
    """Refuse options that the model or the request cannot follow. Raises InvalidOptions."""
    if options.variants > 1 and not model.card.noise.channels:
        raise InvalidOptions(
            f"The option variants is {options.variants}, but model {model.name!r} takes no noise, so all "
            "refinements of one image would be the same."
        )
    if not annotated and any(isinstance(lock, LockAnnotations) for lock in options.lock):
        raise InvalidOptions("The option lock names annotations, but the request has none.")


def _refuse_late(job: ImageJob) -> None:
    """End work that nobody waits for any more: a thread cannot be cancelled from outside."""
    if job.deadline_s is not None and time.monotonic() >= job.deadline_s:
        raise RequestTimeout("The deadline passed before the image was measured.")


def _decoded(job: ImageJob, max_pixels: int) -> Prepared:
    return prepare(job, decode(job.data, filename=job.filename, max_pixels=max_pixels))


def prepare(job: ImageJob, decoded: DecodedImage) -> Prepared:
    """Make a decoded image ready for the engine."""
    card, options = job.model.card, job.options
    locked = lock_mask(options.lock, _shapes(job), decoded.height, decoded.width)
    seen = to_model(decoded, card.channels, card.bit_depth)
    seeds = tuple(options.seed_of(variant) for variant in range(options.variants))
    if card.noise.channels and not options.shared_look:
        seeds = tuple(seed_for_image(seed, seen.pixels) for seed in seeds)
    return Prepared(decoded, seen, seeds, locked)


def begin_inference(services: Services, job: ImageJob, prepared: Prepared) -> list[Future[Pixels]]:
    """The refined pixels of every variant, as the model will give them; strength 0 needs no inference.

    Raises what `Engine.submit_all` raises.
    """
    seen = prepared.model_input.pixels
    if job.options.strength == 0:
        same: Future[Pixels] = Future()
        same.set_result(seen)
        return [same] * job.options.variants
    images = [(seen, seed) for seed in prepared.noise_seeds]
    return services.engine.submit_all(job.model, images, deadline=job.deadline_s, background=job.background)


async def _through_engine(services: Services, job: ImageJob, prepared: Prepared) -> Sequence[Pixels]:
    futures = begin_inference(services, job, prepared)
    try:
        return await asyncio.gather(*(asyncio.wrap_future(future) for future in futures))
    finally:
        for future in futures:
            future.cancel()


def finish_variant(job: ImageJob, prepared: Prepared, variant: int, refined: Pixels) -> RefinedImage:
    """One variant, blended, judged and encoded. Raises the errors of encode, and RequestTimeout."""
    decoded, options = prepared.decoded, job.options
    lifted = from_model(decoded, prepared.model_input, refined)
    decision = _judge(job, prepared, lifted)
    written = job.output_format(decoded.format.lower())
    encoded = encode(decoded, decision.picture, format=written, quality=options.output.quality)
    return RefinedImage(
        index=job.index,
        filename=job.filename,
        variant=variant,
        seed=options.seed_of(variant),
        strength_applied=decision.strength,
        width=decoded.width,
        height=decoded.height,
        mode=encoded.mode_out,
        media_type=encoded.media_type,
        extension=encoded.extension,
        lossless=encoded.lossless,
        verdict=decision.verdict,
        preservation=_preservation(job, decision.drifts),
        problems=job.geometry.problems if job.geometry else (),
        notes=_notes(job, prepared, encoded),
        data=encoded.data,
    )


def _judge(job: ImageJob, prepared: Prepared, refined: Pixels) -> Decision[Pixels]:
    """The blend at the strength asked for, or what the thresholds make of it."""
    original, limits = prepared.decoded.pixels, job.options.thresholds
    shapes = _shapes(job)

    def drifts_of(picture: Pixels) -> Sequence[Drift]:
        _refuse_late(job)
        return measure_drift(*grey_pair(original, picture), shapes) if shapes else ()

    return decide(
        lambda strength: blend(original, refined, strength, prepared.locked),
        drifts_of,
        job.options.strength,
        Thresholds(limits.max_shift_px, limits.min_structure_kept),
        limits.below,
    )


def _preservation(job: ImageJob, drifts: Sequence[Drift]) -> tuple[Preservation, ...] | None:
    if job.geometry is None:
        return None
    measured = ((job.geometry.shapes[drift.index], drift) for drift in drifts)
    return tuple(
        Preservation(shape.source, shape.label, (shape.x1, shape.y1, shape.x2, shape.y2), drift)
        for shape, drift in measured
    )


def _shapes(job: ImageJob) -> tuple[Shape, ...]:
    return job.geometry.shapes if job.geometry else ()


def _notes(job: ImageJob, prepared: Prepared, encoded: Encoded) -> tuple[str, ...]:
    shapes, lifted = _shapes(job), prepared.model_input.note
    unlocked = [
        f"No annotation of this image has the label {name!r}, so nothing is locked for it."
        for name in unmatched_labels(job.options.lock, shapes)
    ]
    sampled = (
        [f"Of {len(shapes)} annotations, {MAX_REGIONS} were measured."] if len(shapes) > MAX_REGIONS else []
    )
    return (*([lifted] if lifted else []), *unlocked, *sampled, *encoded.notes)

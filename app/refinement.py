"""The way of one image: bytes, pixels, refined, blended, judged, bytes; the same for requests and folders."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from app.annotations.shapes import ImageGeometry, Shape
from app.errors import InvalidOptions, RequestTimeout, SimtrueError
from app.locks import lock_mask, unmatched_labels
from app.options import LockAnnotations, RefineOptions
from app.pixel_budget import PixelBudget
from app.preservation.verdict import Decision, Thresholds, Verdict, decide
from app.refining.blending import blend
from app.refining.codecs.container import Container
from app.refining.colour import ModelInput, from_model, to_model
from app.refining.encode import Encoded, encode, is_lossy
from app.refining.images import DecodedImage, Pixels, bytes_to_open, decode
from app.refining.models import ServedModel
from app.services import Services
from model.noise import seed_for_image
from model.preservation.drift import MAX_REGIONS, Drift
from model.preservation.pictures import measure_pictures

P = ParamSpec("P")
T = TypeVar("T")

# About half a millisecond of one core in all, where a turn to another thread and back takes a tenth.
_TRIFLING_PIXELS = 1 << 13
_TRIFLING_BYTES = 1 << 14
_PIXELS_AS_DEAR_AS_A_REGION = 1 << 12
_SWIFT_FORMATS = ("PNG", "JPEG", "BMP")
_SWIFT_OUTPUTS = (None, "png", "jpeg", "bmp")


@dataclass(frozen=True)
class ImageJob:
    """One image to refine.

    index: its position in the request. pixels: height times width as its header claims. geometry: what its
    annotations say, None without annotations. output_format: given the source's format (png, jpeg, …), the
    one to write, None for the same. deadline_s: a moment of `time.monotonic`, None for never. background:
    everything else goes first; the caller bounds how many such images are on their way. container: that of
    `data`, when it is known already.
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
    container: Container | None = None

    @property
    def work_pixels(self) -> int:
        """Pixels of all variants: what decoding and encoding it takes."""
        return self.pixels * self.options.variants


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


@dataclass(frozen=True, slots=True, eq=False)
class Delivery:
    """A blend, and what a reader sees of it: other pixels where its format has losses.

    encoded: its bytes, where they had to be made for that.
    """

    pixels: Pixels
    seen: Pixels
    encoded: Encoded | None


class ImageFailed(Exception):  # noqa: N818 (as in app.errors)
    """One image of several could not be refined."""

    def __init__(self, cause: SimtrueError, index: int) -> None:
        super().__init__(cause.detail)
        self.cause = cause
        self.index = index


async def refine_image(services: Services, job: ImageJob, budget: PixelBudget) -> list[RefinedImage]:
    """Refine one image in all its variants. Cancelling stops what has not begun yet.

    Decoding and encoding run in a pool of the services, inference in the engine; nothing blocks the event
    loop.
    Raises the errors of decode, encode and the engine, and InvalidOptions.
    """
    codecs = services.background_codecs if job.background else services.codecs
    in_codecs = partial(asyncio.get_running_loop().run_in_executor, codecs)
    async with budget.hold(job.work_pixels):
        prepared = await in_codecs(decoded, job, services.settings.max_pixels)
        try:
            (refined,) = await _through_engine(services, [job], [prepared])
        except ImageFailed as failed:
            raise failed.cause from failed
        finishing = [in_codecs(finish_variant, job, prepared, i, pixels) for i, pixels in enumerate(refined)]
        return await asyncio.gather(*finishing)


async def refine_together(
    services: Services, jobs: Sequence[ImageJob], budget: PixelBudget
) -> list[RefinedImage]:
    """Refine small images of one request as one: every turn between threads costs as much as one of them.

    What takes less than a turn (see `is_trifling`) is done at once, on the event loop. They have model,
    options and deadline in common. Raises ImageFailed, which names the first image that could not be refined.
    """
    trifling = is_trifling(jobs)
    max_pixels = services.settings.max_pixels
    in_codecs = partial(asyncio.get_running_loop().run_in_executor, services.codecs)
    async with budget.hold(sum(job.work_pixels for job in jobs)):
        prepared = (
            _prepare_all(jobs, max_pixels) if trifling else await in_codecs(_prepare_all, jobs, max_pixels)
        )
        refined = await _through_engine(services, jobs, prepared)
        if trifling:
            return _finish_all(jobs, prepared, refined)
        return await in_codecs(_finish_all, jobs, prepared, refined)


def is_trifling(jobs: Sequence[ImageJob]) -> bool:
    """Whether decoding, measuring and encoding takes so little that the event loop need not be spared."""
    options, data_bytes = jobs[0].options, sum(bytes_to_open(job.data) for job in jobs)
    work = sum(job.work_pixels + _PIXELS_AS_DEAR_AS_A_REGION * len(_shapes(job)) for job in jobs)
    known = all(job.container is not None and job.container.format in _SWIFT_FORMATS for job in jobs)
    return (
        known
        and work <= _TRIFLING_PIXELS
        and data_bytes <= _TRIFLING_BYTES
        and options.variants == 1
        and not options.lock
        and options.output.format in _SWIFT_OUTPUTS
    )


def _prepare_all(jobs: Sequence[ImageJob], max_pixels: int) -> list[Prepared]:
    return [_named(job, decoded, job, max_pixels) for job in jobs]


def _finish_all(
    jobs: Sequence[ImageJob], prepared: Sequence[Prepared], refined: Sequence[Sequence[Pixels]]
) -> list[RefinedImage]:
    return [
        _named(job, finish_variant, job, ready, variant, pixels)
        for job, ready, variants in zip(jobs, prepared, refined, strict=True)
        for variant, pixels in enumerate(variants)
    ]


def _named(job: ImageJob, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    try:
        return work(*args, **kwargs)
    except SimtrueError as error:
        raise ImageFailed(error, job.index) from error


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


def decoded(job: ImageJob, max_pixels: int) -> Prepared:
    """The image of a job, ready for the engine. Raises the errors of decode, and InvalidOptions."""
    return prepare(
        job, decode(job.data, filename=job.filename, max_pixels=max_pixels, container=job.container)
    )


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


async def _through_engine(
    services: Services, jobs: Sequence[ImageJob], prepared: Sequence[Prepared]
) -> list[Sequence[Pixels]]:
    """The refined pixels of every variant of each, as the model gave them; strength 0 needs no inference.

    Raises ImageFailed, and what the engine says of all of them.
    """
    first = jobs[0]
    variants = first.options.variants
    if first.options.strength == 0:
        return [[ready.model_input.pixels] * variants for ready in prepared]
    images = [(ready.model_input.pixels, seed) for ready in prepared for seed in ready.noise_seeds]
    if len(images) == 1 and not first.background:
        at_once = _named(first, services.engine.refine_at_once, first.model, *images[0])
        if at_once is not None:
            return [[at_once]]
    futures = services.engine.submit_all(
        first.model, images, deadline=first.deadline_s, background=first.background
    )
    try:
        await all_settled(futures)
        for number, future in enumerate(futures):
            if future.done():
                _named(jobs[number // variants], future.result)
        refined = [future.result() for future in futures]
    finally:
        for future in futures:
            if not future.done():
                future.cancel()
    return [refined[start : start + variants] for start in range(0, len(refined), variants)]


async def all_settled(futures: Sequence[Future[Pixels]]) -> None:
    """Wait until all are done or one has failed; wakes the event loop once, not once for each."""
    if all(future.done() for future in futures):
        return
    loop = asyncio.get_running_loop()
    waiter: asyncio.Future[None] = loop.create_future()
    done: list[Future[Pixels]] = []  # appended to by the engine's threads

    def settled(future: Future[Pixels]) -> None:
        done.append(future)
        if len(done) == len(futures) or _has_failed(future):
            with suppress(RuntimeError):  # the loop is closed, so nobody waits
                loop.call_soon_threadsafe(wake)

    def wake() -> None:
        if not waiter.done():
            waiter.set_result(None)

    for future in futures:
        future.add_done_callback(settled)
    await waiter


def _has_failed(future: Future[Pixels]) -> bool:
    return future.cancelled() or future.exception() is not None


def finish_variant(job: ImageJob, prepared: Prepared, variant: int, refined: Pixels) -> RefinedImage:
    """One variant, blended, judged and encoded. Raises the errors of encode, and RequestTimeout."""
    return encode_variant(job, prepared, variant, judge(job, prepared, refined))


def encode_variant(
    job: ImageJob, prepared: Prepared, variant: int, decision: Decision[Delivery]
) -> RefinedImage:
    """What was decided on, encoded. Raises the errors of encode."""
    decoded, options = prepared.decoded, job.options
    encoded = decision.picture.encoded or _encoded(job, prepared, decision.picture.pixels)
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
        notes=_notes(job, prepared, encoded, decision),
        data=encoded.data,
    )


def judge(job: ImageJob, prepared: Prepared, refined: Pixels) -> Decision[Delivery]:
    """The blend at the strength asked for, or what the thresholds make of it, as its reader will see it.

    Raises RequestTimeout and the errors of encode.
    """
    decoded, shapes = prepared.decoded, _shapes(job)
    refined = from_model(decoded, prepared.model_input, refined)
    lossy = bool(shapes) and is_lossy(
        decoded, format=_written(job, decoded), quality=job.options.output.quality
    )

    def delivery_at(strength: float) -> Delivery:
        pixels = blend(decoded.pixels, refined, strength, prepared.locked)
        if not lossy:
            return Delivery(pixels, pixels, None)
        encoded = _encoded(job, prepared, pixels)
        seen = decode(encoded.data, filename=decoded.filename, max_pixels=decoded.width * decoded.height)
        return Delivery(pixels, seen.pixels, encoded)

    def drifts_of(delivery: Delivery) -> Sequence[Drift]:
        _refuse_late(job)
        return measure_pictures(decoded.pixels, delivery.seen, shapes) if shapes else ()

    return decide(
        delivery_at, drifts_of, job.options.strength, _thresholds(job), job.options.thresholds.below
    )


def _thresholds(job: ImageJob) -> Thresholds:
    limits = job.options.thresholds
    return Thresholds(limits.max_shift_px, limits.min_structure_kept, limits.min_least_kept)


def _encoded(job: ImageJob, prepared: Prepared, pixels: Pixels) -> Encoded:
    decoded = prepared.decoded
    return encode(decoded, pixels, format=_written(job, decoded), quality=job.options.output.quality)


def _written(job: ImageJob, decoded: DecodedImage) -> str | None:
    return job.output_format(decoded.format.lower())


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


def _notes(
    job: ImageJob, prepared: Prepared, encoded: Encoded, decision: Decision[Delivery]
) -> tuple[str, ...]:
    shapes, lifted = _shapes(job), prepared.model_input.note
    unlocked = [
        f"No annotation of this image has the label {name!r}, so nothing is locked for it."
        for name in unmatched_labels(job.options.lock, shapes)
    ]
    sampled = (
        [f"Of {len(shapes)} annotations, {MAX_REGIONS} were measured."] if len(shapes) > MAX_REGIONS else []
    )
    losses = [] if encoded.lossless else _losses(job, prepared, encoded, decision)
    return (*([lifted] if lifted else []), *unlocked, *sampled, *losses, *encoded.notes)


def _losses(job: ImageJob, prepared: Prepared, encoded: Encoded, decision: Decision[Delivery]) -> list[str]:
    """What a format with losses does to promises."""
    name, notes = encoded.extension[1:], []
    if prepared.locked is not None and prepared.locked.any():
        notes.append(
            f"Locked pixels went through {name}, which changes some by a few levels; png keeps every bit."
        )
    limits = _thresholds(job)
    if decision.verdict == "kept_original" and not all(map(limits.hold_for, decision.drifts)):
        notes.append(
            f"Even unrefined, the image does not hold the thresholds as {name}; ask for a higher quality, "
            "or png."
        )
    return notes

"""The way of one image: bytes, pixels, refined, blended, judged, bytes; the same for requests and folders."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import ParamSpec, TypeVar

from app.delivery import ImageJob, Prepared, RefinedImage, finish_variant
from app.errors import InvalidOptions, SimtrueError
from app.locks import lock_mask
from app.options import LockAnnotations, RefineOptions
from app.pixel_budget import PixelBudget
from app.refining.colour import to_model
from app.refining.images import DecodedImage, Pixels, bytes_to_open, decode
from app.refining.models import ServedModel
from app.services import Services
from model.noise import seed_for_image

P = ParamSpec("P")
T = TypeVar("T")

# About half a millisecond of one core in all, where a turn to another thread and back takes a tenth.
_TRIFLING_PIXELS = 1 << 13
_TRIFLING_BYTES = 1 << 14
_PIXELS_AS_DEAR_AS_A_REGION = 1 << 12
_SWIFT_FORMATS = ("PNG", "JPEG", "BMP")
_SWIFT_OUTPUTS = (None, "png", "jpeg", "bmp")


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
    work = sum(job.work_pixels + _PIXELS_AS_DEAR_AS_A_REGION * len(job.shapes) for job in jobs)
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


def decoded(job: ImageJob, max_pixels: int) -> Prepared:
    """The image of a job, ready for the engine. Raises the errors of decode, and InvalidOptions."""
    return prepare(
        job, decode(job.data, filename=job.filename, max_pixels=max_pixels, container=job.container)
    )


def prepare(job: ImageJob, decoded: DecodedImage) -> Prepared:
    """Make a decoded image ready for the engine."""
    card, options = job.model.card, job.options
    locked = lock_mask(options.lock, job.shapes, decoded.height, decoded.width)
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

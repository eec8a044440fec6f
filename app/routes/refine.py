"""POST /refine: one request from its body to its answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from fastapi import APIRouter, Request
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from app.annotations.shapes import ImageGeometry, ImageRef
from app.delivery import ImageJob, RefinedImage
from app.errors import RequestTimeout, SimtrueError
from app.geometry import geometry_of
from app.metrics import Metrics
from app.options import RefineOptions, read_options
from app.pixel_budget import PixelBudget
from app.refinement import ImageFailed, refine_image, refine_together, refuse_impossible
from app.refining.codecs.container import Container
from app.refining.images import bytes_to_open, opened, upright_size
from app.refining.models import ServedModel
from app.routes.answers import Outcome, image_answer, json_answer, zip_answer
from app.routes.disconnection import unless_disconnected
from app.routes.forms import RefineForm, read_form
from app.routes.negotiation import Acceptance, AnswerKind, read_accept
from app.routes.openapi import REFINE_ANSWERS, REFINE_OPERATION, problems
from app.routes.problems import ImageRefused
from app.routes.room import Room, Share
from app.services import Services
from app.settings import Settings

T = TypeVar("T")
CLIENT_CLOSED_REQUEST = 499
SHORT_BYTES = 1 << 15
READING_JSON_TAKES = 8
"""Times as long as the same number of bytes of images."""
KEPT_OPEN_BYTES = 1 << 16
"""A container repeats the bytes of its image, so those of large images are read again rather than kept."""
_PORTION_IMAGES = 16
_PORTION_PIXELS = 1 << 15
LARGEST_REQUESTS_AT_ONCE = 8
"""Requests of `max_upload_bytes` that fit side by side; smaller ones are as many more."""

_ANSWERS: dict[AnswerKind, Callable[[Outcome], Response]] = {
    "json": json_answer,
    "zip": zip_answer,
    "image": image_answer,
}


@dataclass(frozen=True)
class Call:
    """One understood request."""

    form: RefineForm
    options: RefineOptions
    model: ServedModel
    kind: AnswerKind
    acceptance: Acceptance
    deadline_s: float

    def output_format(self, source: str) -> str | None:
        """The format to write an image of format `source` in; None keeps it."""
        asked = self.options.output.format
        return self.acceptance.image_format(source, asked) if self.kind == "image" else asked

    def job(
        self, index: int, container: Container, ref: ImageRef, geometry: ImageGeometry | None
    ) -> ImageJob:
        """The work on the image at `index`."""
        return ImageJob(
            index=index,
            filename=ref.filename,
            data=self.form.images[index].data,
            pixels=ref.width * ref.height,
            geometry=geometry,
            model=self.model,
            options=self.options,
            output_format=self.output_format,
            deadline_s=self.deadline_s,
            background=False,
            container=container if len(self.form.images[index].data) <= KEPT_OPEN_BYTES else None,
        )


class Rooms:
    """Owns what all requests in flight may hold together: bytes of their bodies, pixels of their images."""

    def __init__(self, settings: Settings) -> None:
        self.memory = Room(
            settings.max_upload_bytes * LARGEST_REQUESTS_AT_ONCE,
            "The requests in flight fill the memory set aside for them; try again later.",
        )
        self.pixels = Room(
            settings.max_queue_pixels,
            "The images in flight have as many pixels as may be decoded at once; try again later.",
        )


def refine_router(services: Services, metrics: Metrics, rooms: Rooms) -> APIRouter:
    """The route /refine."""
    router = APIRouter(tags=["refine"])

    @router.post(
        "/refine",
        summary="Refine images and keep their annotations",
        response_class=Response,
        responses=REFINE_ANSWERS | problems(400, 404, 406, 413, 415, 422, 500, 503, 504),
        openapi_extra=REFINE_OPERATION,
    )
    async def refine(request: Request) -> Response:
        """Refine one or more images with a served model; annotations come back byte for byte."""
        with rooms.memory.share() as bytes_held, rooms.pixels.share() as pixels_held:
            return await in_time(services, _answer(request, services, metrics, bytes_held, pixels_held))

    return router


async def in_time(services: Services, answering: Awaitable[Response]) -> Response:
    """The answer, within `request_timeout_s`. Raises RequestTimeout."""
    timeout_s = services.settings.request_timeout_s
    try:
        async with asyncio.timeout(timeout_s):
            return await answering
    except (TimeoutError, RequestTimeout):
        raise too_late(services.settings) from None
    except ImageRefused as refused:
        if not isinstance(refused.cause, RequestTimeout):
            raise
        raise too_late(services.settings) from None
    except ClientDisconnect:
        return Response(status_code=CLIENT_CLOSED_REQUEST)


def too_late(settings: Settings) -> RequestTimeout:
    """What is said when a request's time is over."""
    return RequestTimeout(
        f"The request was not answered within {settings.request_timeout_s:g} s, the limit of "
        "SIMTRUE_REQUEST_TIMEOUT_S; POST /jobs takes what needs longer."
    )


async def _answer(
    request: Request, services: Services, metrics: Metrics, bytes_held: Share, pixels_held: Share
) -> Response:
    started_s = time.monotonic()
    acceptance = read_accept(", ".join(request.headers.getlist("accept")))
    form = await read_form(request, services.settings, bytes_held)
    read_s = time.monotonic()
    call = understand(form, acceptance, services, started_s + services.settings.request_timeout_s)
    images = await unless_disconnected(request, _refine_all(call, services, pixels_held))
    compose = answer_of(call, images, started_s, read_s)
    response = await _off_the_loop_if_long(sum(len(image.data) for image in images), services, compose)
    for image in images:
        metrics.count_image(call.model.name, image.verdict)
    return response


def answer_of(
    call: Call, images: Sequence[RefinedImage], started_s: float, read_s: float
) -> Callable[[], Response]:
    """What composes the answer to a call that is done; moments are of `time.monotonic`."""
    done_s = time.monotonic()
    timings = {"read": read_s - started_s, "refine": done_s - read_s, "total": done_s - started_s}
    rounded = {phase: round(took_s * 1000, 3) for phase, took_s in timings.items()}
    return partial(_ANSWERS[call.kind], Outcome(call.model, call.form.annotations, images, rounded))


def understand(form: RefineForm, acceptance: Acceptance, services: Services, deadline_s: float) -> Call:
    """Everything that can be refused before an image is touched."""
    options = read_options(form.options, max_variants=services.settings.max_variants)
    model = services.models.get(form.model)
    refuse_impossible(options, model, annotated=bool(form.annotations))
    kind = acceptance.answer_kind(len(form.images) * options.variants)
    return Call(form, options, model, kind, acceptance, deadline_s)


async def _refine_all(call: Call, services: Services, pixels_held: Share) -> list[RefinedImage]:
    """Refine the images side by side; the first that fails ends them all and is named."""
    form, settings = call.form, services.settings
    sent_bytes = sum(bytes_to_open(upload.data) for upload in form.images)
    containers = await _off_the_loop_if_long(
        sent_bytes, services, partial(_open_all, call, settings.max_pixels)
    )
    refs = [
        ImageRef(upload.filename, *upright_size(container))
        for upload, container in zip(form.images, containers, strict=True)
    ]
    pixels_held.take(most_pixels_at_once(refs, call.options.variants, settings))
    said_bytes = sum(map(len, form.annotations)) * READING_JSON_TAKES
    geometry = await _off_the_loop_if_long(said_bytes, services, partial(geometry_of, form.annotations, refs))
    jobs = list(map(call.job, range(len(refs)), containers, refs, geometry))
    return await _refine_portions(call, _portions(jobs, settings), services)


async def _refine_portions(
    call: Call, portions: Sequence[Sequence[ImageJob]], services: Services
) -> list[RefinedImage]:
    budget = PixelBudget(services.settings.max_pixels)
    if len(portions) == 1:
        return await _refine_portion(call, portions[0], services, budget)
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(_refine_portion(call, portion, services, budget)) for portion in portions
            ]
    except BaseExceptionGroup as failures:
        raise _first(failures) from None
    return [image for task in tasks for image in task.result()]


async def _off_the_loop_if_long(size_bytes: int, services: Services, work: Callable[[], T]) -> T:
    """Do work that takes time with its bytes: where there are few, a turn to a thread takes longer."""
    if size_bytes <= SHORT_BYTES:
        return work()
    return await asyncio.get_running_loop().run_in_executor(services.codecs, work)


def _portions(jobs: Sequence[ImageJob], settings: Settings) -> list[list[ImageJob]]:
    """Small images that stand side by side go together; every other one goes alone, with all cores."""
    most_images = min(_PORTION_IMAGES, settings.max_queue_images, settings.max_batch_images)
    most_pixels = min(_PORTION_PIXELS, settings.max_pixels, settings.max_queue_pixels)
    portions: list[list[ImageJob]] = []
    images = pixels = 0
    for job in jobs:
        images, pixels = images + job.options.variants, pixels + job.work_pixels
        if not portions or images > most_images or pixels > most_pixels:
            portions.append([])
            images, pixels = job.options.variants, job.work_pixels
        portions[-1].append(job)
    return portions


def most_pixels_at_once(refs: Sequence[ImageRef], variants: int, settings: Settings) -> int:
    """How much of the request its pixel budget lets be decoded; the engine refuses what never fits."""
    sizes = [ref.width * ref.height * variants for ref in refs]
    return min(sum(sizes), max(settings.max_pixels, *sizes), settings.max_queue_pixels)


def _open_all(call: Call, max_pixels: int) -> list[Container]:
    containers = []
    for index, upload in enumerate(call.form.images):
        with _Naming(call, index):
            containers.append(opened(upload.data, filename=upload.filename, max_pixels=max_pixels))
    return containers


async def _refine_portion(
    call: Call, jobs: Sequence[ImageJob], services: Services, budget: PixelBudget
) -> list[RefinedImage]:
    with _Naming(call, jobs[0].index):
        if len(jobs) == 1 and jobs[0].work_pixels > _PORTION_PIXELS:
            return await refine_image(services, jobs[0], budget)
        try:
            return await refine_together(services, jobs, budget)
        except ImageFailed as failed:
            with _Naming(call, failed.index):
                raise failed.cause from failed


class _Naming:
    """Where a request has several images, an error in the block says which one it is about."""

    def __init__(self, call: Call, index: int) -> None:
        self._call = call
        self._index = index

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        images = self._call.form.images
        if isinstance(error, SimtrueError) and len(images) > 1:
            raise ImageRefused(error, self._index, images[self._index].filename) from error


def _first(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    refused = [error for error in failures.exceptions if isinstance(error, ImageRefused)]
    return min(refused, key=lambda error: error.index) if refused else failures.exceptions[0]

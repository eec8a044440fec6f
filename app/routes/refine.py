"""POST /refine: one request from its body to its answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from fastapi import APIRouter, Request
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from app.annotations.shapes import ImageGeometry, ImageRef
from app.errors import RequestTimeout, SimtrueError
from app.geometry import geometry_of
from app.metrics import Metrics
from app.options import RefineOptions, read_options
from app.pixel_budget import PixelBudget
from app.refinement import ImageJob, RefinedImage, refine_image, refuse_impossible
from app.refining.images import measure
from app.refining.models import ServedModel
from app.routes.answers import Outcome, image_answer, json_answer, zip_answer
from app.routes.forms import RefineForm, read_form
from app.routes.negotiation import Acceptance, AnswerKind, read_accept
from app.routes.openapi import REFINE_ANSWERS, REFINE_OPERATION, problems
from app.routes.problems import ImageRefused
from app.routes.room import Room, Share
from app.services import Services
from app.settings import Settings

T = TypeVar("T")
CLIENT_CLOSED_REQUEST = 499
LARGEST_REQUESTS_AT_ONCE = 8
"""Requests of `max_upload_bytes` that fit side by side; smaller ones are as many more."""

_ANSWERS: dict[AnswerKind, Callable[[Outcome], Response]] = {
    "json": json_answer,
    "zip": zip_answer,
    "image": image_answer,
}


@dataclass(frozen=True)
class _Call:
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

    def job(self, index: int, ref: ImageRef, geometry: ImageGeometry | None) -> ImageJob:
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
        )


def refine_router(services: Services, metrics: Metrics) -> APIRouter:
    """The route /refine."""
    router = APIRouter(tags=["refine"])
    memory = Room(
        services.settings.max_upload_bytes * LARGEST_REQUESTS_AT_ONCE,
        "The requests in flight fill the memory set aside for them; try again later.",
    )
    pixels = Room(
        services.settings.max_queue_pixels,
        "The images in flight have as many pixels as may be decoded at once; try again later.",
    )

    @router.post(
        "/refine",
        summary="Refine images and keep their annotations",
        response_class=Response,
        responses=REFINE_ANSWERS | problems(400, 404, 406, 413, 415, 422, 500, 503, 504),
        openapi_extra=REFINE_OPERATION,
    )
    async def refine(request: Request) -> Response:
        """Refine one or more images with a served model; annotations come back byte for byte."""
        timeout_s = services.settings.request_timeout_s
        try:
            with memory.share() as bytes_held, pixels.share() as pixels_held:
                async with asyncio.timeout(timeout_s):
                    return await _answer(request, services, metrics, bytes_held, pixels_held)
        except TimeoutError:
            raise RequestTimeout(f"The request was not answered within {timeout_s:g} s.") from None
        except ClientDisconnect:
            return Response(status_code=CLIENT_CLOSED_REQUEST)

    return router


async def _answer(
    request: Request, services: Services, metrics: Metrics, bytes_held: Share, pixels_held: Share
) -> Response:
    started_s = time.monotonic()
    acceptance = read_accept(", ".join(request.headers.getlist("accept")))
    form = await read_form(request, services.settings, bytes_held)
    read_s = time.monotonic()
    call = _understand(form, acceptance, services, started_s + services.settings.request_timeout_s)
    images = await _unless_disconnected(request, _refine_all(call, services, pixels_held))
    done_s = time.monotonic()
    timings = {"read": read_s - started_s, "refine": done_s - read_s, "total": done_s - started_s}
    rounded = {phase: round(took_s * 1000, 3) for phase, took_s in timings.items()}
    outcome = Outcome(call.model, form.annotations, images, rounded)
    compose = partial(_ANSWERS[call.kind], outcome)
    response = await asyncio.get_running_loop().run_in_executor(services.codecs, compose)
    for image in images:
        metrics.count_image(call.model.name, image.verdict)
    return response


def _understand(form: RefineForm, acceptance: Acceptance, services: Services, deadline_s: float) -> _Call:
    """Everything that can be refused before an image is touched."""
    options = read_options(form.options, max_variants=services.settings.max_variants)
    model = services.models.get(form.model)
    refuse_impossible(options, model, annotated=bool(form.annotations))
    kind = acceptance.answer_kind(len(form.images) * options.variants)
    return _Call(form, options, model, kind, acceptance, deadline_s)


async def _refine_all(call: _Call, services: Services, pixels_held: Share) -> list[RefinedImage]:
    """Refine the images side by side; the first that fails ends them all and is named."""
    in_codecs = partial(asyncio.get_running_loop().run_in_executor, services.codecs)
    refs = await in_codecs(_measure_all, call, services.settings.max_pixels)
    pixels_held.take(_most_pixels_at_once(refs, call.options.variants, services.settings))
    geometry = await in_codecs(geometry_of, call.form.annotations, refs)
    budget = PixelBudget(services.settings.max_pixels)
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(_refine_one(call, call.job(index, ref, geometry[index]), services, budget))
                for index, ref in enumerate(refs)
            ]
    except BaseExceptionGroup as failures:
        raise _first(failures) from None
    return [image for task in tasks for image in task.result()]


def _most_pixels_at_once(refs: Sequence[ImageRef], variants: int, settings: Settings) -> int:
    """How much of the request its pixel budget lets be decoded; the engine refuses what never fits."""
    sizes = [ref.width * ref.height * variants for ref in refs]
    return min(sum(sizes), max(settings.max_pixels, *sizes), settings.max_queue_pixels)


def _measure_all(call: _Call, max_pixels: int) -> list[ImageRef]:
    refs = []
    for index, upload in enumerate(call.form.images):
        with _naming(call, index):
            size = measure(upload.data, filename=upload.filename, max_pixels=max_pixels)
            refs.append(ImageRef(upload.filename, *size))
    return refs


async def _refine_one(
    call: _Call, job: ImageJob, services: Services, budget: PixelBudget
) -> list[RefinedImage]:
    with _naming(call, job.index):
        return await refine_image(services, job, budget)


@contextmanager
def _naming(call: _Call, index: int) -> Iterator[None]:
    """Where a request has several images, an error says which one it is about."""
    try:
        yield
    except SimtrueError as error:
        if len(call.form.images) == 1:
            raise
        raise ImageRefused(error, index, call.form.images[index].filename) from error


def _first(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    refused = [error for error in failures.exceptions if isinstance(error, ImageRefused)]
    return min(refused, key=lambda error: error.index) if refused else failures.exceptions[0]


async def _unless_disconnected(request: Request, work: Coroutine[None, None, T]) -> T:
    """Do the work, but cancel it as soon as the client hangs up. Raises ClientDisconnect then."""
    working = asyncio.ensure_future(work)
    hanging_up = asyncio.ensure_future(_disconnection(request))
    try:
        await asyncio.wait({working, hanging_up}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        working.cancel()
        hanging_up.cancel()
        await asyncio.gather(working, hanging_up, return_exceptions=True)


async def _disconnection(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass

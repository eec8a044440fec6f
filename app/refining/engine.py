"""The engine: takes images in or refuses them, and refines what waits in micro-batches."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from threading import Condition, Lock, Thread, current_thread

import numpy as np
from numpy.typing import NDArray

from app.errors import InferenceFailed, RequestTimeout, ShuttingDown
from app.refining.admission import Admission, EngineLoad
from app.refining.devices import available_cores
from app.refining.lane import Batch, Lane
from app.refining.limits import BatchLimits, limits_of
from app.refining.line import Piece
from app.refining.served import ServedModel
from app.refining.session import Pixels, RefinerSession
from app.refining.submission import Submission
from app.settings import Settings
from model.card import NoiseSpec
from model.noise import noise_fields

_INTERRUPT_PERIOD_S = 0.05

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BatchReport:
    """One inference, as it happened."""

    model: ServedModel
    images: int
    """Windows in the batch: whole images, or tiles of large ones."""
    pixels: int
    """Height times width, summed over the windows."""
    waits_s: tuple[float, ...]
    """For every image that was begun in this batch: seconds from its submission to here."""
    inference_s: float
    background: bool
    """Whether its images are background work; a batch never mixes."""
    error: str | None
    """Why the inference failed; its images are then tried again one by one. None when it went well."""

    @property
    def ok(self) -> bool:
        """Whether the inference went well."""
        return self.error is None


class Engine:
    """Refines images of any number of models; every model in use has threads of its own (see `Lane`).

    A thread takes its share of whatever waits (it never waits for more), groups images of one shape, runs
    them, resolves their futures. What takes less than waking it runs in the thread that submits. Images above
    `tile_pixels` go through as tiles, in turn with everything else. Background images run when nothing
    interactive waits for their model, and a little even then. The bytes of a result depend on image, model
    and seed alone (on the CPU provider), not on batch, threads, tiling, priority or time.
    """

    def __init__(self, settings: Settings, *, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock_s = clock_s
        self._observers: list[Callable[[BatchReport], None]] = []
        self._lock = Lock()
        self._empty = Condition(self._lock)
        self._lanes: dict[RefinerSession, Lane] = {}
        self._threads_of_a_session = settings.threads or available_cores()
        self._admission = Admission(settings)
        self._closed = False
        # A thread inherits the priority of the one that starts it, and jobs submit from threads of a low one.
        self._starter = ThreadPoolExecutor(1, "starter of refining threads")
        self._starter.submit(bool)  # a pool has no thread before its first task

    def observe(self, observer: Callable[[BatchReport], None]) -> None:
        """Call `observer` after every inference, in the thread that ran it, before its futures resolve."""
        self._observers.append(observer)

    def submit(
        self,
        model: ServedModel,
        image: Pixels,
        seed: int,
        *,
        deadline: float | None = None,
        background: bool = False,
    ) -> Future[Pixels]:
        """Take one image; see `submit_all`."""
        return self.submit_all(model, [(image, seed)], deadline=deadline, background=background)[0]

    def submit_all(
        self,
        model: ServedModel,
        images: Sequence[tuple[Pixels, int]],
        *,
        deadline: float | None = None,
        background: bool = False,
    ) -> list[Future[Pixels]]:
        """Take all of `images`, or none of them.

        Each is ([H, W, C] of the card's dtype, seed of its noise) and must not be changed afterwards;
        `deadline` is a moment of the engine's clock (`time.monotonic`). Returns at once one future per image:
        a refined image of the same shape and dtype, or RequestTimeout, InferenceFailed, ShuttingDown.
        Cancelling a future works until it is resolved and drops what still waits of the image. Raises
        TooManyPixels when the images could never be taken together, EngineBusy when they cannot be taken now,
        ShuttingDown.

        `background` images let all others of their model go first. They do not count against the limits of
        the queue and are refused only with ShuttingDown: the caller bounds how many are inside.
        """
        now_s = self._clock_s()
        tile_pixels = self._limits(model, background=background).tile_pixels
        taken = [
            Submission(
                image,
                seed,
                model.card,
                tile_pixels=tile_pixels,
                submitted_s=now_s,
                deadline_s=deadline,
                background=background,
            )
            for image, seed in images
        ]
        with self._lock:
            lane = self._lane_of(model)
            pixels = sum(submission.pixels for submission in taken)
            self._admission.admit(len(taken), pixels, background=background)
            run_here = not background and lane.is_trifling(pixels)
            lane.extend(taken, background=background)
            batch = lane.take_batch(now_s) if run_here else None
            self._wake_if_ready(lane)
        for submission in taken:
            submission.future.add_done_callback(partial(self._settle, lane, submission.pixels, background))
        if batch is not None:
            self._run(lane, batch)
        return [submission.future for submission in taken]

    def refine_at_once(self, model: ServedModel, image: Pixels, seed: int) -> Pixels | None:
        """Refine one image in this very thread, where that takes less than waking another one; else None.

        What `submit_all` does with it, but for all that images need which wait. Raises the same, and what it
        would put into the future: InferenceFailed, ShuttingDown.
        """
        height, width = image.shape[:2]
        pixels = height * width
        with self._lock:
            lane = self._lanes.get(model.session)
            if lane is None or not lane.is_trifling(pixels):
                return None
            self._admission.admit(1, pixels, background=False)
            batch = lane.begin_alone(pixels)
        try:
            spec = model.card.noise
            noise = noise_fields([seed], height, width, spec) if spec.channels else None
            refined: Pixels = self._infer(lane, batch, image[np.newaxis], noise, batch.waits_s)[0]
        except InferenceFailed as error:
            raise _stopped() if self._closed else error from None
        except Exception as error:
            raise _unforeseen(lane, error) from error
        finally:
            with self._lock:
                lane.end(batch)
                self._give_back(pixels, background=False)
                self._wake_if_ready(lane)
        return refined

    @property
    def load(self) -> EngineLoad:
        """How much is in the engine now, without background work."""
        with self._lock:
            return self._admission.load

    @property
    def background_load(self) -> EngineLoad:
        """How much background work is in the engine now."""
        with self._lock:
            return self._admission.background_load

    def release(self, model: ServedModel) -> None:
        """Let go of a retired model as soon as nothing waits for it."""
        with self._lock:
            if lane := self._lanes.get(model.session):
                lane.wake.notify_all()

    def drain(self, timeout_s: float) -> bool:
        """Refuse new images and wait for those inside; tells whether all were done in time."""
        with self._lock:
            self._admission.stopping = True
            return self._empty.wait_for(lambda: self._admission.empty, timeout_s)

    def close(self) -> None:
        """Refuse new images, fail those inside with ShuttingDown, end the threads. Idempotent.

        An inference that runs is interrupted after its current layer.
        """
        with self._lock:
            self._admission.stopping = self._closed = True
            waiting = [submission for lane in self._lanes.values() for submission in lane.take_all()]
            for lane in self._lanes.values():
                lane.wake.notify_all()
            threads = [(lane, thread) for lane in self._lanes.values() for thread in lane.threads]
        for submission in waiting:
            submission.fail(_stopped())
        self._starter.shutdown()
        for lane, thread in threads:
            while thread is not current_thread() and thread.is_alive():
                lane.model.session.interrupt()  # again and again: it may have been just about to begin
                thread.join(_INTERRUPT_PERIOD_S)

    def _settle(self, lane: Lane, pixels: int, background: bool, future: Future[Pixels]) -> None:
        """Give back the room of an image, however its future came to its end."""
        if future.cancelled():
            future.set_running_or_notify_cancel()  # wakes those who wait for it with concurrent.futures.wait
        with self._lock:
            if future.cancelled() or future.exception() is not None:  # else all of it has been taken
                lane.discard(future, background=background)
            self._give_back(pixels, background=background)

    def _give_back(self, pixels: int, *, background: bool) -> None:
        self._admission.give_back(pixels, background=background)
        if self._admission.empty:
            self._empty.notify_all()

    def _lane_of(self, model: ServedModel) -> Lane:
        """The lane of a model with at least one thread; raises RuntimeError when none can be started."""
        lane = self._lanes.get(model.session)
        if lane is None:
            lane = self._new_lane(model)
            if not self._admission.stopping:
                self._start_thread(lane)
                self._lanes[model.session] = lane
        return lane

    def _new_lane(self, model: ServedModel) -> Lane:
        interactive, background = (self._limits(model, background=background) for background in (False, True))
        return Lane(model, self._lock, interactive, background)

    def _limits(self, model: ServedModel, *, background: bool) -> BatchLimits:
        return limits_of(self._settings, model, self._threads_of_a_session, background=background)

    def _wake_if_ready(self, lane: Lane) -> None:
        """Find a thread for the next batch, if it may begin; whoever takes it does the same for what is left.

        When nothing will come any more, it wakes all, and they end. Called under the lock.
        """
        if self._is_over(lane):
            lane.wake.notify_all()
        if not lane.ready:
            return
        if lane.idle_threads:
            lane.wake.notify()
        elif len(lane.threads) < lane.model.session.at_once:
            try:
                self._start_thread(lane)
            except RuntimeError as error:  # then those that it has do it all
                _log.warning("model %s gets no more threads: %s", lane.model.name, error)

    def _start_thread(self, lane: Lane) -> None:
        name = f"refine {lane.model.name} {lane.model.version}"
        thread = Thread(target=self._own, args=(lane,), name=name, daemon=True)
        self._starter.submit(thread.start).result()
        lane.threads.add(thread)

    def _own(self, lane: Lane) -> None:
        """Serve a lane until its model is retired or the engine closed; the body of its threads."""
        while self._wait_for_work(lane):
            self._serve(lane)

    def _wait_for_work(self, lane: Lane) -> bool:
        with self._lock:
            lane.idle_threads += 1
            lane.wake.wait_for(lambda: lane.ready or self._is_over(lane))
            lane.idle_threads -= 1
            if lane.ready:
                return True
            lane.threads.discard(current_thread())
            if not lane.threads:
                del self._lanes[lane.model.session]
            return False

    def _is_over(self, lane: Lane) -> bool:
        return self._closed or (lane.model.session.retired and not lane.waiting)

    def _serve(self, lane: Lane) -> None:
        """Take what runs next and run it; a function of its own, so that its images are freed after it."""
        with self._lock:
            now_s = self._clock_s()
            expired = lane.take_expired(now_s)
            batch = lane.take_batch(now_s)
            self._wake_if_ready(lane)
        for submission in expired:
            submission.fail(RequestTimeout("The deadline passed before the image was refined."))
        if batch is not None:
            self._run(lane, batch)

    def _run(self, lane: Lane, batch: Batch) -> None:
        """Run a batch, in whatever thread this is."""
        try:
            self._refine(lane, batch, batch.pieces, batch.waits_s)
        except Exception as error:  # noqa: BLE001 (outermost of its thread)
            failed = _unforeseen(lane, error)
            for piece in batch.pieces:
                piece.submission.fail(failed)
        finally:
            with self._lock:
                lane.end(batch)
                self._wake_if_ready(lane)

    def _refine(self, lane: Lane, batch: Batch, pieces: Sequence[Piece], waits_s: tuple[float, ...]) -> None:
        """Run pieces of a batch and resolve what they complete; if they fail, try again piece by piece."""
        pieces = [piece for piece in pieces if not piece.submission.future.done()]
        if not pieces:
            return
        try:
            images = np.stack([piece.submission.crop(piece.tile) for piece in pieces])
            refined = self._infer(lane, batch, images, _noise_of(pieces, lane.model.card.noise), waits_s)
        except InferenceFailed as error:
            if len(pieces) > 1 and not self._closed:
                for piece in pieces:
                    self._refine(lane, batch, [piece], ())
                return
            for piece in pieces:
                # A fresh error: the caught one's traceback keeps the whole batch in memory.
                piece.submission.fail(_stopped() if self._closed else InferenceFailed(error.detail))
            return
        for piece, window in zip(pieces, refined, strict=True):
            piece.submission.put(piece.tile, window)

    def _infer(
        self,
        lane: Lane,
        batch: Batch,
        images: Pixels,
        noise: NDArray[np.float32] | None,
        waits_s: tuple[float, ...],
    ) -> Pixels:
        problem: str | None = None
        begun_s, processor_s = self._clock_s(), time.thread_time()
        try:
            return lane.model.session.run(images, noise, one_thread=batch.one_thread)
        except InferenceFailed as error:
            problem = error.detail
            _log.warning("%s", problem)
            raise
        finally:
            took_s, processor_s = self._clock_s() - begun_s, time.thread_time() - processor_s
            count, height, width, _ = images.shape
            pixels = count * height * width
            self._report(BatchReport(lane.model, count, pixels, waits_s, took_s, batch.background, problem))
            if problem is None:
                self._learn(lane, batch, pixels, took_s, processor_s)

    def _learn(self, lane: Lane, batch: Batch, pixels: int, took_s: float, processor_s: float) -> None:
        with self._lock:
            self._admission.learn_speed(pixels * lane.running, took_s)
            lane.learn_pace(batch, pixels, processor_s)

    def _report(self, report: BatchReport) -> None:
        for observer in self._observers:
            try:
                observer(report)
            except Exception:  # noqa: BLE001 (an observer must not stop the refining)
                _log.exception("an observer of the engine failed")


def _noise_of(pieces: Sequence[Piece], spec: NoiseSpec) -> NDArray[np.float32] | None:
    """The noise of windows of one shape, float32 [N, H, W, K]; None where the model takes none."""
    if not spec.channels:
        return None
    fields = []
    for (top, left), of_a_place in groupby(pieces, key=_place):
        seeds = [piece.submission.seed for piece in of_a_place]
        window = pieces[0].tile.window
        fields.append(noise_fields(seeds, window.height, window.width, spec, top=top, left=left))
    return fields[0] if len(fields) == 1 else np.concatenate(fields)


def _place(piece: Piece) -> tuple[int, int]:
    return piece.tile.window.top, piece.tile.window.left


def _unforeseen(lane: Lane, error: Exception) -> InferenceFailed:
    _log.exception("refining with model %s failed in an unforeseen way", lane.model.name)
    return InferenceFailed(f"Refining failed: {type(error).__name__}.")


def _stopped() -> ShuttingDown:
    return ShuttingDown("The service stopped before this image was refined.")

"""One refiner file, checked and opened with ONNX Runtime."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from app.errors import BadModel, DeviceUnavailable, InferenceFailed
from app.refining.devices import CPU, ProviderChoice, available_cores
from model.card import ModelCard, read_card
from model.errors import CardError
from model.noise import noise_fields
from model.session_options import exact_integers

Pixels = NDArray[np.uint8 | np.uint16]

MAX_MODEL_BYTES = 2**31 - 1
"""An ONNX file is one protobuf message, which cannot be larger."""

WARM_UP_SIDE = 32
"""Side of the square image of the warm-up inference, in px."""

# ONNX Runtime's exceptions have no base of their own; what C++ throws arrives as RuntimeError or MemoryError.
_ORT_ERRORS: tuple[type[Exception], ...] = (
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf,
    ort_errors.NoModel,
    ort_errors.NoSuchFile,
    ort_errors.NotImplemented,
    ort_errors.EPFail,
    ort_errors.EngineError,
    ort_errors.RuntimeException,
    RuntimeError,
    ValueError,
    MemoryError,
)

_FATAL = 4
# Above this many pixels a run gives its memory back afterwards: a refiner of 64 channels needs about 100 MB
# here, and the arena would otherwise keep the peak of the largest tile for ever. Below, the arena pays off.
_KEEP_MEMORY_PIXELS = 1 << 17


class RefinerSession:
    """An open refiner. It stays usable as long as somebody holds it: Python's references are its leases.

    `retire` only marks it as replaced, so that whoever serves it lets go of it once its work is done.
    """

    def __init__(
        self,
        session: ort.InferenceSession,
        alone: ort.InferenceSession | None,
        card: ModelCard,
        choice: ProviderChoice,
        *,
        sha256: str,
        at_once: int,
    ) -> None:
        self.card = card
        self.sha256 = sha256
        self.provider: str = session.get_providers()[0]
        self.provider_reason = (
            choice.reason
            if self.provider == choice.name
            else f"{choice.name} could not start on this machine"
        )
        self.retired = False
        self.at_once = at_once
        """How many batches may run side by side, each on one thread of the processor."""
        self._session: ort.InferenceSession | None = session
        self._alone = alone
        self._running: set[ort.RunOptions] = set()

    @classmethod
    def open(cls, path: Path, choice: ProviderChoice, threads: int = 0) -> RefinerSession:
        """Read, check and open a refiner file; `threads` 0 takes all cores.

        Raises BadModel (one sentence with the path) when the file cannot be read or is not a valid ONNX
        model, has no valid card, or its inputs and outputs are not those its card promises; DeviceUnavailable
        when the chosen GPU provider refuses to start.
        """
        content = _content(path)
        threads = threads or available_cores()
        try:
            session = ort.InferenceSession(content, _session_options(threads), providers=choice.providers)
            on_processor = session.get_providers()[0] == CPU
            alone = None
            if threads > 1 and on_processor:
                alone = ort.InferenceSession(content, _session_options(1), providers=choice.providers)
        except _ORT_ERRORS as error:
            raise BadModel(f"{path} cannot be loaded by ONNX Runtime: {_first_line(error)}") from error
        try:
            card = read_card(session.get_modelmeta().custom_metadata_map)
        except CardError as error:
            raise BadModel(f"{path} is refused: {error}.") from error
        _check_signature(path, session, card)
        if choice.required and session.get_providers()[0] != choice.name:
            raise DeviceUnavailable(
                f"ONNX Runtime could not start {choice.name}, although {choice.reason}; are the "
                f"libraries installed (pip install 'simtrue[cuda]')?"
            )
        at_once = threads if on_processor else 1
        sha256 = hashlib.sha256(content).hexdigest()
        return cls(session, alone, card, choice, sha256=sha256, at_once=at_once)

    def run(self, images: Pixels, noise: NDArray[np.float32] | None, *, one_thread: bool = False) -> Pixels:
        """Refine a batch.

        `images` [N, H, W, C] of the card's dtype; `noise` float32 [N, H, W, K], or None when the card's noise
        has no channels. Returns the same shape and dtype. Several batches may run at once. With `one_thread`
        a batch takes the calling thread alone, otherwise all threads of the session: they wait for each other
        after every layer, so that batches side by side are faster. The bytes are the same: ONNX Runtime sums
        in the same order either way. Raises InferenceFailed.
        """
        if self._session is None:
            raise self._closed()
        feed: dict[str, Any] = {"image": images} if noise is None else {"image": images, "noise": noise}
        try:
            refined = self._run(self._alone if one_thread and self._alone else self._session, feed)
        except _ORT_ERRORS as error:
            raise InferenceFailed(
                f"Model {self.card.name!r} failed on {images.shape[0]} image(s) of {images.shape[1]}x"
                f"{images.shape[2]} px: {_first_line(error)}"
            ) from error
        if refined.shape != images.shape or refined.dtype != images.dtype:
            raise InferenceFailed(
                f"Model {self.card.name!r} answered {refined.dtype} {list(refined.shape)} to {images.dtype} "
                f"{list(images.shape)}."
            )
        return refined

    def _run(self, session: ort.InferenceSession | None, feed: dict[str, Any]) -> Pixels:
        if session is None:
            raise self._closed()
        options = self._run_options(feed["image"])
        self._running.add(options)
        try:
            (refined,) = session.run(["refined"], feed, options)
        finally:
            self._running.discard(options)
        return refined  # type: ignore[no-any-return]  # onnxruntime has no types

    def _closed(self) -> InferenceFailed:
        return InferenceFailed(f"The session of model {self.card.name!r} is closed.")

    def warm_up(self) -> None:
        """Run a real inference of one small image, a ramp of the darker half; raises InferenceFailed."""
        shape = (1, WARM_UP_SIDE, WARM_UP_SIDE, self.card.channels)
        levels = np.linspace(0, self.card.peak // 2, num=int(np.prod(shape))).reshape(shape)
        ramp: Pixels = levels.astype(self.card.dtype)
        spec = self.card.noise
        noise = noise_fields([0], WARM_UP_SIDE, WARM_UP_SIDE, spec) if spec.channels else None
        for one_thread in (False, True) if self._alone else (False,):
            self.run(ramp, noise, one_thread=one_thread)

    def interrupt(self) -> None:
        """Make what runs at this moment, in any thread, raise InferenceFailed after its current layer."""
        for options in self._running.copy():
            options.terminate = True

    def retire(self) -> None:
        """Mark the session as replaced; work that still holds it is finished on it."""
        self.retired = True

    def close(self) -> None:
        """Free ONNX Runtime's memory now; later runs raise InferenceFailed. Idempotent."""
        self._session = self._alone = None

    def _run_options(self, images: Pixels) -> ort.RunOptions:
        options = ort.RunOptions()
        options.log_severity_level = _FATAL
        large = images.shape[0] * images.shape[1] * images.shape[2] > _KEEP_MEMORY_PIXELS
        if large and self.provider == CPU:
            options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        return options


def _content(path: Path) -> bytes:
    """Read the file once, so that what is hashed is what is loaded."""
    try:
        size = path.stat().st_size
        if not 0 < size <= MAX_MODEL_BYTES:
            raise BadModel(f"{path} has {size} bytes, which no ONNX model has.")
        return path.read_bytes()
    except OSError as error:
        raise BadModel(f"{path} cannot be read: {error.strerror}.") from error


def _session_options(threads: int) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.log_severity_level = _FATAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Spinning threads gain little on one image and take the cores from decoding and from other models.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # A memory pattern is recorded per shape, and shapes here are as many as image sizes.
    options.enable_mem_pattern = False
    return exact_integers(options)


def _check_signature(path: Path, session: ort.InferenceSession, card: ModelCard) -> None:
    pixels = f"tensor({card.dtype.name})"
    wanted_inputs = {"image": (pixels, card.channels)}
    if card.noise.channels:
        wanted_inputs["noise"] = ("tensor(float)", card.noise.channels)
    for role, found, wanted in (
        ("input", session.get_inputs(), wanted_inputs),
        ("output", session.get_outputs(), {"refined": (pixels, card.channels)}),
    ):
        names = sorted(value.name for value in found)
        if names != sorted(wanted):
            raise BadModel(
                f"{path} is refused: its {role}s are {names}, but its card promises {sorted(wanted)}."
            )
        for value in found:
            _check_value(path, role, value, *wanted[value.name])


def _check_value(path: Path, role: str, value: ort.NodeArg, dtype: str, channels: int) -> None:
    shape = list(value.shape)
    dynamic = len(shape) == 4 and not any(isinstance(size, int) for size in shape[:3])
    if value.type != dtype or not dynamic or shape[3] != channels:
        raise BadModel(
            f"{path} is refused: its {role} {value.name!r} is {value.type} {shape}, but must be {dtype} "
            f"[N, H, W, {channels}] with dynamic N, H and W."
        )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]

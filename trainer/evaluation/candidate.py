"""Owns what is evaluated: the refiner of a run, or a published ONNX file, as one function on grey levels."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime

from model.card import ModelCard, read_card
from model.errors import CardError
from model.noise import noise_fields
from model.session_options import exact_integers
from trainer.errors import DataError
from trainer.evaluation.alarms import run_alarms
from trainer.samples import fitting_at_once, refine_levels
from trainer.sources import Images
from trainer.trained import load_trained

AT_ONCE = 32
MOST_PIXELS_AT_ONCE = AT_ONCE * 128 * 128


@dataclass(frozen=True)
class Candidate:
    """A refiner under evaluation."""

    name: str
    source: str
    """Where it comes from, and of a run its step."""
    channels: int
    bit_depth: int
    refine: Callable[[Images, int], Images]
    """Grey levels [N, H, W, C] and the seed of the first image's noise → refined grey levels."""
    alarms: tuple[str, ...] = ()
    """What the training run raised, where the refiner is that of a run."""


def load_candidate(path: Path, tell: Callable[[str], None]) -> Candidate:
    """Open a run folder or an exported file; a TrainerError says what is wrong with it."""
    return _from_onnx(path) if path.suffix == ".onnx" else _from_run(path, tell)


def _from_run(path: Path, tell: Callable[[str], None]) -> Candidate:
    trained = load_trained(path, tell)
    return Candidate(
        path.resolve().name,
        f"{path} at step {trained.step}",
        trained.refiner.config.channels,
        trained.bit_depth,
        lambda images, seed: refine_levels(trained.refiner, images, seed),
        run_alarms(trained.folder.metrics),
    )


def _from_onnx(path: Path) -> Candidate:
    if not path.is_file():
        raise DataError(f"there is no file {path}")
    try:
        options = exact_integers(onnxruntime.SessionOptions())
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its own classes share no other ancestor
        raise DataError(f"{path} is no ONNX file that can be run: {error}") from error
    try:
        card = read_card(session.get_modelmeta().custom_metadata_map)
    except CardError as error:
        raise DataError(f"{path} is not a refiner: {error}") from error
    return Candidate(
        _published_name(path),
        str(path),
        card.channels,
        card.bit_depth,
        lambda images, seed: _run(session, card, images, seed),
    )


def _published_name(path: Path) -> str:
    """`<name>/<version>` in a model repository, else the file's own name."""
    version, name = path.resolve().parent, path.resolve().parent.parent
    in_repository = path.name == "refiner.onnx" and version.name.isdecimal()
    return f"{name.name}/{version.name}" if in_repository else path.name


def _run(session: onnxruntime.InferenceSession, card: ModelCard, images: Images, seed: int) -> Images:
    refined = np.empty_like(images)
    at_once = fitting_at_once(images, AT_ONCE, MOST_PIXELS_AT_ONCE)
    for start in range(0, len(images), at_once):
        part = images[start : start + at_once]
        inputs: dict[str, object] = {"image": part}
        if card.noise.channels:
            height, width = part.shape[1:3]
            seeds = range(seed + start, seed + start + len(part))
            inputs["noise"] = noise_fields(seeds, height, width, card.noise)
        refined[start : start + at_once] = session.run(None, inputs)[0]
    return refined

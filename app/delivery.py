"""What is sent back of one image: blended, judged as its reader will see it, encoded, and told of."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.annotations.shapes import ImageGeometry, Shape
from app.errors import RequestTimeout
from app.locks import outside, unmatched_labels
from app.options import RefineOptions
from app.preservation.verdict import Decision, Thresholds, Verdict, decide
from app.refining.blending import blend
from app.refining.codecs.container import Container
from app.refining.colour import ModelInput, from_model
from app.refining.encode import Encoded, encode, is_lossy
from app.refining.images import DecodedImage, Pixels, decode
from app.refining.models import ServedModel
from model.preservation.drift import MAX_REGIONS, Drift
from model.preservation.pictures import measure_pictures


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
    def shapes(self) -> tuple[Shape, ...]:
        """What its annotations say lies where."""
        return self.geometry.shapes if self.geometry else ()

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
    decoded, shapes = prepared.decoded, job.shapes
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


def _notes(
    job: ImageJob, prepared: Prepared, encoded: Encoded, decision: Decision[Delivery]
) -> tuple[str, ...]:
    shapes, lifted = job.shapes, prepared.model_input.note
    unlocked = [
        f"No annotation of this image has the label {name!r}, so nothing is locked for it."
        for name in unmatched_labels(job.options.lock, shapes)
    ]
    if missed := outside(job.options.lock, prepared.decoded.height, prepared.decoded.width):
        unlocked.append(f"{missed} of the locks drawn lie outside of the image and lock nothing.")
    sampled = (
        [f"Of {len(shapes)} annotations, {MAX_REGIONS} were measured."] if len(shapes) > MAX_REGIONS else []
    )
    losses = [] if encoded.lossless else _losses(job, prepared, encoded, decision)
    return (*([lifted] if lifted else []), *unlocked, *sampled, *losses, *encoded.notes)


def _losses(job: ImageJob, prepared: Prepared, encoded: Encoded, decision: Decision[Delivery]) -> list[str]:
    """What a format with losses does to promises."""
    name, notes = encoded.media_type.rpartition("/")[2], []
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


def _refuse_late(job: ImageJob) -> None:
    """End work that nobody waits for any more: a thread cannot be cancelled from outside."""
    if job.deadline_s is not None and time.monotonic() >= job.deadline_s:
        raise RequestTimeout("The deadline passed before the image was measured.")

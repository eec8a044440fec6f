"""Owns the int8 profile of a run's refiner: the images it is made from, and what must stay as it was."""

from dataclasses import dataclass
from pathlib import Path

from model.card import ModelCard
from model.files import PARTIAL_SUFFIX
from model.quantization import TOLERANCE_LEVELS, quantize_refiner
from trainer.data import TrainingData, common_size
from trainer.errors import PublishError
from trainer.evaluation.candidate import load_candidate
from trainer.evaluation.preservation import measure_preservation
from trainer.evaluation.results import Preservation
from trainer.samples import draw_images, fitting_at_once
from trainer.sources import Images
from trainer.validation import cells

IMAGES = 1536
MOST_PIXELS = IMAGES * 64 * 64
"""Of large images, fewer are taken."""
FEWEST_IMAGES = 12

MORE_LOST = 0.005
"""Share of cells that may be lost beside those that fp32 loses."""
LESS_KEPT = 0.01
"""How much less of the structure may be left in the middle cell."""
MORE_SHIFT_PX = 0.02
"""How much further the cell at 95 % may have moved."""


@dataclass(frozen=True)
class Int8:
    """What an int8 profile is made from, and how far it may lie from fp32."""

    data: TrainingData
    seed: int
    tolerance_levels: int = TOLERANCE_LEVELS


def write_int8(fp32: Path, wanted: Int8, path: Path) -> ModelCard:
    """Write the int8 profile of an exported refiner, measured on synthetic images, two thirds to calibrate.

    Raises PublishError when there are too few images or int8 loses content that fp32 keeps, or what
    `quantize_refiner` raises; then there is no `path`.
    """
    calibration, comparison = _images(wanted)
    draft = path.with_name(f"{path.stem}{PARTIAL_SUFFIX}.onnx")
    card = quantize_refiner(fp32, calibration, comparison, draft, tolerance_levels=wanted.tolerance_levels)
    try:
        before, after = (_preservation(file, comparison, wanted.seed) for file in (fp32, draft))
        _require_unchanged(before, after)
        draft.rename(path)
    finally:
        draft.unlink(missing_ok=True)
    return card


def _images(wanted: Int8) -> tuple[Images, Images]:
    """To calibrate on and to compare on: different images."""
    synthetic = wanted.data.synthetic
    window = common_size(synthetic, wanted.data.real)
    count = fitting_at_once(synthetic[:, : window[0], : window[1]], IMAGES, MOST_PIXELS)
    images = draw_images(synthetic, window, wanted.seed, "int8/images", max(count, FEWEST_IMAGES))
    if len(images) < FEWEST_IMAGES:
        raise PublishError(
            f"int8 needs {FEWEST_IMAGES} synthetic images to measure on, there are {len(images)}"
        )
    comparison = images[::3]
    return images[[index for index in range(len(images)) if index % 3]], comparison


def _preservation(file: Path, images: Images, seed: int) -> Preservation:
    refined = load_candidate(file, lambda _: None).refine(images, seed)
    return measure_preservation(images, refined, cells(*images.shape[:3]))


def _require_unchanged(before: Preservation, after: Preservation) -> None:
    """PublishError where int8 moves or loses structure that fp32 keeps in place."""
    found = (
        ("share of lost cells", before.lost_fraction, after.lost_fraction, MORE_LOST),
        ("shift at 95 %, px,", before.shift_px["p95"], after.shift_px["p95"], MORE_SHIFT_PX),
        ("lost structure, median,", _lost(before), _lost(after), LESS_KEPT),
    )
    for name, fp32, int8, allowed in found:
        if int8 - fp32 > allowed:
            raise PublishError(
                f"int8 does not keep what fp32 keeps: its {name} is {int8:.3f} instead of {fp32:.3f}, and "
                f"only {allowed:g} more is allowed"
            )


def _lost(preservation: Preservation) -> float:
    return 1.0 - preservation.structure_kept["median"]

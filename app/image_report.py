"""What is told about one refined image: in JSON answers, in report.json and in manifests."""

from __future__ import annotations

from pydantic import BaseModel, Field
from pydantic_core import to_json

from app.delivery import RefinedImage
from app.preservation.verdict import Verdict


class PreservationReport(BaseModel):
    """What became of the structure under one annotation; null where there was none to measure."""

    annotation: int = Field(description="Position of the annotation in its list in the document.")
    label: str | None
    dx: float | None = Field(description="How far it moved to the right, in px.")
    dy: float | None = Field(description="How far it moved down, in px.")
    shift_px: float | None = Field(description="How far it moved, in px.")
    structure_kept: float | None = Field(description="How much of it is left, 0 (gone) to 1 (all there).")
    least_kept: float | None = Field(
        description="How much is left where most was lost, 0 to 1; null where no part of it stands out."
    )


class ImageReport(BaseModel):
    """One refined image, without its bytes."""

    index: int = Field(description="Position of its source among the images of the request, from 0.")
    filename: str = Field(description="The name that the client claimed.")
    variant: int
    seed: int
    strength_applied: float = Field(description="Below the strength asked for when it was softened.")
    width: int
    height: int
    mode: str = Field(description="Pillow's mode of the picture as encoded: L, RGB, RGBA, I;16, …")
    media_type: str
    lossless: bool
    verdict: Verdict = Field(
        description="accepted: all that was measured is within the thresholds. softened: so at a lower "
        "strength. kept_original: at none, so nothing was changed. below_thresholds: it is not, and only a "
        "report was asked for. unchecked: there was nothing to measure."
    )
    preservation: tuple[PreservationReport, ...] | None = Field(
        description="One entry per measured annotation; null without annotations."
    )
    problems: tuple[str, ...] = Field(description="What is wrong with the annotations of this image.")
    notes: tuple[str, ...] = Field(description="What else a careful reader should know.")


def report_json(image: RefinedImage) -> bytes:
    """An `ImageReport` as JSON; to make one, which would check it, takes twice as long."""
    return to_json(
        {
            "index": image.index,
            "filename": image.filename,
            "variant": image.variant,
            "seed": image.seed,
            "strength_applied": image.strength_applied,
            "width": image.width,
            "height": image.height,
            "mode": image.mode,
            "media_type": image.media_type,
            "lossless": image.lossless,
            "verdict": image.verdict,
            "preservation": _preservation(image),
            "problems": image.problems,
            "notes": image.notes,
        },
        inf_nan_mode="null",
    )


def _preservation(image: RefinedImage) -> list[dict[str, object]] | None:
    if image.preservation is None:
        return None
    return [
        {
            "annotation": entry.annotation,
            "label": entry.label,
            "dx": rounded(entry.drift.dx),
            "dy": rounded(entry.drift.dy),
            "shift_px": rounded(entry.drift.shift_px),
            "structure_kept": rounded(entry.drift.structure_kept),
            "least_kept": rounded(entry.drift.least_kept),
        }
        for entry in image.preservation
    ]


def rounded(value: float | None) -> float | None:
    """To four digits after the point."""
    return None if value is None else round(value, 4)

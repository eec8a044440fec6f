"""What is told about one refined image, in JSON answers and in report.json."""

from __future__ import annotations

from pydantic import BaseModel, Field

from app.refinement import RefinedImage


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
    verdict: str
    problems: tuple[str, ...] = Field(description="What is wrong with the annotations of this image.")
    notes: tuple[str, ...] = Field(description="What else a careful reader should know.")


def report_of(image: RefinedImage) -> ImageReport:
    """The report on one image."""
    return ImageReport(
        index=image.index,
        filename=image.filename,
        variant=image.variant,
        seed=image.seed,
        strength_applied=image.strength_applied,
        width=image.width,
        height=image.height,
        mode=image.mode,
        media_type=image.media_type,
        lossless=image.lossless,
        verdict=image.verdict,
        problems=image.problems,
        notes=image.notes,
    )

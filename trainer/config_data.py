"""Owns the first part of the settings of a run: which images it learns from, and what it makes of them."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from trainer.config_values import DATA, BitDepth, Channels, Size


class DataConfig(BaseModel):
    """The section `data` of TrainConfig."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    synthetic: str = Field(
        min_length=1,
        description="synthetic images: a folder, or FILE.npz[:ARRAY] (images)",
        json_schema_extra=DATA,
    )
    real: str = Field(
        min_length=1,
        description="unlabelled real images: a folder, or FILE.npz[:ARRAY] (images)",
        json_schema_extra=DATA,
    )
    resize: Size | None = Field(
        None, description="resize every image to HEIGHTxWIDTH px when it is decoded", json_schema_extra=DATA
    )
    crop: Size | None = Field(
        None,
        description="keep the central HEIGHTxWIDTH px of every image, after resize",
        json_schema_extra=DATA,
    )
    window: Literal["whole", "auto"] | Size = Field(
        "whole",
        description="train on a random HEIGHTxWIDTH px window of every image, new each time; whole: on "
        "images as they are, all of one size; auto: on windows of at most 32 px, whatever their sizes",
        json_schema_extra=DATA,
    )
    channels: Channels = Field(
        "auto",
        description="1 reads images as grey, 3 as RGB; auto takes what they are",
        json_schema_extra=DATA,
    )
    bit_depth: BitDepth = Field(
        "auto",
        description="8 or 16 bits per channel; auto takes what the images have",
        json_schema_extra=DATA,
    )
    labels: str = Field(
        "none",
        min_length=1,
        max_length=4096,
        description="labels of the synthetic images that refinement must keep: a COCO .json, or a task file "
        "(TOML, as for evaluate --task; of real images it reads nothing); an estimator learns them first, "
        "and then must say the same of an image before and after; none: SimGAN as in the paper",
        json_schema_extra=DATA,
    )
    max_resident_bytes: int = Field(
        8 << 30,
        ge=1 << 16,
        le=1 << 44,
        description="decoded images above this many bytes live in a file in the run folder, not in memory",
        json_schema_extra=DATA,
    )

"""Owns the second part of the settings of a run: what it is called, where it lives, what it starts from."""

from pydantic import Field

from trainer.config_data import DataConfig
from trainer.config_values import RUN


class RunConfig(DataConfig):
    """The section `run` of TrainConfig, behind that of the images."""

    name: str = Field(
        "",
        pattern=r"^[A-Za-z0-9._-]{0,64}$",
        description="last part of the run folder's name",
        json_schema_extra=RUN,
    )
    runs_root: str = Field(
        "runs", min_length=1, description="folder that receives the run folder", json_schema_extra=RUN
    )
    preset: str = Field(
        "default",
        pattern=r"^[a-z0-9_-]{1,32}$",
        description="settings to start from: default, fast, gaze or hand (the paper's two)",
        json_schema_extra=RUN,
    )
    seed: int = Field(
        0, ge=0, lt=1 << 63, description="fixes weights, order, noise and history", json_schema_extra=RUN
    )

"""Owns the task file: which labels the synthetic and the real test images have, and what is asked of them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from trainer.errors import ConfigError, DataError
from trainer.evaluation.results import LabelKind
from trainer.labels.coco import labels_in_coco
from trainer.labels.fitting import fitted_size
from trainer.labels.index import ImageIndex, index_images
from trainer.labels.labels import VOID, Labels
from trainer.labels.overlap import shared
from trainer.labels.reading import Meaning, read_labels
from trainer.labels.regions import Regions, regions_of
from trainer.options import read_toml
from trainer.sources import Images, Reading, Source, parse_source, read_images

Place = Annotated[str, StringConstraints(min_length=1, max_length=4096)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=64)]
CATEGORIES_NAMED = 6
MOST_NAMED = 40
"""Characters of a category's name that a sentence shows."""
STRICT = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Rank(BaseModel):
    """How an ordinal stands for a regression: by rank correlation, over the highest that ties allow."""

    model_config = STRICT

    column: int = Field(0, ge=0, le=1023, description="column of the prediction, from 0")
    sign: Literal[-1, 1] = Field(1, description="-1: the ordinal falls as the column rises")


class LabelledFiles(BaseModel):
    """Real images and their labels, paths relative to the task file."""

    model_config = STRICT

    images: Place = Field(description="a folder, or FILE.npz:ARRAY")
    labels: Place = Field(description="FILE.npz:ARRAY, FILE.csv or a COCO FILE.json")
    groups: Place | None = Field(None, description="a number per image; scores are means over groups")
    rank: Rank | None = Field(None, description="regression: the labels are an ordinal")


class TaskFile(BaseModel):
    """What `--task FILE` says, as written."""

    model_config = STRICT

    kind: LabelKind
    labels: Place = Field(description="of the synthetic images")
    regions: Place | None = Field(None, description="where structure is measured: boxes, masks or keypoints")
    leave_out: tuple[int, ...] = Field((), max_length=1000, description="classes that are no answer")
    classes: bool = Field(False, description="segmentation: the masks hold classes, not instances")
    unit: str = Field("", max_length=16, description="of a regression")
    names: tuple[Name, ...] = Field((), max_length=1024, description="of columns or keypoints")
    survives_moves: bool = Field(
        False, description="regression: shifting or scaling the image a little does not change the answer"
    )
    test: LabelledFiles | None = Field(None, description="real images for the final score")
    upper_bound: LabelledFiles | None = None

    @model_validator(mode="after")
    def _agree(self) -> Self:
        for files in (self.test, self.upper_bound):
            if files is not None and files.rank is not None and self.kind != "regression":
                raise ValueError(f"rank belongs to a regression, not to {self.kind}")
        for name, kind in (("leave_out", "classification"), ("survives_moves", "regression")):
            if getattr(self, name) and self.kind != kind:
                raise ValueError(f"{name} belongs to a {kind}, not to {self.kind}")
        rank = None if self.test is None else self.test.rank
        if rank is not None and self.names and rank.column >= len(self.names):
            raise ValueError(f"rank has column {rank.column}, there are {len(self.names)} names")
        if self.test is None and self.upper_bound is not None:
            raise ValueError("an upper_bound without a test has nothing to be scored on")
        return self


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """Real images with labels."""

    images: Images
    """uint8 or uint16 [N, H, W, C]."""
    labels: Labels
    groups: NDArray[np.int64] | None
    """int64 [N]: the group of each image, over which scores are averaged."""
    rank: Rank | None
    names: tuple[str, ...] = ()
    """Of the N images: paths in their folder, or numbers in their array."""


@dataclass(frozen=True, eq=False)
class Task:
    """What estimators learn from the synthetic images, and the real images on which they are tested."""

    kind: LabelKind
    labels: Labels
    """Of the synthetic images, in their order."""
    regions: Regions
    """Where the structure of the synthetic images is measured."""
    survives_moves: bool
    test: LabelledImages | None
    """None: no real image has a label, and usefulness is not measured."""
    upper_bound: LabelledImages | None

    def seen(self, real: Images) -> str | None:
        """A sentence about test images that are among the `real` ones; None where there are none."""
        if self.test is None or not (count := len(shared(self.test.images, real))):
            return None
        return (
            f"{count} of the {len(self.test.images)} test images are among the real images, too: refiners "
            "trained on those have seen them, without labels"
        )

    def pooled(self) -> str | None:
        """A sentence about categories of boxes that are measured as one; None where there are not several."""
        if self.kind != "boxes":
            return None
        every = [self.labels, *(real.labels for real in (self.test, self.upper_bound) if real is not None)]
        names = list(dict.fromkeys(name for labels in every for name in labels.class_names.values()))
        if len(names) < 2:
            return None
        more = f" and {len(names) - CATEGORIES_NAMED} more" if len(names) > CATEGORIES_NAMED else ""
        shown = ", ".join(name[:MOST_NAMED] for name in names[:CATEGORIES_NAMED])
        return f"the {len(names)} categories {shown}{more} are measured as one: where boxes are, not which"


@dataclass(frozen=True, eq=False)
class Lesson:
    """What an estimator may learn while a refiner is trained: labels of synthetic images alone."""

    labels: Labels
    """Of the synthetic images, in their order."""
    survives_moves: bool


def load_task(path: Path, synthetic: str | Source, reading: Reading | None = None) -> Task:
    """Read a task file and all that it names.

    `synthetic` are the images that the labels belong to (a folder or FILE.npz[:ARRAY], relative to the
    working directory), `reading` is how they and the real ones are read. ConfigError for the file,
    DataError for what it names.
    """
    file, reading = read_task_file(path), reading or Reading()
    source = parse_source("synthetic", synthetic) if isinstance(synthetic, str) else synthetic
    index = index_images(source)
    labels = _synthetic_labels(path, file, index, reading)
    test, upper_bound = (
        None if files is None else _labelled(path, files, role, labels, reading)
        for files, role in ((file.test, "test"), (file.upper_bound, "upper bound"))
    )
    if test is not None and upper_bound is not None:
        _require_apart(test, upper_bound)
    regions = _regions(path, file, labels, index, reading)
    return Task(file.kind, labels, regions, _survives_moves(file), test, upper_bound)


def load_lesson(path: Path, synthetic: str, reading: Reading) -> Lesson:
    """Read of a task file what training may see: the synthetic labels. Nothing of real images is opened."""
    file = read_task_file(path)
    index = index_images(parse_source("synthetic", synthetic))
    return Lesson(_synthetic_labels(path, file, index, reading), _survives_moves(file))


def _synthetic_labels(path: Path, file: TaskFile, index: ImageIndex, reading: Reading) -> Labels:
    meaning = Meaning(file.kind, file.names, file.unit, file.leave_out, file.classes)
    labels = read_labels(_beside(path, file.labels), meaning, index, reading)
    if not labels.answers.any():
        beside = ": no point lies in its image" if labels.kind == "keypoints" else ""
        raise DataError(f"{file.labels}: no synthetic image has a label to learn from{beside}")
    return labels


def _survives_moves(file: TaskFile) -> bool:
    return file.survives_moves or file.kind != "regression"


def read_task_file(path: Path) -> TaskFile:
    """Read and check the TOML; ConfigError names the first faults.

    A COCO .json is a task of its own: the labels are what all its annotations have.
    """
    if path.suffix == ".json":
        kind, classes = labels_in_coco(path)
        return TaskFile.model_validate({"kind": kind, "labels": path.name, "classes": classes})
    try:
        return TaskFile.model_validate(read_toml(path))
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()[:3]]
        sentence = "; ".join(fault.removeprefix(": ").removeprefix("Value error, ") for fault in faults)
        raise ConfigError(f"the task file {path} is wrong: {sentence}") from None


def _beside(path: Path, place: str) -> str:
    return str(path.parent / place)


def _regions(path: Path, file: TaskFile, labels: Labels, index: ImageIndex, reading: Reading) -> Regions:
    height, width = fitted_size((int(index.sizes[0, 0]), int(index.sizes[0, 1])), reading)
    if file.regions is None:
        return regions_of(labels, height, width)
    place = _beside(path, file.regions)
    faults = []
    for kind in ("boxes", "keypoints", "segmentation"):
        try:
            return regions_of(read_labels(place, Meaning(kind), index, reading), height, width)
        except DataError as error:
            faults.append(str(error))
    raise DataError(f"the regions {file.regions} are neither boxes nor keypoints nor masks: {faults[0]}")


def _labelled(
    path: Path, files: LabelledFiles, role: str, synthetic: Labels, reading: Reading
) -> LabelledImages:
    source = parse_source(role, _beside(path, files.images))
    images = read_images(source, reading, np.empty, lambda _done, _total: None)
    ordinal = files.rank is not None
    meaning = Meaning(
        synthetic.kind,
        () if ordinal else synthetic.names,
        "" if ordinal else synthetic.unit,
        synthetic.leave_out,
        synthetic.classes,
        _categories(synthetic),
    )
    index = index_images(source)
    labels = read_labels(_beside(path, files.labels), meaning, index, reading)
    columns, known = labels.values.shape[1:2], synthetic.values.shape[1:2]
    if files.rank is not None and files.rank.column >= known[0]:
        raise DataError(
            f"the {role} labels are ranked by column {files.rank.column}, counted from 0; the synthetic ones "
            f"have {known[0]}"
        )
    if not ordinal and labels.kind in ("keypoints", "regression") and columns != known:
        raise DataError(f"the {role} labels have {columns[0]} columns, the synthetic ones {known[0]}")
    if labels.kind != "boxes":
        labels = replace(labels, class_names=synthetic.class_names)
    answers = labels.answers
    if not answers.any():
        raise DataError(f"{files.labels}: no {role} image has a label")
    groups = None if files.groups is None else _groups(path, files.groups, index)
    names = index.names or tuple(map(str, range(len(index))))
    return LabelledImages(
        images[answers],
        labels.of(answers),
        None if groups is None else groups[answers],
        files.rank,
        tuple(names[row] for row in np.flatnonzero(answers)),
    )


def _require_apart(test: LabelledImages, upper_bound: LabelledImages) -> None:
    """DataError where an image is tested that the upper bound has learned."""
    rows = shared(test.images, upper_bound.images)
    if len(rows):
        raise DataError(
            f"{len(rows)} of the {len(test.images)} test images are in the upper bound, too, the first is "
            f"{test.names[rows[0]]}: a bound that has learned what it is tested on is none; leave them out "
            "of one of the two"
        )


def _categories(synthetic: Labels) -> Mapping[int, int] | None:
    """Class of each category id, for the masks of real images; beside an array of masks ids are classes."""
    if not synthetic.classes:
        return None
    return synthetic.categories or {number: number for number in range(1, VOID)}


def _groups(path: Path, place: str, index: ImageIndex) -> NDArray[np.int64]:
    groups: NDArray[np.int64] = read_labels(
        _beside(path, place), Meaning("classification"), index, Reading()
    ).values
    return groups

"""Where the annotations of one image of a set are: in a file of its own, or in documents about many.

A source is found by `annotation_index`, travels as JSON to whoever refines the image, and is read there.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import IO, Protocol, cast
from xml.etree import ElementTree as ET

from app.annotations import cvat, kitti, voc, xml_text, yolo
from app.annotations.json_text import JsonValue, parse
from app.annotations.reading import read_geometry, read_part
from app.annotations.shapes import Collector, ImageGeometry, ImageRef, Shape
from app.annotations.yolo import YoloClasses

MOST_TEXT_BYTES = 64 << 20
"""Of one label file of an image."""
_LOOKED_AT = 10_000
"""Characters of a text that has no objects, to see whether it was meant to have some."""
_FOLDERS_OF_LABELS = ("label", "annotation")
"""How the names of folders begin in which text is meant as labels, whatever it says."""


class Files(Protocol):
    """The files of the set, by their paths below it."""

    def open(self, name: str) -> AbstractContextManager[IO[bytes]]:
        """A file, to read it."""
        ...


class Source(Protocol):
    """The annotations of one image."""

    @property
    def where(self) -> str:
        """The file they are in, for people."""
        ...

    def read(self, image: ImageRef, files: Files) -> ImageGeometry:
        """The geometry for the image; SimtrueError or OSError when the file cannot be read."""
        ...

    def to_json(self) -> dict[str, JsonValue]:
        """What `source_from_json` makes the same source of."""
        ...


@dataclass(frozen=True)
class JsonBeside:
    """A JSON document about one image; `name` is its path below the set."""

    name: str

    @property
    def where(self) -> str:
        """Its path below the set."""
        return self.name

    def read(self, image: ImageRef, files: Files) -> ImageGeometry:
        """By whichever reader knows it."""
        document = parse(bounded(files, self.name, MOST_TEXT_BYTES), of_python=True)
        geometry = read_geometry(document, [image])
        (found,) = geometry.images
        return ImageGeometry(found.shapes, (*geometry.problems, *found.problems))

    def to_json(self) -> dict[str, JsonValue]:
        """Its name."""
        return {"json": self.name}


@dataclass(frozen=True)
class VocFile:
    """An XML file about one image."""

    name: str

    @property
    def where(self) -> str:
        """Its path below the set."""
        return self.name

    def read(self, image: ImageRef, files: Files) -> ImageGeometry:
        """Its boxes; nothing from XML of another kind."""
        root = xml_text.parse(bounded(files, self.name, MOST_TEXT_BYTES), what=self.where)
        collector = Collector(image)
        if voc.recognises(root):
            voc.read(root, collector)
        return collector.finish()

    def to_json(self) -> dict[str, JsonValue]:
        """Its name."""
        return {"voc": self.name}


@dataclass(frozen=True)
class TextFile:
    """A text file about one image, YOLO's or KITTI's."""

    name: str
    classes: YoloClasses

    @property
    def where(self) -> str:
        """Its path below the set."""
        return self.name

    def read(self, image: ImageRef, files: Files) -> ImageGeometry:
        """Its objects; nothing from text of another kind, which is told where labels were meant."""
        text = bounded(files, self.name, MOST_TEXT_BYTES).decode("utf-8-sig", "replace")
        collector = Collector(image)
        if kitti.recognises(text):
            kitti.read(text, collector)
        elif yolo.recognises(text):
            yolo.read(text, self.classes, collector)
        elif self._is_meant_as_labels(text):
            collector.report(f"No line of {self.name} is an object of YOLO or KITTI.")
        return collector.finish()

    def _is_meant_as_labels(self, text: str) -> bool:
        """Not so a caption beside its image; numbers may be cut off, or in an encoding of 16 bits."""
        folders = PurePosixPath(self.name.lower()).parent.parts
        words = text[:_LOOKED_AT].replace("\0", "").replace(",", " ").split()
        numeric = sum(kitti.is_number(word) for word in words)
        return numeric * 2 > len(words) or any(folder.startswith(_FOLDERS_OF_LABELS) for folder in folders)

    def to_json(self) -> dict[str, JsonValue]:
        """Its name and the classes."""
        pose = None if self.classes.keypoints is None else list[JsonValue](self.classes.keypoints)
        return {"text": self.name, "classes": list[JsonValue](self.classes.names), "pose": pose}


@dataclass(frozen=True)
class PartOfSet:
    """What documents about several images say about one: JSON documents of its own, CVAT's elements."""

    names: tuple[str, ...]
    parts: tuple[JsonValue | ET.Element, ...]

    @property
    def where(self) -> str:
        """The documents' names."""
        return ", ".join(self.names)

    def read(self, image: ImageRef, files: Files) -> ImageGeometry:  # noqa: ARG002 (it is all here)
        """The shapes of all of them; of several documents they are numbered one after the other."""
        if len(self.parts) == 1:
            return _read_part(self.parts[0], image)
        collector = Collector(image)
        for part in self.parts:
            found = _read_part(part, image)
            for shape in found.shapes:
                collector.shapes.append(replace(shape, source=len(collector.shapes)))
            for problem in found.problems:
                collector.report(problem)
        return collector.finish()

    def to_json(self) -> dict[str, JsonValue]:
        """The parts themselves."""
        parts = [
            {"xml": ET.tostring(part, encoding="unicode")} if isinstance(part, ET.Element) else {"json": part}
            for part in self.parts
        ]
        return {"names": list[JsonValue](self.names), "parts": cast(list[JsonValue], parts)}


@dataclass(frozen=True)
class FirstOf:
    """Several places about one image, of which the first with shapes counts."""

    sources: tuple[Source, ...]

    @property
    def where(self) -> str:
        """All their names."""
        return ", ".join(source.where for source in self.sources)

    def read(self, image: ImageRef, files: Files) -> ImageGeometry:
        """Its shapes, and the problems of those that were read."""
        shapes: tuple[Shape, ...] = ()
        problems: list[str] = []
        for source in self.sources:
            found = source.read(image, files)
            shapes = found.shapes
            problems += found.problems
            if shapes:
                break
        return ImageGeometry(shapes, tuple(problems))

    def to_json(self) -> dict[str, JsonValue]:
        """The places in their order."""
        return {"first": [source.to_json() for source in self.sources]}


def source_from_json(value: Mapping[str, JsonValue]) -> Source:
    """The source that `to_json` was asked of; what is read here was written by ourselves."""
    if "json" in value:
        return JsonBeside(str(value["json"]))
    if "voc" in value:
        return VocFile(str(value["voc"]))
    if "text" in value:
        names, pose = cast(list[str], value["classes"]), cast(list[int] | None, value["pose"])
        return TextFile(
            str(value["text"]), YoloClasses(tuple(names), None if pose is None else (pose[0], pose[1]))
        )
    if "first" in value:
        return FirstOf(
            tuple(source_from_json(one) for one in cast(list[dict[str, JsonValue]], value["first"]))
        )
    parts = cast(list[dict[str, JsonValue]], value["parts"])
    return PartOfSet(
        tuple(cast(list[str], value["names"])),
        tuple(
            ET.fromstring(str(part["xml"])) if "xml" in part else part["json"]  # noqa: S314 (our own)
            for part in parts
        ),
    )


def bounded(files: Files, name: str, most: int) -> bytes:
    """All bytes of a file; OSError when there are more than `most`."""
    with files.open(name) as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise OSError(f"it is longer than {most} bytes")
    return data


def _read_part(part: JsonValue | ET.Element, image: ImageRef) -> ImageGeometry:
    if isinstance(part, ET.Element):
        collector = Collector(image)
        cvat.read(part, collector)
        return collector.finish()
    return read_part(part, image)

"""Makes a set in many colours, drawn dice against photographs of dice, to try the defaults on.

    git clone https://github.com/nell-byler/dice_detection
    python tests/benchmarks/dice.py dice_detection dice                      # an empty folder, or none yet
    simtrue-train fit --synthetic dice/synthetic --real dice/real --name dice
    simtrue-train evaluate runs/00001-default-dice --task dice/task.toml

The photographs (BSD 3-Clause licence) lie in TFRecords there, already divided between training and test, by
photograph. Around every die a square of 96x96 px is cut out; its label is what that die shows. Photographs of
a tray with walls are left out. The simulator is naive on purpose: plain colours, flat faces, no shadows, no
grain, no blur, even light. The same seed writes the same bytes.
"""

from __future__ import annotations

import csv
import io
import json
import struct
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from drawn_set import checked, parser_of
from numpy.typing import NDArray
from PIL import Image, ImageDraw

SIDE: Final = 96
FINER: Final = 8
MOST_DARK: Final = 0.03
"""Share of a photograph that is nearly black from which it shows the tray, whose walls are black outside."""
DARK: Final = 90
JITTER: Final = 6
"""How far a die may lie from the middle of its image, px."""
NUMBERS: Final = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6}

Box = tuple[float, float, float, float]
"""x1, y1, x2, y2, px, half-open."""
Colour = tuple[int, int, int]
Points = NDArray[np.float64]
"""[K, 2]: x, y, px."""
Value = list[bytes] | list[float]

TABLE: Final[Colour] = (186, 183, 182)
COLOURS: Final[tuple[tuple[Colour, Colour], ...]] = (
    ((215, 40, 38), (255, 255, 255)),
    ((160, 45, 62), (255, 255, 255)),
    ((20, 140, 75), (255, 255, 255)),
    ((25, 90, 85), (225, 205, 50)),
    ((32, 45, 155), (255, 255, 255)),
    ((40, 50, 105), (225, 225, 235)),
    ((35, 105, 160), (190, 40, 50)),
    ((55, 35, 75), (255, 255, 255)),
    ((130, 40, 140), (255, 255, 255)),
    ((35, 35, 38), (255, 255, 255)),
    ((60, 45, 45), (190, 35, 35)),
    ((235, 215, 40), (20, 20, 20)),
    ((150, 105, 45), (20, 20, 20)),
    ((230, 226, 212), (20, 20, 20)),
)
"""Of a die and of its pips."""
EDGES: Final = ((21.0, 25.0), (28.0, 32.0))
"""Of small and of large dice, px."""
PIPS: Final[dict[int, tuple[tuple[int, int], ...]]] = {
    1: ((0, 0),),
    2: ((-1, -1), (1, 1)),
    3: ((-1, -1), (0, 0), (1, 1)),
    4: ((-1, -1), (-1, 1), (1, -1), (1, 1)),
    5: ((-1, -1), (-1, 1), (1, -1), (1, 1), (0, 0)),
    6: ((-1, -1), (-1, 0), (-1, 1), (1, -1), (1, 0), (1, 1)),
}
SPACING: Final = 0.26
"""Between two pips, in edges."""

TASK = """\
# Dice, 96x96 px: how many pips the die in the middle shows.
kind = "classification"
labels = "synthetic.csv"
regions = "synthetic.json"

[test]
images = "test"
labels = "test.csv"

[upper_bound]
images = "real"
labels = "real.csv"
"""


@dataclass(frozen=True)
class Photo:
    """A photograph and the dice in it."""

    name: str
    image: Image.Image
    dice: tuple[tuple[int, Box], ...]
    """Pips and box of each."""


@dataclass(frozen=True)
class Die:
    """A drawn die."""

    middle: tuple[float, float]
    """Of the face that it stands on, px."""
    edge: float
    turn: float
    """Radians."""
    pips: int
    sides: tuple[int, int, int, int]
    colours: tuple[Colour, Colour]
    rounding: float
    """Radius of the corners, in edges."""
    pip_radius: float
    """In edges."""


@dataclass(frozen=True, eq=False)
class Face:
    """One side of a die as the camera sees it."""

    middle: NDArray[np.float64]
    """x, y, px."""
    edges: Points
    """Two of them."""
    light: float


def main() -> None:
    """Make the whole set and say what is in it."""
    parser = parser_of(__doc__, "a clone of nell-byler/dice_detection", 3000)
    arguments = checked(parser, "tfrecords/train.record", "clone of dice_detection")
    records = arguments.photos / "tfrecords"
    write_real(records / "train.record", arguments.folder, "real")
    write_real(records / "test.record", arguments.folder, "test")
    write_synthetic(arguments.folder, arguments.count, arguments.seed)
    (arguments.folder / "task.toml").write_text(TASK, encoding="utf-8")


def write_real(record: Path, folder: Path, half: str) -> None:
    """Squares around the dice of one half, and what those show."""
    (folder / half).mkdir(parents=True)
    rng = np.random.default_rng(0)
    rows = []
    for photo in photos(record):
        if shows_tray(photo.image):
            continue
        for number, (pips, (x1, y1, x2, y2)) in enumerate(photo.dice):
            right, down = rng.integers(-JITTER, JITTER + 1, 2)
            left, top = (round((x1 + x2 - SIDE) / 2 + right), round((y1 + y2 - SIDE) / 2 + down))
            if min(left, top) < 0 or left + SIDE > photo.image.width or top + SIDE > photo.image.height:
                continue
            file = f"{photo.name}-{number:02d}.png"
            photo.image.crop((left, top, left + SIDE, top + SIDE)).save(folder / half / file)
            rows.append((file, pips))
    write_csv(folder / f"{half}.csv", rows)


def photos(record: Path) -> Iterator[Photo]:
    """Every photograph of a TFRecord file."""
    for features in examples(record.read_bytes()):
        (encoded,), (name,) = _texts(features["image/encoded"]), _texts(features["image/filename"])
        with Image.open(io.BytesIO(encoded)) as opened:
            image = opened.convert("RGB")
        sides = np.array([features[f"image/object/bbox/{side}"] for side in ("xmin", "ymin", "xmax", "ymax")])
        boxes = sides.T * (image.width, image.height, image.width, image.height)
        texts = _texts(features["image/object/class/text"])
        dice = [
            (NUMBERS[text.decode()], (float(x1), float(y1), float(x2), float(y2)))
            for text, (x1, y1, x2, y2) in zip(texts, boxes, strict=True)
        ]
        yield Photo(Path(name.decode()).stem, image, tuple(dice))


def shows_tray(image: Image.Image) -> bool:
    """Whether it is one of the photographs of a tray with walls."""
    return bool((np.asarray(image).max(axis=2) < DARK).mean() > MOST_DARK)


def examples(data: bytes) -> Iterator[dict[str, Value]]:
    """The features of every tf.train.Example in a TFRecord file; integers are left out."""
    start = 0
    while start < len(data):
        (length,) = struct.unpack_from("<Q", data, start)
        start += 12  # the length and its checksum
        features: dict[str, Value] = {}
        for message in fields(data[start : start + length]):
            for entry in fields(message[1]):
                (_, name), (_, feature) = fields(entry[1])
                ((kind, values),) = fields(feature)
                if kind == 1:
                    features[name.decode()] = [text for _, text in fields(values)]
                elif kind == 2:
                    features[name.decode()] = [
                        number for _, run in fields(values) for (number,) in struct.iter_unpack("<f", run)
                    ]
        yield features
        start += length + 4


def fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and content of the fields of a protocol buffer, all of them of length-delimited type."""
    place = 0
    while place < len(message):
        key, place = _varint(message, place)
        if key & 7 == 2:
            length, place = _varint(message, place)
            yield key >> 3, message[place : place + length]
            place += length
        else:
            assert key & 7 == 0, "a field of no known type"
            _, place = _varint(message, place)


def _varint(message: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[place]
        value |= (byte & 127) << shift
        place, shift = place + 1, shift + 7
        if byte < 128:
            return value, place


def _texts(value: Value) -> list[bytes]:
    return [text for text in value if isinstance(text, bytes)]


def write_synthetic(folder: Path, count: int, seed: int) -> None:
    """Drawn images, what the die in the middle shows, and the boxes of all dice."""
    (folder / "synthetic").mkdir()
    rows, boxes = [], []
    for number in range(count):
        image, pips, found = draw_image(np.random.default_rng((seed, number)))
        file = f"{number:05d}.png"
        image.save(folder / "synthetic" / file)
        rows.append((file, pips))
        boxes.append((file, found))
    write_csv(folder / "synthetic.csv", rows)
    write_coco(folder / "synthetic.json", boxes)


def draw_image(rng: np.random.Generator) -> tuple[Image.Image, int, list[Box]]:
    """One image of dice on a table, as a camera above it sees them, somewhat from the side."""
    azimuth = rng.uniform(0, 2 * np.pi)
    lean = rng.uniform(0.02, 0.35) * np.array((np.cos(azimuth), np.sin(azimuth)))
    middle = SIDE / 2 + rng.uniform(-JITTER, JITTER, 2)
    first = throw(rng, (float(middle[0]), float(middle[1])))
    dice = [first]
    for _ in range(rng.poisson(1.2) * 2):
        x, y = rng.uniform(-15, SIDE + 15, 2)
        other = throw(rng, (float(x), float(y)))
        if all(_gap(other, die) > 0.62 * (other.edge + die.edge) for die in dice):
            dice.append(other)
    light = int(rng.integers(-6, 7))
    table = (TABLE[0] + light, TABLE[1] + light, TABLE[2] + light)
    image = Image.new("RGB", (FINER * SIDE, FINER * SIDE), table)
    # The tops lean away from the middle of the photograph, so they hide what is behind them there.
    outlines = [draw_die(image, die, lean) for die in sorted(dice, key=lambda die: -(lean @ die.middle))]
    boxes = [box for outline in outlines if (box := box_of(outline)) is not None]
    return image.reduce(FINER), first.pips, boxes


def throw(rng: np.random.Generator, middle: tuple[float, float]) -> Die:
    """A die of any colour, lying there."""
    pips = int(rng.integers(1, 7))
    sides = [
        int(side) for side in rng.permutation([side for side in range(1, 7) if side not in (pips, 7 - pips)])
    ]
    return Die(
        middle=middle,
        edge=float(rng.uniform(*EDGES[rng.integers(len(EDGES))])),
        turn=float(rng.uniform(0, 2 * np.pi)),
        pips=pips,
        sides=(sides[0], sides[1], sides[2], sides[3]),
        colours=COLOURS[rng.integers(len(COLOURS))],
        rounding=float(rng.uniform(0.1, 0.22)),
        pip_radius=float(rng.uniform(0.085, 0.11)),
    )


def _gap(one: Die, other: Die) -> float:
    return float(np.hypot(one.middle[0] - other.middle[0], one.middle[1] - other.middle[1]))


def draw_die(image: Image.Image, die: Die, lean: NDArray[np.float64]) -> Points:
    """Paint its body, the sides that are seen and the top; the outline of the whole."""
    draw = ImageDraw.Draw(image)
    base = np.array(die.middle)
    along = die.edge * np.array((np.cos(die.turn), np.sin(die.turn)))
    across = np.array((-along[1], along[0]))
    up = die.edge * lean
    square = rounded_square(die.rounding)
    floor = base + square @ np.stack([along, across])
    for height in np.linspace(0, 1, 25):
        _fill(draw, floor + height * up, shaded(die.colours[0], 0.7))
    normals = (along, across, -along, -across)
    for number, normal in enumerate(normals):
        slope = float(normal @ lean) / die.edge
        if slope >= 0:  # turned away
            continue
        edge = normals[(number + 1) % 4]
        inset = 1 - die.rounding
        corners = np.array([(-inset, -1), (inset, -1), (inset, 1), (-inset, 1)]) / 2
        light = 0.78 + 0.08 * float(np.cos(np.arctan2(normal[1], normal[0]) - 1.0))
        face = Face(base + (normal + up) / 2, np.stack([edge, up]), light)
        _fill(draw, face.middle + corners @ face.edges, shaded(die.colours[0], light))
        _pips(draw, die, die.sides[number], face)
    _fill(draw, floor + up, die.colours[0])
    _pips(draw, die, die.pips, Face(base + up, np.stack([along, across]), 1.0))
    return np.concatenate([floor, floor + up])


def _pips(draw: ImageDraw.ImageDraw, die: Die, pips: int, face: Face) -> None:
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    circle = die.pip_radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    for place in PIPS[pips]:
        points = face.middle + (circle + SPACING * np.array(place)) @ face.edges
        _fill(draw, points, shaded(die.colours[1], face.light))


def rounded_square(radius: float) -> Points:
    """A square of side 1 around (0, 0), its corners rounded."""
    angles = np.linspace(0, np.pi / 2, 8)
    corners = []
    for quarter, (right, down) in enumerate(((1, 1), (-1, 1), (-1, -1), (1, -1))):
        turned = angles + quarter * np.pi / 2
        middle = (0.5 - radius) * np.array((right, down))
        corners.append(middle + radius * np.stack([np.cos(turned), np.sin(turned)], axis=1))
    return np.concatenate(corners)


def shaded(colour: Colour, light: float) -> Colour:
    """The same under less light."""
    red, green, blue = (round(part * light) for part in colour)
    return red, green, blue


def _fill(draw: ImageDraw.ImageDraw, points: Points, colour: Colour) -> None:
    draw.polygon([(FINER * float(x), FINER * float(y)) for x, y in points], fill=colour)


def box_of(outline: Points) -> Box | None:
    """Around it, cut at the edges of the image; None where more than half of it is outside."""
    whole = np.concatenate([outline.min(axis=0), outline.max(axis=0)])
    x1, y1, x2, y2 = (float(side) for side in np.clip(whole, 0, SIDE))
    if (x2 - x1) * (y2 - y1) < 0.5 * (whole[2] - whole[0]) * (whole[3] - whole[1]):
        return None
    return x1, y1, x2, y2


def write_csv(path: Path, rows: Sequence[tuple[str, int]]) -> None:
    """Pips by file name; one line on what was written."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("file", "pips"))
        writer.writerows(rows)
    counts = Counter(pips for _, pips in rows)
    print(f"{path}: {len(rows)} images; of one to six pips {', '.join(str(counts[pips]) for pips in PIPS)}")


def write_coco(path: Path, images: Sequence[tuple[str, Sequence[Box]]]) -> None:
    """Boxes by file name."""
    entries = [
        {"id": number, "file_name": file, "width": SIDE, "height": SIDE}
        for number, (file, _) in enumerate(images, 1)
    ]
    boxes = [(number, box) for number, (_, found) in enumerate(images, 1) for box in found]
    annotations = []
    for number, (image, (x1, y1, x2, y2)) in enumerate(boxes, 1):
        bbox = [round(side, 2) for side in (x1, y1, x2 - x1, y2 - y1)]
        area = round(bbox[2] * bbox[3], 2)
        annotations.append(
            {"id": number, "image_id": image, "category_id": 1, "bbox": bbox, "area": area, "iscrowd": 0}
        )
    document = {"images": entries, "annotations": annotations, "categories": [{"id": 1, "name": "die"}]}
    path.write_text(json.dumps(document) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

"""Makes a set in colour, drawn blood cells against photographs of smears, to try the defaults on.

    git clone https://github.com/Shenggan/BCCD_Dataset
    python tests/benchmarks/blood_cells.py BCCD_Dataset blood                # an empty folder, or none yet
    simtrue-train fit --synthetic blood/synthetic --real blood/real --name blood
    simtrue-train evaluate runs/00001-default-blood --task blood/task.toml

The photographs (MIT licence) are averaged down by 3 and cut into tiles of 64x64 px. They are divided between
training and test by field of view: many were photographed twice, shifted. Part of the cells have no box
there, so only tiles where little is stained outside of the boxes are tested on, or learnt from by the upper
bound. The simulator is naive on purpose: flat colours, no grain, no blur, even light. The same seed writes
the same bytes.
"""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from drawn_set import checked, parser_of
from numpy.typing import NDArray
from PIL import Image, ImageDraw

TILE: Final = 64
SMALLER: Final = 3
"""Photographs are averaged over squares of so many px: red cells become 30 px wide."""
TEST_FIELDS: Final = (1, 3, 5, 7)
"""Of every nine fields of view, those that are tested on."""
LEAST_LEFT: Final = 0.4
"""Part of a box that must lie in the tile."""
STAINED: Final = 0.85
"""Darker in green than this part of the background: a cell."""
FIELD_SMALLER: Final = 16
SHARED: Final = 0.15
"""Least part of a photograph that two of the same field share; less tells nothing."""
SAME_FIELD: Final = 0.85
"""Correlation of what they share. Pairs found by chance are as high now and then, and only keep together."""
FINER: Final = 8
KINDS: Final = ("RBC", "WBC", "Platelets")

Box = tuple[float, float, float, float]
"""x1, y1, x2, y2, px, half-open."""
Colour = tuple[int, int, int]
Points = NDArray[np.float64]
"""[K, 2]: x, y, px."""

TASK = """\
# Cells in blood smears, 64x64 px: where they are, red, white or platelet.
kind = "boxes"
labels = "synthetic/annotations.json"

[test]
images = "test"
labels = "test.json"

[upper_bound]
images = "real_labelled"
labels = "real_labels.json"
"""


@dataclass(frozen=True)
class Label:
    """One cell in one image; `outline` may be empty."""

    kind: str
    box: Box
    outline: tuple[float, ...] = ()
    """x, y, x, y, …"""


@dataclass(frozen=True, eq=False)
class Photo:
    """A photograph, averaged down, and the boxes in it."""

    name: str
    image: Image.Image
    boxes: tuple[tuple[str, Box], ...]

    def unlabelled(self) -> NDArray[np.bool_]:
        """bool [H, W]: stained, and in no box."""
        green = np.asarray(self.image)[..., 1]
        left: NDArray[np.bool_] = green < STAINED * np.percentile(green, 95)
        for _, box in self.boxes:
            x1, y1, x2, y2 = (round(side) for side in box)
            left[y1:y2, x1:x2] = False
        return left


@dataclass(frozen=True, eq=False)
class Cell:
    """A drawn cell: outlines and their flat colours, the lowest, which is the cell's own, first."""

    kind: str
    middle: tuple[float, float]
    radius: float
    layers: tuple[tuple[Points, Colour], ...]


@dataclass(frozen=True)
class Population:
    """How many cells of a kind there are, and how near to each other; from the training photographs."""

    kind: str
    per_photo: float
    spread: float
    """Standard deviation of the density from image to image, over its mean."""
    most_radius: float
    nearest: tuple[float, float]
    """Distance of two middles over the sum of their radii; drawn once an image."""


POPULATIONS: Final = (
    Population("WBC", 1.8, 0.3, 39.0, (0.85, 0.95)),
    Population("RBC", 19.0, 0.35, 26.0, (0.5, 0.95)),
    Population("Platelets", 1.3, 0.8, 9.0, (0.9, 1.1)),
)
PHOTO_PX: Final = (640 // SMALLER) * (480 // SMALLER)
ANNOTATORS_MARGIN: Final = 1.0
"""Between a cell and its box in the photographs, px."""


def main() -> None:
    """Make the whole set and say what is in it."""
    parser = parser_of(__doc__, "a clone of Shenggan/BCCD_Dataset", 3000)
    parser.add_argument(
        "--most-unlabelled",
        type=float,
        default=0.12,
        help="stained part of a tile that no box covers, up to which its labels are used; 1 takes all tiles",
    )
    arguments = checked(parser, "BCCD/Annotations", "clone of BCCD_Dataset")
    write_real(arguments.photos, arguments.folder, arguments.most_unlabelled)
    write_synthetic(arguments.folder, arguments.count, arguments.seed)
    (arguments.folder / "task.toml").write_text(TASK, encoding="utf-8")


def write_real(clone: Path, folder: Path, most_unlabelled: float) -> None:
    """Tiles: real/ to refine towards, of which real_labelled/ is a part, and test/; labels beside them."""
    photos = [read_photo(clone, file) for file in sorted((clone / "BCCD" / "Annotations").glob("*.xml"))]
    tested = in_test(photos)
    for name in ("real", "real_labelled", "test"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    known: dict[str, list[tuple[str, list[Label]]]] = {"real": [], "test": []}
    for photo, test in zip(photos, tested, strict=True):
        for file, tile, labels, unlabelled in cut(photo):
            complete = unlabelled <= most_unlabelled
            if test and not complete:
                continue
            half = "test" if test else "real"
            tile.save(folder / half / file)
            known[half].append((file, labels))
            if complete and not test:
                tile.save(folder / "real_labelled" / file)
    write_coco(folder / "real_labels.json", known["real"])
    write_coco(folder / "test.json", known["test"])
    print(f"{len(photos)} photographs, {sum(tested)} of them for the test")


def read_photo(clone: Path, annotations: Path) -> Photo:
    """One photograph and its Pascal VOC file."""
    with Image.open(clone / "BCCD" / "JPEGImages" / f"{annotations.stem}.jpg") as opened:
        image = opened.convert("RGB").reduce(SMALLER)
    boxes = []
    for entry in ET.parse(annotations).getroot().iter("object"):
        x1, y1, x2, y2 = (
            float(entry.findtext(f"bndbox/{side}", "nan")) for side in ("xmin", "ymin", "xmax", "ymax")
        )
        if x2 > x1 and y2 > y1:  # two are points
            # VOC counts from 1, and the last pixel belongs to the box.
            box = ((x1 - 1) / SMALLER, (y1 - 1) / SMALLER, x2 / SMALLER, y2 / SMALLER)
            boxes.append((entry.findtext("name", ""), box))
    return Photo(annotations.stem, image, tuple(boxes))


def in_test(photos: Sequence[Photo]) -> list[bool]:
    """Whether each photograph is tested on: all of one field of view, or none."""
    step = FIELD_SMALLER // SMALLER
    greys = [np.asarray(photo.image.convert("L").reduce(step), np.float64) / 255 for photo in photos]
    fields = list(range(len(photos)))
    for one, other in overlapping(np.stack(greys)):
        fields = [fields[one] if field == fields[other] else field for field in fields]
    order = {field: place for place, field in enumerate(dict.fromkeys(fields))}
    return [order[field] % 9 in TEST_FIELDS for field in fields]


def overlapping(greys: NDArray[np.float64]) -> Iterator[tuple[int, int]]:
    """Pairs of photographs [N, H, W] that correlate in what they share, shifted by any number of px."""
    height, width = greys.shape[1:]
    size = (2 * height, 2 * width)
    images, squares = np.fft.rfft2(greys, size), np.fft.rfft2(greys**2, size)
    frame = np.fft.rfft2(np.ones((height, width)), size)
    shared = np.fft.irfft2(frame.conj() * frame, size)
    enough = shared > SHARED * height * width

    def mean(product: NDArray[np.complex128]) -> NDArray[np.float64]:
        found: NDArray[np.float64] = np.fft.irfft2(product, size)[..., enough] / shared[enough]
        return found

    fixed, moved = mean(images.conj() * frame), mean(frame.conj() * images)
    fixed_variance = mean(squares.conj() * frame) - fixed**2
    moved_variance = mean(frame.conj() * squares) - moved**2
    for one in range(len(greys) - 1):
        covariance = mean(images[one].conj() * images[one + 1 :]) - fixed[one] * moved[one + 1 :]
        variances = np.maximum(fixed_variance[one] * moved_variance[one + 1 :], 1e-5)
        alike = (covariance / np.sqrt(variances)).max(axis=1)
        yield from ((one, one + 1 + int(other)) for other in np.flatnonzero(alike > SAME_FIELD))


def cut(photo: Photo) -> Iterator[tuple[str, Image.Image, list[Label], float]]:
    """Tiles of a photograph: file name, pixels, labels, and the part that is stained but in no box."""
    unlabelled = photo.unlabelled()
    rows, columns = photo.image.height // TILE, photo.image.width // TILE
    top, left = (photo.image.height - rows * TILE) // 2, (photo.image.width - columns * TILE) // 2
    for row, column in np.ndindex(rows, columns):
        x, y = left + column * TILE, top + row * TILE
        cut_boxes = ((kind, in_tile(box, x, y)) for kind, box in photo.boxes)
        labels = [Label(kind, box) for kind, box in cut_boxes if box is not None]
        tile = photo.image.crop((x, y, x + TILE, y + TILE))
        share = float(unlabelled[y : y + TILE, x : x + TILE].mean())
        yield f"{photo.name}-{row}{column}.png", tile, labels, share


def in_tile(box: Box, left: float = 0.0, top: float = 0.0) -> Box | None:
    """A box in the px of the tile that begins there, cut at its edges; None where too little is left."""
    corners = np.array(box) - (left, top, left, top)
    x1, y1, x2, y2 = (float(side) for side in np.clip(corners, 0, TILE))
    if (x2 - x1) * (y2 - y1) < LEAST_LEFT * (box[2] - box[0]) * (box[3] - box[1]):
        return None
    return x1, y1, x2, y2


def write_synthetic(folder: Path, count: int, seed: int) -> None:
    """Drawn images and what was drawn."""
    (folder / "synthetic").mkdir()
    known = []
    for number in range(count):
        image, labels = draw_image(np.random.default_rng((seed, number)))
        file = f"{number:05d}.png"
        image.save(folder / "synthetic" / file)
        known.append((file, labels))
    write_coco(folder / "synthetic" / "annotations.json", known)


def draw_image(rng: np.random.Generator) -> tuple[Image.Image, list[Label]]:
    """One image: cells strewn about, red ones below, white ones above them, platelets on top."""
    paper = 243 + int(rng.integers(-2, 3))
    image = Image.new("RGB", (FINER * TILE, FINER * TILE), (paper, paper - 1, paper - 3))
    draw = ImageDraw.Draw(image)
    cells: list[Cell] = []
    for population in POPULATIONS:
        strew(rng, population, cells)
    cells.sort(key=lambda cell: KINDS.index(cell.kind))
    for cell in cells:
        for points, colour in cell.layers:
            draw.polygon([(FINER * x, FINER * y) for x, y in points], fill=colour)
    labels = [label for cell in cells if (label := label_of(cell)) is not None]
    return image.reduce(FINER), labels


def strew(rng: np.random.Generator, population: Population, cells: list[Cell]) -> None:
    """Add cells of one kind, some of which begin outside of the tile; what finds no room stays away."""
    reach = population.most_radius
    share = (TILE + 2 * reach) ** 2 / PHOTO_PX
    density = rng.gamma(population.spread**-2, population.spread**2) * population.per_photo
    nearest = rng.uniform(*population.nearest)
    for _ in range(rng.poisson(density * share)):
        for _attempt in range(10):
            x, y = rng.uniform(-reach, TILE + reach, size=2)
            cell = DRAWN[population.kind](rng, float(x), float(y))
            gaps = ((np.hypot(x - other.middle[0], y - other.middle[1]), other.radius) for other in cells)
            if all(gap >= nearest * (cell.radius + radius) for gap, radius in gaps):
                cells.append(cell)
                break


def red_cell(rng: np.random.Generator, x: float, y: float) -> Cell:
    """A disc with a rim, mostly with a paler middle."""
    radius, longer = rng.normal(16.5, 1.6), 1 + min(rng.exponential(0.2), 0.7)
    turn = rng.uniform(0, np.pi)
    middle = rng.uniform(0.3, 0.6) if rng.random() < 0.75 else 0.0
    shades: tuple[tuple[float, Colour], ...] = (
        (1.0, (205, 128, 132)),
        (0.93, (221, 150, 152)),
        (middle, (239, 203, 202)),
    )
    layers = tuple(
        (ellipse(x, y, scale * radius * longer**0.5, scale * radius / longer**0.5, turn), colour)
        for scale, colour in shades
        if scale
    )
    return Cell("RBC", (x, y), float(radius), layers)


def white_cell(rng: np.random.Generator, x: float, y: float) -> Cell:
    """A pale body and a nucleus: lobes along an arc, or one that almost fills a smaller cell."""
    lobed = rng.random() < 0.7
    radius = rng.uniform(28, 38) if lobed else rng.uniform(19, 30)
    body = ellipse(x, y, radius, radius * rng.uniform(0.88, 1.0), rng.uniform(0, np.pi))
    layers: list[tuple[Points, Colour]] = [(body, (226, 213, 233))]
    turns = rng.uniform(0, 2 * np.pi) + 1.05 * np.arange(rng.integers(2, 6) if lobed else 1)
    for turn in turns:
        right, down = (0.42 if lobed else 0.05) * radius * np.array((np.cos(turn), np.sin(turn)))
        size = radius * (rng.uniform(0.3, 0.4) if lobed else rng.uniform(0.72, 0.9))
        lobe = ellipse(x + right, y + down, size, size * rng.uniform(0.75, 1.0), rng.uniform(0, np.pi))
        layers.append((lobe, (118, 78, 172)))
    return Cell("WBC", (x, y), float(radius), tuple(layers))


def platelet(rng: np.random.Generator, x: float, y: float) -> Cell:
    """A small purple spot."""
    radius = rng.uniform(4.6, 7.0)
    outline = ellipse(x, y, radius, radius * rng.uniform(0.75, 1.0), rng.uniform(0, np.pi))
    return Cell("Platelets", (x, y), float(radius), ((outline, (158, 118, 190)),))


DRAWN: Final = {"RBC": red_cell, "WBC": white_cell, "Platelets": platelet}


def ellipse(x: float, y: float, one: float, other: float, turn: float) -> Points:
    """Its middle, half axes and by how much the first is turned, radians."""
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    along, across = one * np.cos(angles), other * np.sin(angles)
    right = along * np.cos(turn) - across * np.sin(turn)
    down = along * np.sin(turn) + across * np.cos(turn)
    return np.stack([x + right, y + down], axis=1)


def label_of(cell: Cell) -> Label | None:
    """Its box as annotators would draw it, and its outline, both cut at the edges of the tile."""
    outline = cell.layers[0][0]
    x1, y1 = (float(side) for side in outline.min(axis=0) - ANNOTATORS_MARGIN)
    x2, y2 = (float(side) for side in outline.max(axis=0) + ANNOTATORS_MARGIN)
    box = in_tile((x1, y1, x2, y2))
    if box is None:
        return None
    corners = dict.fromkeys((round(float(x), 2), round(float(y), 2)) for x, y in np.clip(outline, 0, TILE))
    return Label(cell.kind, box, tuple(side for corner in corners for side in corner))


def write_coco(path: Path, images: Sequence[tuple[str, Sequence[Label]]]) -> None:
    """Labels by file name; one line on what was written."""
    entries = [
        {"id": number, "file_name": file, "width": TILE, "height": TILE}
        for number, (file, _) in enumerate(images, 1)
    ]
    labels = [(number, label) for number, (_, found) in enumerate(images, 1) for label in found]
    annotations = [annotation(number, image, label) for number, (image, label) in enumerate(labels, 1)]
    categories = [{"id": number, "name": kind} for number, kind in enumerate(KINDS, 1)]
    document = {"images": entries, "annotations": annotations, "categories": categories}
    path.write_text(json.dumps(document) + "\n", encoding="utf-8")
    counts = Counter(label.kind for _, label in labels)
    print(f"{path}: {len(images)} images, " + ", ".join(f"{counts[kind]} {kind}" for kind in KINDS))


def annotation(number: int, image: int, label: Label) -> dict[str, object]:
    """One entry of a COCO file."""
    x1, y1, x2, y2 = (round(side, 2) for side in label.box)
    width, height = round(x2 - x1, 2), round(y2 - y1, 2)
    return {
        "id": number,
        "image_id": image,
        "category_id": KINDS.index(label.kind) + 1,
        "bbox": [x1, y1, width, height],
        "area": round(_area(label.outline) if label.outline else width * height, 2),
        "segmentation": [list(label.outline)] if label.outline else [],
        "iscrowd": 0,
    }


def _area(outline: Sequence[float]) -> float:
    """Of a polygon, px²."""
    x, y = np.array(outline[0::2]), np.array(outline[1::2])
    return float(abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2)


if __name__ == "__main__":
    main()

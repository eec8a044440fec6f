"""Makes a set in colour with classes, drawn road signs against photographs of them, to try the defaults on.

    python tests/benchmarks/road_signs.py GTSRB signs                 # an empty folder, or none yet
    simtrue-train fit --synthetic signs/synthetic.npz --real signs/real.npz --labels signs/task.toml
    simtrue-train evaluate runs/00001-default --task signs/task.toml

GTSRB is the folder with Final_Training and Final_Test of the German Traffic Sign Recognition Benchmark
(Stallkamp et al., Neural Networks 2012). Of its 43 classes those 20 are taken that a few lines draw. Photos
of 24 px or more are averaged or stretched to 32x32 px; of the 30 that show one sign on the way to it every
fifth is learnt from. The simulator is naive on purpose: flat colours, plain ground, no light, no blur, no
grain, every class as frequent as any other. The same seed writes the same bytes.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from math import cos, pi, sin
from pathlib import Path
from typing import Final

import numpy as np
from drawn_set import checked, parser_of
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

SIDE: Final = 32
FINER: Final = 8
FACE: Final = 256
"""Side of a sign as it is drawn first, px."""
LEAST_SIDE: Final = 24
EVERY: Final = 5
TESTED: Final = 3000
RED, BLUE, YELLOW = (200, 16, 30), (0, 80, 170), (255, 200, 0)
WHITE, BLACK, GREY = (255, 255, 255), (20, 20, 20), (120, 120, 120)
GROUNDS: Final = (
    (150, 190, 235),
    (120, 120, 120),
    (70, 110, 50),
    (120, 90, 60),
    (220, 220, 225),
    (50, 55, 60),
)

Colour = tuple[int, int, int]
Painter = ImageDraw.ImageDraw

TASK = """\
# Road signs, 32x32 px in colour: which of 20.
kind = "classification"
labels = "synthetic.npz:label"
regions = "synthetic.npz:boxes"

[test]
images = "test.npz:images"
labels = "test.npz:label"

[upper_bound]
images = "real.npz:images"
labels = "real_labels.npz:label"
"""


def main() -> None:
    """Write synthetic.npz, real.npz, real_labels.npz, test.npz and task.toml."""
    parser = parser_of(__doc__, "the folder with Final_Training and Final_Test", 6000)
    arguments = checked(parser, "Final_Test/GT-final_test.csv", "GTSRB")
    folder: Path = arguments.folder
    folder.mkdir(parents=True, exist_ok=True)
    write_synthetic(folder, arguments.count, arguments.seed)
    write_real(arguments.photos, folder)
    (folder / "task.toml").write_text(TASK, "utf-8")


def write_synthetic(folder: Path, count: int, seed: int) -> None:
    """Draw the synthetic half: images [N, 32, 32, 3], label [N], boxes [N, 4]."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, len(FACES), count)
    drawn = [draw_image(rng, int(label)) for label in labels]
    images = np.stack([image for image, _ in drawn])
    boxes = np.array([box for _, box in drawn], np.float32)
    np.savez_compressed(folder / "synthetic.npz", images=images, label=labels, boxes=boxes)


def draw_image(
    rng: np.random.Generator, label: int
) -> tuple[NDArray[np.uint8], tuple[float, float, float, float]]:
    """One sign on plain ground, a little turned, tilted, and out of the middle; and its box, px."""
    face = Image.new("RGBA", (FACE, FACE), (0, 0, 0, 0))
    list(FACES.values())[label](ImageDraw.Draw(face))
    radius = rng.uniform(11.0, 13.5) * FINER
    x, y = (SIDE / 2 * FINER + rng.uniform(-1.5, 1.5, 2) * FINER).tolist()
    turn, wide, slope = rng.uniform(-0.1, 0.1), rng.uniform(0.85, 1.0), rng.uniform(-0.08, 0.08)
    # From the face's coordinates around its middle to those of the image: turned, narrowed, sheared.
    forward = np.array([[cos(turn), -sin(turn)], [sin(turn), cos(turn)]]) @ [[wide, 0.0], [slope, 1.0]]
    forward *= radius / (FACE / 2)
    back = np.linalg.inv(forward)
    shift = np.array([FACE / 2, FACE / 2]) - back @ [x, y]
    coefficients = (*back[0], shift[0], *back[1], shift[1])
    large = (SIDE * FINER, SIDE * FINER)
    placed = face.transform(large, Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR)
    ground = Image.new("RGBA", large, (*GROUNDS[rng.integers(len(GROUNDS))], 255))
    ground.alpha_composite(placed)
    bounds = placed.getchannel("A").getbbox()
    assert bounds is not None, "every face is drawn"
    left, top, right, bottom = (value / FINER for value in bounds)
    image = ground.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX)
    return np.asarray(image), (left, top, right, bottom)


def write_real(photos: Path, folder: Path) -> None:
    """Copy the real halves: unlabelled, its labels apart for the upper bound, and the test."""
    kinds = {number: index for index, number in enumerate(FACES)}
    images, labels = [], []
    for number, index in kinds.items():
        place = photos / "Final_Training" / "Images" / f"{number:05d}"
        for row in rows(place / f"GT-{number:05d}.csv"):
            if int(row["Filename"].split("_")[1].split(".")[0]) % EVERY == 0 and is_large(row):
                images.append(photograph(place / row["Filename"]))
                labels.append(index)
    order = np.random.default_rng(0).permutation(len(images))
    np.savez_compressed(folder / "real.npz", images=np.stack(images)[order])
    np.savez_compressed(folder / "real_labels.npz", label=np.array(labels)[order])
    place = photos / "Final_Test" / "Images"
    tested = [
        row for row in rows(photos / "Final_Test" / "GT-final_test.csv") if int(row["ClassId"]) in kinds
    ]
    tested = [row for row in tested if is_large(row)]
    chosen = np.random.default_rng(0).permutation(len(tested))[:TESTED]
    np.savez_compressed(
        folder / "test.npz",
        images=np.stack([photograph(place / tested[i]["Filename"]) for i in chosen]),
        label=np.array([kinds[int(tested[i]["ClassId"])] for i in chosen]),
    )


def rows(path: Path) -> Iterator[dict[str, str]]:
    """The lines of a table of the benchmark."""
    with path.open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file, delimiter=";")


def is_large(row: dict[str, str]) -> bool:
    """Whether a photograph has pixels enough."""
    return min(int(row["Width"]), int(row["Height"])) >= LEAST_SIDE


def photograph(path: Path) -> NDArray[np.uint8]:
    """uint8 [32, 32, 3]."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX))


def circle(painter: Painter, radius: float, colour: Colour) -> None:
    """A disc around the middle; radius 1 touches the border."""
    middle = FACE / 2
    reach = radius * middle - 1
    painter.ellipse((middle - reach, middle - reach, middle + reach, middle + reach), colour)


def polygon(painter: Painter, corners: int, radius: float, turn: float, colour: Colour) -> None:
    """A regular polygon around the middle, its first corner at `turn` of a circle from the right."""
    middle = FACE / 2
    angles = [2 * pi * (turn + corner / corners) for corner in range(corners)]
    reach = radius * middle - 1
    painter.polygon([(middle + reach * cos(a), middle + reach * sin(a)) for a in angles], colour)


def text(painter: Painter, words: str, size: int, colour: Colour) -> None:
    """Words in the middle."""
    painter.text(
        (FACE / 2, FACE / 2), words, colour, ImageFont.load_default(size), anchor="mm", stroke_width=4
    )


def arrow(painter: Painter, *points: tuple[int, int]) -> None:
    """A white line through points, with a head at its end."""
    painter.line(points, WHITE, 30, joint="curve")
    (x0, y0), (x1, y1) = points[-2:]
    length = ((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5
    along = np.array([x1 - x0, y1 - y0]) / length
    across = np.array([-along[1], along[0]])
    tip = np.array([x1, y1])
    head = [tip + 45 * along, tip + 45 * across - 10 * along, tip - 45 * across - 10 * along]
    painter.polygon([(float(x), float(y)) for x, y in head], WHITE)


def limit(number: int) -> Callable[[Painter], None]:
    """A speed limit."""

    def paint(painter: Painter) -> None:
        no_vehicles(painter)
        text(painter, str(number), 128 if number < 100 else 96, BLACK)

    return paint


def no_vehicles(painter: Painter) -> None:
    """A red ring."""
    circle(painter, 1.0, RED)
    circle(painter, 0.76, WHITE)


def no_entry(painter: Painter) -> None:
    """A white bar on red."""
    circle(painter, 1.0, RED)
    painter.rectangle((40, 104, 216, 152), WHITE)


def stop(painter: Painter) -> None:
    """An octagon with a word."""
    polygon(painter, 8, 1.0, 1 / 16, WHITE)
    polygon(painter, 8, 0.94, 1 / 16, RED)
    text(painter, "STOP", 78, WHITE)


def give_way(painter: Painter) -> None:
    """A triangle on its tip."""
    polygon(painter, 3, 1.0, 1 / 4, RED)
    polygon(painter, 3, 0.6, 1 / 4, WHITE)


def caution(painter: Painter) -> None:
    """A triangle with an exclamation mark."""
    polygon(painter, 3, 1.0, 3 / 4, RED)
    polygon(painter, 3, 0.66, 3 / 4, WHITE)
    painter.rectangle((117, 88, 139, 142), BLACK)
    painter.ellipse((115, 150, 141, 176), BLACK)


def priority(painter: Painter) -> None:
    """A yellow square on its tip."""
    polygon(painter, 4, 1.0, 0, WHITE)
    polygon(painter, 4, 0.72, 0, YELLOW)


def no_limits(painter: Painter) -> None:
    """The end of all limits: bars across."""
    circle(painter, 1.0, BLACK)
    circle(painter, 0.94, WHITE)
    for shift in (-36, -12, 12, 36):
        painter.line((60 + shift, 196 + shift // 2, 196 + shift, 60 + shift // 2), GREY, 10)


def ordered(*points: tuple[int, int]) -> Callable[[Painter], None]:
    """An arrow on blue."""

    def paint(painter: Painter) -> None:
        circle(painter, 1.0, WHITE)
        circle(painter, 0.95, BLUE)
        arrow(painter, *points)

    return paint


FACES: Final[dict[int, Callable[[Painter], None]]] = {
    0: limit(20),
    1: limit(30),
    2: limit(50),
    3: limit(60),
    4: limit(70),
    5: limit(80),
    7: limit(100),
    8: limit(120),
    12: priority,
    13: give_way,
    14: stop,
    15: no_vehicles,
    17: no_entry,
    18: caution,
    32: no_limits,
    33: ordered((104, 206), (104, 128), (160, 128)),
    34: ordered((152, 206), (152, 128), (96, 128)),
    35: ordered((128, 206), (128, 90)),
    38: ordered((80, 70), (160, 160)),
    39: ordered((176, 70), (96, 160)),
}
"""By the benchmark's number of the class; the labels here are their places in this table."""


if __name__ == "__main__":
    main()

"""Makes a set in colour with keypoints, drawn faces against frames of videos, to try the defaults on.

    git clone https://github.com/udacity/P1_Facial_Keypoints
    python tests/benchmarks/faces.py P1_Facial_Keypoints faces                # an empty folder, or none yet
    simtrue-train fit --synthetic faces/synthetic.npz --real faces/real.npz --labels faces/task.toml
    simtrue-train evaluate runs/00001-default --task faces/task.toml

The frames are from YouTube Faces (Wolf, Hassner and Maoz, CVPR 2011), which its authors give to research; the
repository that holds them with 68 points each says MIT of itself. Of those points five are taken: the eyes'
middles, the nose's tip, the mouth's corners. The middle of a frame, where its detector saw the face, is
averaged to 64x64 px, so no label is needed for the window. They are divided by person: nobody is in both
halves. The simulator is naive on purpose: an ellipsoid for a head, flat colours, no light, no blur, no grain,
a plain ground; place and size of its heads were corrected once, by the mean points of real faces. The same
seed writes the same bytes.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from math import cos, pi, sin
from pathlib import Path
from typing import Final

import numpy as np
from drawn_set import checked, parser_of
from numpy.typing import NDArray
from PIL import Image, ImageDraw

SIDE: Final = 64
FINER: Final = 6
WINDOW: Final = 0.75
"""Side of what is cut out of a frame, over its shorter side."""
EVERY: Final = 4
"""Of so many people one is tested on."""
POINTS: Final = (range(36, 42), range(42, 48), (30,), (48,), (54,))
"""Which of the 68 points are averaged: eyes, nose, corners of the mouth, each as it lies in the image."""
HEAD: Final = np.array([1.0, 1.3, 1.0])
"""Half axes of a head: right, down, towards the viewer."""
SKINS: Final = (
    (236, 188, 160),
    (222, 168, 138),
    (205, 150, 120),
    (172, 116, 84),
    (122, 80, 58),
    (88, 58, 44),
)
HAIRS: Final = ((30, 24, 22), (60, 40, 28), (104, 70, 42), (186, 150, 92), (150, 146, 142), (120, 52, 30))
LIPS: Final = (168, 72, 72)
WHITE, BLACK = (235, 232, 228), (18, 16, 16)

Colour = tuple[int, int, int]
Painter = ImageDraw.ImageDraw
Floats = NDArray[np.float64]

TASK = """\
# Faces, 64x64 px in colour: the eyes' middles, the nose's tip, the mouth's corners.
kind = "keypoints"
labels = "synthetic.npz:keypoints"

[test]
images = "test.npz:images"
labels = "test.npz:keypoints"

[upper_bound]
images = "real.npz:images"
labels = "real_labels.npz:keypoints"
"""


@dataclass(frozen=True, eq=False)
class Pose:
    """Where a head is and how it is turned."""

    turn: Floats
    """[3, 3]: from the head's axes to right, down and towards the viewer."""
    radius: float
    """Of the half axis 1, px."""
    middle: Floats
    """x, y, px."""

    def seen(self, points: Floats) -> Floats:
        """Points [K, 3] of the head's axes to px [K, 2]."""
        placed: Floats = self.middle + self.radius * (points @ self.turn.T)[:, :2]
        return placed

    def on_face(self, flat: Floats, out: float = 0.0) -> Floats:
        """Points [K, 2] (right, down) on the front of the head, or so far before it, to px [K, 2]."""
        inside = np.clip(1 - ((flat / HEAD[:2]) ** 2).sum(axis=1), 0, 1)
        return self.seen(np.column_stack([flat, HEAD[2] * np.sqrt(inside) + out]))

    def outline(self, larger: float = 1.0, up: float = 0.0) -> Floats:
        """The rim of the head as it is seen, or of a larger one moved up, px [K, 2]."""
        half = np.linalg.cholesky((self.turn * HEAD**2) @ self.turn.T)[:2, :2]
        return ring(0, 0, 1, 1) @ half.T * larger * self.radius + self.seen(np.array([[0, -up, 0]]))


def main() -> None:
    """Write synthetic.npz, real.npz, real_labels.npz, test.npz and task.toml."""
    parser = parser_of(__doc__, "a clone of udacity/P1_Facial_Keypoints", 5000)
    arguments = checked(parser, "data/training_frames_keypoints.csv", "clone of P1_Facial_Keypoints")
    folder: Path = arguments.folder
    folder.mkdir(parents=True, exist_ok=True)
    drawn = [draw_image(np.random.default_rng((arguments.seed, number))) for number in range(arguments.count)]
    write(folder / "synthetic.npz", drawn)
    learnt, tested = divided(arguments.photos / "data")
    np.savez_compressed(folder / "real.npz", images=np.stack([image for image, _ in learnt]))
    np.savez_compressed(folder / "real_labels.npz", keypoints=np.stack([points for _, points in learnt]))
    write(folder / "test.npz", tested)
    (folder / "task.toml").write_text(TASK, "utf-8")
    print(f"{len(drawn)} drawn, {len(learnt)} real, {len(tested)} for the test")


def write(path: Path, entries: list[tuple[NDArray[np.uint8], NDArray[np.float32]]]) -> None:
    """images [N, 64, 64, 3] and keypoints [N, 5, 2]."""
    images, keypoints = zip(*entries, strict=True)
    np.savez_compressed(path, images=np.stack(images), keypoints=np.stack(keypoints))


def divided(data: Path) -> tuple[list[tuple[NDArray[np.uint8], NDArray[np.float32]]], ...]:
    """Frames that are learnt from and those that are tested on."""
    frames = sorted(frames_of(data))
    people = {person: place for place, person in enumerate(dict.fromkeys(person for person, _, _ in frames))}
    halves: tuple[list[tuple[NDArray[np.uint8], NDArray[np.float32]]], ...] = ([], [])
    for person, path, points in frames:
        entry = photograph(path, np.array(points))
        if entry is not None:
            halves[people[person] % EVERY == 0].append(entry)
    return halves


def frames_of(data: Path) -> Iterator[tuple[str, Path, list[float]]]:
    """Person, file and x, y, x, y, … of all frames."""
    for half in ("training", "test"):
        with (data / f"{half}_frames_keypoints.csv").open(encoding="utf-8", newline="") as file:
            for name, *numbers in list(csv.reader(file))[1:]:
                yield name.rsplit("_", 1)[0], data / half / name, [float(number) for number in numbers]


def photograph(path: Path, numbers: Floats) -> tuple[NDArray[np.uint8], NDArray[np.float32]] | None:
    """The middle of a frame and its five points; None where that has too few pixels."""
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    side = round(WINDOW * min(image.size))
    if side < SIDE:
        return None
    left, top = (image.width - side) // 2, (image.height - side) // 2
    window = image.resize((SIDE, SIDE), Image.Resampling.BOX, (left, top, left + side, top + side))
    known = numbers.reshape(-1, 2) + 0.5 - (left, top)
    points = np.stack([known[list(which)].mean(axis=0) for which in POINTS]) * SIDE / side
    return np.asarray(window), points.astype(np.float32)


def draw_image(rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """One head and shoulders on plain ground, and the five points, px."""
    angles = rng.normal(0, (0.35, 0.12, 0.1)).clip(-0.85, 0.85)
    pose = Pose(turned(*angles), rng.uniform(16, 23), np.array([32.5, 29]) + rng.normal(0, 3, 2))
    skin = tinted(rng, SKINS[rng.integers(len(SKINS))], 10)
    hair = tinted(rng, HAIRS[rng.integers(len(HAIRS))], 10)
    image = Image.new("RGB", (SIDE * FINER, SIDE * FINER), any_colour(rng))
    painter = ImageDraw.Draw(image)
    if rng.random() < 0.5:
        edge = FINER * SIDE * rng.uniform(0.1, 0.9)
        painter.rectangle((0, 0, edge, FINER * SIDE), any_colour(rng))
    draw_body(rng, painter, pose, skin)
    draw_head(rng, painter, pose, skin, hair)
    points = np.concatenate(
        [draw_eyes(rng, painter, pose, hair), draw_nose(painter, pose, skin), draw_mouth(rng, painter, pose)]
    )
    return np.asarray(image.reduce(FINER)), points.astype(np.float32)


def draw_body(rng: np.random.Generator, painter: Painter, pose: Pose, skin: Colour) -> None:
    """Shoulders, a collar and a neck, which do not turn with the head."""
    x, y = pose.middle
    wide, high = pose.radius * rng.uniform(2.0, 2.7), pose.radius * rng.uniform(1.5, 1.7)
    fill(painter, ring(x, y + high + 2 * pose.radius, wide, 2 * pose.radius), any_colour(rng))
    neck, reach = 0.55 * pose.radius, high + rng.uniform(0.4, 0.9) * pose.radius
    collar = np.array([(-1.5 * neck, high), (1.5 * neck, high), (0, reach + pose.radius)])
    if rng.random() < 0.6:
        fill(painter, pose.middle + collar, any_colour(rng) if rng.random() < 0.4 else WHITE)
    corners = np.array([(-neck, 0), (neck, 0), (neck, high), (0, reach), (-neck, high)])
    fill(painter, pose.middle + corners, darker(skin, 0.86))


def draw_head(rng: np.random.Generator, painter: Painter, pose: Pose, skin: Colour, hair: Colour) -> None:
    """Hair behind the face, the face, a beard or none, and hair over the forehead."""
    bald = rng.random() < 0.12
    if not bald:
        if rng.random() < 0.35:
            x, y = pose.middle
            long = pose.radius * rng.uniform(1.2, 1.9)
            fill(painter, ring(x, y + 0.35 * long, 1.25 * pose.radius, long), darker(hair, 0.85))
        fill(painter, pose.outline(rng.uniform(1.06, 1.2), rng.uniform(0.1, 0.25)), hair)
    for side in (-1, 1):
        ear = pose.seen(np.array([[side * 1.0, 0.05, 0.0]]))[0]
        fill(painter, ring(*ear, 0.16 * pose.radius, 0.26 * pose.radius), darker(skin, 0.9))
    fill(painter, pose.outline(), skin)
    if rng.random() < 0.15:
        fill(painter, pose.on_face(ring(0, 0.8, 0.55, 0.36)), hair)
        fill(painter, pose.on_face(ring(0, 0.72, 0.36, 0.14)), skin)
    if not bald:
        low, parting = rng.uniform(-0.85, -0.55), rng.uniform(-0.5, 0.5)
        across = np.linspace(-0.98, 0.98, 24)
        line = low + 0.5 * (across - parting) ** 2 - 0.1
        top = -1.3 * np.sqrt(np.clip(1 - across**2, 0, 1))
        fringe = np.column_stack([across, np.maximum(np.minimum(line, 0.0), top)])
        rim = pose.outline(1.02, 0.03)
        above = rim[(rim - pose.on_face(np.array([[0, low]])))[:, 1] < 0]
        fill(painter, np.concatenate([pose.on_face(fringe), above[np.argsort(-above[:, 0])]]), hair)


def draw_eyes(rng: np.random.Generator, painter: Painter, pose: Pose, hair: Colour) -> Floats:
    """Eyes, brows and now and then glasses; the eyes' middles, px [2, 2]."""
    apart, open_, look = rng.uniform(0.36, 0.44), rng.uniform(0.04, 0.1), rng.uniform(-0.06, 0.06)
    iris = ((70, 48, 30), (60, 84, 104), (30, 22, 18))[rng.integers(3)]
    glasses = rng.random() < 0.15
    for side in (-1, 1):
        x, y = side * apart, -0.12
        brow = np.array([(x - 0.2, y - 0.2), (x, y - 0.27), (x + 0.2, y - 0.2), (x, y - 0.2)])
        fill(painter, pose.on_face(brow), darker(hair, 0.9))
        fill(painter, pose.on_face(ring(x, y, 0.18, open_ + 0.03)), BLACK)
        fill(painter, pose.on_face(ring(x, y, 0.16, open_)), WHITE)
        fill(painter, pose.on_face(ring(x + look, y, 0.08, min(0.08, open_))), iris)
        if glasses:
            frame = pose.on_face(ring(x, y + 0.03, 0.27, 0.2), 0.08)
            painter.line([*scaled(frame), scaled(frame)[0]], BLACK, FINER)
    return pose.on_face(np.array([(-apart, -0.12), (apart, -0.12)]))


def draw_nose(painter: Painter, pose: Pose, skin: Colour) -> Floats:
    """A nose that stands out; its tip, px [1, 2]."""
    root, tip = pose.on_face(np.array([(0.0, -0.1)]), 0.05), pose.on_face(np.array([(0.0, 0.3)]), 0.3)
    wings = pose.on_face(np.array([(-0.18, 0.36), (0.18, 0.36)]), 0.05)
    below = pose.on_face(np.array([(0.0, 0.42)]), 0.1)
    fill(painter, np.concatenate([root, wings[:1], below, wings[1:]]), darker(skin, 0.9))
    fill(painter, np.concatenate([root, wings[:1] * 0.4 + tip * 0.6, tip, wings[1:] * 0.4 + tip * 0.6]), skin)
    for nostril in pose.on_face(np.array([(-0.09, 0.4), (0.09, 0.4)]), 0.1):
        fill(painter, ring(*nostril, 0.06 * pose.radius, 0.035 * pose.radius), darker(skin, 0.45))
    return tip


def draw_mouth(rng: np.random.Generator, painter: Painter, pose: Pose) -> Floats:
    """Lips, closed or showing teeth; the corners, px [2, 2]."""
    wide, smile, gap = rng.uniform(0.26, 0.36), rng.uniform(-0.02, 0.1), max(0.0, rng.normal(0.0, 0.08))
    across = np.linspace(-1, 1, 15)
    middle = 0.7 - smile * across**2
    bow = 1 - across**2

    def lips(up: float, down: float) -> Floats:
        upper, lower = middle - up * bow, middle + down * bow
        return np.column_stack([np.append(wide * across, wide * across[::-1]), np.append(upper, lower[::-1])])

    fill(painter, pose.on_face(lips(0.08, 0.1 + gap)), tinted(rng, LIPS, 18))
    fill(painter, pose.on_face(lips(0.0, 0.02 + gap)), WHITE if gap > 0.05 else (90, 36, 36))
    return pose.on_face(np.array([(-wide, middle[0]), (wide, middle[-1])]))


def turned(yaw: float, pitch: float, roll: float) -> Floats:
    """The rotation [3, 3] of a head, radians: to the right, down, and to a shoulder."""
    about_y = np.array([(cos(yaw), 0, sin(yaw)), (0, 1, 0), (-sin(yaw), 0, cos(yaw))])
    about_x = np.array([(1, 0, 0), (0, cos(pitch), sin(pitch)), (0, -sin(pitch), cos(pitch))])
    about_z = np.array([(cos(roll), -sin(roll), 0), (sin(roll), cos(roll), 0), (0, 0, 1)])
    turn: Floats = about_z @ about_x @ about_y
    return turn


def ring(x: float, y: float, wide: float, high: float) -> Floats:
    """Points [40, 2] of an ellipse with these half axes."""
    angles = np.linspace(0, 2 * pi, 40, endpoint=False)
    return np.column_stack([x + wide * np.cos(angles), y + high * np.sin(angles)])


def fill(painter: Painter, points: Floats, colour: Colour) -> None:
    """A polygon, px [K, 2] of the image."""
    painter.polygon(scaled(points), colour)


def scaled(points: Floats) -> list[tuple[float, float]]:
    """Px of the image to those of the finer one that is drawn on, whose pixels' middles are whole."""
    return [(FINER * float(x) - 0.5, FINER * float(y) - 0.5) for x, y in points]


def any_colour(rng: np.random.Generator) -> Colour:
    """Of clothes and grounds: any, dark ones more often."""
    red, green, blue = (255 * rng.random() ** 1.3 * rng.uniform(0.4, 1.0, 3)).astype(int)
    return int(red), int(green), int(blue)


def tinted(rng: np.random.Generator, colour: Colour, spread: float) -> Colour:
    """A colour near this one."""
    red, green, blue = np.clip(np.array(colour) + rng.normal(0, spread, 3), 0, 255).astype(int)
    return int(red), int(green), int(blue)


def darker(colour: Colour, part: float) -> Colour:
    """So much of a colour."""
    red, green, blue = (round(part * value) for value in colour)
    return red, green, blue


if __name__ == "__main__":
    main()

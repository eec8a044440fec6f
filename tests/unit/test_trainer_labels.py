"""Labels and task files from outside: what is read, how it follows the images, and what is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from trainer.errors import ConfigError, DataError
from trainer.labels.index import ImageIndex, index_images
from trainer.labels.labels import Labels, labels_of
from trainer.labels.masks import polygon_mask, run_length_mask
from trainer.labels.reading import Meaning, read_labels
from trainer.labels.regions import regions_of
from trainer.labels.task import Task, load_lesson, load_task, read_task_file
from trainer.sources import Reading, Source, parse_source

Pixels = NDArray[Any]
PLAIN = Reading()


def folder(
    path: Path, names: tuple[str, ...] = ("a.png", "b.png"), size: tuple[int, int] = (8, 10)
) -> Source:
    for name in names:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros(size, np.uint8)).save(path / name)
    return parse_source("synthetic", str(path))


def npz(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def coco(path: Path, annotations: list[dict[str, Any]], names: tuple[str, ...] = ("b.png", "a.png")) -> Path:
    images = [{"id": place, "file_name": name} for place, name in enumerate(names)]
    document = {"images": images, "annotations": annotations, "categories": [{"id": 7, "name": "seven"}]}
    path.write_text(json.dumps(document))
    return path


def index(tmp_path: Path) -> ImageIndex:
    return index_images(folder(tmp_path / "images"))


def test_minus_one_and_nan_are_no_box() -> None:
    boxes = np.array([[[1, 2, 3, 4], [-1, -1, -1, -1]], [[np.nan] * 4, [0, 0, 0, 0]]])
    labels = labels_of("boxes", boxes, "x")
    np.testing.assert_array_equal(np.isfinite(labels.values).all(axis=2), [[True, False], [False, False]])


def test_classes_that_are_no_answer_are_left_out() -> None:
    labels = labels_of("classification", np.array([0, 3, -1, 5]), "x", leave_out=(0,))
    np.testing.assert_array_equal(labels.answers, [False, True, False, True])


@pytest.mark.parametrize(
    ("kind", "array", "words"),
    [
        ("classification", np.zeros((2, 2), int), "classes are [N]"),
        ("classification", np.array([0.5]), "not whole numbers"),
        ("segmentation", np.zeros((2, 4), int), "masks are [N, H, W]"),
        ("segmentation", np.full((1, 2, 2), -1), "holds -1"),
        ("boxes", np.array([[5, 5, 5, 9]]), "box 0 of image 0"),
        ("keypoints", np.zeros((2, 3)), "keypoints are [N, K, 2]"),
        ("regression", np.array([[1.0], [np.inf]]), "the first in row 1"),
        ("regression", np.array(["a"]), "labels are numbers"),
    ],
)
def test_labels_of_a_wrong_form_are_refused_in_one_sentence(kind: Any, array: Pixels, words: str) -> None:
    with pytest.raises(DataError, match=r"^x.*") as refused:
        labels_of(kind, array, "x")
    assert words in str(refused.value)


def test_labels_of_another_number_of_images_are_refused(tmp_path: Path) -> None:
    path = npz(tmp_path / "x.npz", digit=np.arange(3))
    with pytest.raises(DataError, match=r"labels of 3 images.* holds 2"):
        read_labels(f"{path}:digit", Meaning("classification"), index(tmp_path), PLAIN)


def test_geometry_follows_resize_and_crop(tmp_path: Path) -> None:
    """8x10 px, doubled to 16x20, of which the central 8x10 begin at (4, 5)."""
    reading = Reading(resize=(16, 20), crop=(8, 10))
    mask = np.zeros((2, 8, 10), np.uint8)
    mask[:, 3:5, 4:6] = 1
    arrays = {"boxes": np.array([[4, 3, 6, 5], [0, 0, 2, 2]]), "points": np.full((2, 1, 2), (5.0, 4.0))}
    path = npz(tmp_path / "x.npz", **arrays, masks=mask)

    def read(kind: Any, key: str) -> Pixels:
        return read_labels(f"{path}:{key}", Meaning(kind), index(tmp_path), reading).values

    np.testing.assert_allclose(read("boxes", "boxes")[0, 0], [3, 2, 7, 6])
    assert np.isnan(read("boxes", "boxes")[1]).all(), "it was cut off"
    np.testing.assert_allclose(read("keypoints", "points")[0, 0], [5, 4])
    followed = read("segmentation", "masks")[0]
    assert followed.shape == (8, 10)
    assert followed[2:6, 3:7].all()
    assert followed.sum() == 16


def test_points_beside_their_image_are_unknown(tmp_path: Path) -> None:
    """No heat map can answer with them, and many files say -1 of what they do not know."""
    points = np.array([[[0.0, 8.0], [-1.0, -1.0], [10.5, 4.0]], [[10.0, 0.0], [2.0, 8.5], [3.0, 4.0]]])
    path = npz(tmp_path / "x.npz", points=points, far=points + 100)
    values = read_labels(f"{path}:points", Meaning("keypoints"), index(tmp_path), PLAIN).values
    np.testing.assert_array_equal(
        np.isfinite(values).all(axis=2), [[True, False, False], [True, False, True]]
    )
    halved = read_labels(
        f"{path}:points", Meaning("keypoints"), index(tmp_path), Reading(resize=(4, 5))
    ).values
    np.testing.assert_array_equal(halved, values / 2)
    (tmp_path / "task.toml").write_text('kind = "keypoints"\nlabels = "x.npz:far"\n')
    with pytest.raises(DataError, match="has a label to learn from: no point lies in its image"):
        load_lesson(tmp_path / "task.toml", str(tmp_path / "images"), PLAIN)


def test_a_table_is_matched_by_file_name(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("file,yaw,pitch\nb.png,3,4\nother.png,9,9\na.png,1,2\n")
    labels = read_labels(str(tmp_path / "x.csv"), Meaning("regression"), index(tmp_path), PLAIN)
    np.testing.assert_array_equal(labels.values, [[1, 2], [3, 4]])
    assert labels.names == ("yaw", "pitch")
    one = read_labels(f"{tmp_path / 'x.csv'}:pitch", Meaning("classification"), index(tmp_path), PLAIN)
    np.testing.assert_array_equal(one.values, [2, 4])


def test_spaces_and_a_byte_order_mark_in_a_table_mean_nothing(tmp_path: Path) -> None:
    text = "\ufefffile, x1, y1, x2, y2\na.png , 1, 2, 3, 4\nb.png, , , , \n"
    (tmp_path / "x.csv").write_text(text, encoding="utf-8")
    labels = read_labels(str(tmp_path / "x.csv"), Meaning("boxes"), index(tmp_path), PLAIN)
    np.testing.assert_array_equal(labels.values, [[[1, 2, 3, 4]], [[np.nan] * 4]])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name,yaw\na.png,1\n", "no column 'file'"),
        ("file,yaw\na.png,1\n", "says nothing about 1 of the 2"),
        ("file,yaw\na.png,1\nb.png,x\n", "line 3"),
        ("file,yaw\na.png,1\nb.png,2\nb.png,2\n", "2 rows of b.png"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(DataError) as refused:
        read_labels(str(tmp_path / "x.csv"), Meaning("regression"), index(tmp_path), PLAIN)
    assert words in str(refused.value)


def test_coco_is_read_as_each_kind(tmp_path: Path) -> None:
    square = [4.0, 2.0, 8.0, 2.0, 8.0, 6.0, 4.0, 6.0]
    common = {"category_id": 7, "bbox": [4, 2, 4, 4]}
    path = coco(
        tmp_path / "x.json",
        [
            {**common, "image_id": 1, "segmentation": [square], "keypoints": [1, 2, 2, 5, 5, 0]},
            {**common, "image_id": 0, "segmentation": {"size": [8, 10], "counts": [9, 3, 68]},
             "keypoints": [3, 4, 1, 6, 7, 2]},
        ],
    )  # fmt: skip

    def read(kind: Any) -> Labels:
        return read_labels(str(path), Meaning(kind), index(tmp_path), PLAIN)

    np.testing.assert_array_equal(read("boxes").values[:, 0], [[4, 2, 8, 6]] * 2)
    assert read("classification").class_names == {7: "seven"}
    np.testing.assert_array_equal(read("keypoints").values[1], [[3, 4], [6, 7]])
    assert np.isnan(read("keypoints").values[0, 1]).all(), "its visibility is 0"
    masks = read("segmentation").values
    assert masks[0, 2:6, 4:8].all()
    assert masks[0].sum() == 16
    assert masks[1, 1:4, 1].all(), "run lengths go down the columns"
    assert masks[1].sum() == 3


def test_keypoints_pass_over_crowds_as_the_choice_of_the_kind_does(tmp_path: Path) -> None:
    crowd = {"category_id": 7, "bbox": [0, 0, 9, 7], "iscrowd": 1}
    path = coco(
        tmp_path / "x.json",
        [POINTS | ONE, POINTS | TWO, crowd | ONE | {"keypoints": [0] * 6}, crowd | TWO],
    )
    assert read_task_file(path).kind == "keypoints"
    values = read_labels(str(path), Meaning("keypoints"), index(tmp_path), PLAIN).values
    np.testing.assert_array_equal(values[:, 0], [[1, 2]] * 2)


BOX = {"category_id": 1, "bbox": [4, 2, 4, 4]}
MASK = BOX | {"segmentation": [[4.0, 2.0, 8.0, 2.0, 8.0, 6.0]]}
POINTS = BOX | {"keypoints": [1, 2, 2, 5, 5, 0]}
ONE, TWO = {"image_id": 0}, {"image_id": 1}


@pytest.mark.parametrize(
    ("entries", "found"),
    [
        ([MASK | ONE, MASK | ONE], ("segmentation", False)),
        ([MASK | ONE, MASK | TWO | {"category_id": 2}], ("segmentation", True)),
        ([MASK | ONE, BOX | TWO | {"segmentation": []}], ("boxes", False)),
        ([POINTS | ONE, POINTS | TWO], ("keypoints", False)),
        ([POINTS | ONE, POINTS | ONE], ("boxes", False)),
        ([BOX | ONE, MASK | ONE | {"iscrowd": 1}], ("boxes", False)),
    ],
)
def test_what_all_annotations_of_a_coco_file_have_is_what_is_learned(
    tmp_path: Path, entries: list[Any], found: tuple[str, bool]
) -> None:
    path = coco(tmp_path / "x.json", entries)
    file = read_task_file(path)
    assert (file.kind, file.classes) == found
    assert (file.labels, file.test) == ("x.json", None)


def test_training_sees_labels_of_synthetic_images_and_nothing_of_real_ones(tmp_path: Path) -> None:
    task(tmp_path, TASK)
    text = TASK.replace('images = "set.npz:images"', 'images = "nowhere"')
    (tmp_path / "task.toml").write_text(text)
    lesson = load_lesson(tmp_path / "task.toml", f"{tmp_path / 'set.npz'}:images", PLAIN)
    np.testing.assert_array_equal(lesson.labels.values[:, 0], np.arange(4))
    assert not lesson.survives_moves


def test_a_task_may_have_no_real_labels(tmp_path: Path) -> None:
    read = task(tmp_path, TASK.partition("[test]")[0])
    assert read.test is None
    assert read.upper_bound is None
    upper_bound = '[upper_bound]\nimages = "set.npz:images"\nlabels = "set.npz:angle"\n'
    with pytest.raises(ConfigError, match="without a test"):
        task(tmp_path, TASK.partition("[test]")[0] + upper_bound)


def test_an_image_that_coco_does_not_list_is_named(tmp_path: Path) -> None:
    path = coco(tmp_path / "x.json", [], ("a.png",))
    with pytest.raises(DataError, match=r"says nothing about 1 of the 2 .* b\.png"):
        read_labels(str(path), Meaning("boxes"), index(tmp_path), PLAIN)


@pytest.mark.parametrize(
    ("height", "width", "fits"),
    [(8, 10, True), (10, 8, True), (None, None, True), (0, 0, True), (80, 100, False), (8, 9.5, False)],
)
def test_coordinates_in_an_image_of_another_size_are_refused(
    tmp_path: Path, height: float | None, width: float | None, fits: bool
) -> None:
    """As where images were made smaller after they had been annotated."""
    path = coco(tmp_path / "x.json", [POINTS | ONE, POINTS | TWO])
    document = json.loads(path.read_text())
    document["images"][0] |= {"height": height, "width": width}
    path.write_text(json.dumps(document))
    if fits:
        assert len(read_labels(str(path), Meaning("keypoints"), index(tmp_path), PLAIN)) == 2
        return
    with pytest.raises(DataError, match=r"b\.png is [0-9.]+x[0-9.]+ px there, the image itself 8x10"):
        read_labels(str(path), Meaning("keypoints"), index(tmp_path), PLAIN)


@pytest.mark.parametrize("prefix", ["images/", "data/images/", "./", "data\\images\\"])
def test_folders_before_a_name_do_not_matter(tmp_path: Path, prefix: str) -> None:
    box = {"category_id": 7, "bbox": [4, 2, 4, 4], "image_id": 0}
    path = coco(tmp_path / "x.json", [box], (f"{prefix}b.png", f"{prefix}a.png"))
    labels = read_labels(str(path), Meaning("boxes"), index(tmp_path), PLAIN)
    np.testing.assert_array_equal(np.isfinite(labels.values).all(axis=(1, 2)), [False, True])
    (tmp_path / "x.csv").write_text(f"file,yaw\n{prefix}b.png,2\n{prefix}a.png,1\n")
    labels = read_labels(str(tmp_path / "x.csv"), Meaning("regression"), index(tmp_path), PLAIN)
    np.testing.assert_array_equal(labels.values, [[1], [2]])


def test_the_longest_end_of_a_name_that_one_image_alone_has_counts(tmp_path: Path) -> None:
    named = index_images(folder(tmp_path / "images", ("a/x.png", "b/x.png", "c/y.png", "z.png")))
    found = named.places(["all/a/x.png", "all/b/x.png", "y.png", "all/c/y.png", "all/x.png", "none.png"])
    assert found == {"all/a/x.png": 0, "all/b/x.png": 1, "y.png": 2}
    assert named.places(["one/z.png"]) == {"one/z.png": 3}
    assert named.places(["one/z.png", "two/z.png"]) == {}, "either could be meant"
    assert named.places(["one/z.png", "z.png"]) == {"z.png": 3}


def test_names_that_fit_no_image_are_shown_as_the_file_has_them(tmp_path: Path) -> None:
    path = coco(tmp_path / "x.json", [], ("one/a.png", "two/a.png", "a.jpg"))
    with pytest.raises(DataError, match=r"nothing about 2 of the 2 .* a\.png; it names one/a\.png$"):
        read_labels(str(path), Meaning("boxes"), index(tmp_path), PLAIN)
    (tmp_path / "x.csv").write_text("file,yaw\none\\a.png,2\ntwo/a.png,1\n")
    with pytest.raises(DataError, match=r"nothing about 2 of the 2 .* a\.png; it names one\\a\.png$"):
        read_labels(str(tmp_path / "x.csv"), Meaning("regression"), index(tmp_path), PLAIN)


def masks_task(tmp_path: Path, names: dict[int, str], *, test: list[int] | str, used: list[int]) -> Task:
    """Two images: the first `used` categories in rows of one px; test images likewise, or of an array."""

    def write(role: str, numbers: list[int]) -> str:
        rows = [[0, row, 10, row, 10, row + 1, 0, row + 1] for row in range(len(numbers))]
        entries = [
            {"image_id": 1, "category_id": number, "segmentation": [row]}
            for number, row in zip(numbers, rows, strict=True)
        ]
        path = coco(tmp_path / f"{role}.json", entries)
        categories = [{"id": number, "name": name} for number, name in names.items()]
        path.write_text(json.dumps({**json.loads(path.read_text()), "categories": categories}))
        return path.name

    folder(tmp_path / "images")
    labels = test if isinstance(test, str) else write("test", test)
    (tmp_path / "task.toml").write_text(
        f'kind = "segmentation"\nclasses = true\nlabels = "{write("synthetic", used)}"\n'
        f'[test]\nimages = "images"\nlabels = "{labels}"\n'
    )
    return load_task(tmp_path / "task.toml", str(tmp_path / "images"))


COLOURS = {0: "red", 7: "blue", 255: "green"}


def test_categories_become_classes_from_1_on_in_the_order_of_their_ids_in_all_files(tmp_path: Path) -> None:
    read = masks_task(tmp_path, COLOURS, used=[0, 7, 255], test=[255, 0])
    assert read.test is not None
    np.testing.assert_array_equal(read.labels.values[0, :4, 0], [1, 2, 3, 0])
    np.testing.assert_array_equal(read.test.labels.values[0, :4, 0], [3, 1, 0, 0])
    assert read.labels.class_names == {1: "red", 2: "blue", 3: "green"}
    assert read.test.labels.class_names == read.labels.class_names
    assert len(read.regions) == 3


@pytest.mark.parametrize(
    ("names", "used", "classes"),
    [
        ({1: "a", 2: "b", 3: "c"}, [1, 3], [1, 3]),
        ({}, [2, 1], [2, 1]),
        ({0: "things", 1: "a", 2: "b"}, [1, 2], [1, 2]),
        ({0: "Background", 1: "a"}, [0, 1], [0, 1]),
        (dict.fromkeys(range(300), "x"), [4, 2], [2, 1]),
    ],
)
def test_categories_that_are_numbered_from_1_on_are_classes_as_they_are(
    tmp_path: Path, names: dict[int, str], used: list[int], classes: list[int]
) -> None:
    read = masks_task(tmp_path, names, used=used, test=used[:1])
    np.testing.assert_array_equal(read.labels.values[0, : len(used), 0], classes)


def test_a_category_that_no_synthetic_label_has_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"test\.json: .* category 9, which the synthetic labels do not have"):
        masks_task(tmp_path, COLOURS, used=[0, 7], test=[9])
    with pytest.raises(DataError, match=r"test\.json: .* category 0 \(things\), which the synthetic"):
        masks_task(tmp_path, {0: "things", 1: "a", 2: "b"}, used=[1, 2], test=[1, 0])


def test_more_categories_than_masks_can_hold_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"are of 255 categories; masks have at most 254 classes"):
        masks_task(tmp_path, {}, used=list(range(255)), test=[1])


def test_an_array_of_masks_beside_a_coco_file_holds_its_category_ids(tmp_path: Path) -> None:
    masks = np.zeros((2, 8, 10), np.uint8)
    masks[0, :4, 0] = (9, 4, 255, 0)
    npz(tmp_path / "real.npz", masks=masks, odd=masks + 1)
    read = masks_task(tmp_path, {}, used=[4, 9], test="real.npz:masks")
    assert read.test is not None
    np.testing.assert_array_equal(read.test.labels.values[0, :4, 0], [2, 1, 255, 0])
    with pytest.raises(DataError, match="holds the category 10, which the synthetic labels do not have"):
        masks_task(tmp_path, {}, used=[4, 9], test="real.npz:odd")
    with pytest.raises(DataError, match="an array cannot hold the category 0 of the synthetic labels"):
        masks_task(tmp_path, COLOURS, used=[0, 7], test="real.npz:masks")


def test_compressed_run_lengths_are_those_of_coco() -> None:
    """Runs 9, 3, 68 of a 8x10 mask; the fourth on would be written as a difference to the last but one."""
    mask = run_length_mask("93T2", [8, 10])
    assert (mask.sum(), mask[1:4, 1].all()) == (3, True)
    np.testing.assert_array_equal(run_length_mask("222O", [1, 7]), run_length_mask([2, 2, 2, 1], [1, 7]))


@pytest.mark.parametrize("counts", ["93", "9 3", "T", [1, 2], None, [90, -10]])
def test_run_lengths_that_do_not_fit_are_refused(counts: object) -> None:
    with pytest.raises(ValueError, match="mask"):
        run_length_mask(counts, [8, 10])


def test_a_polygon_covers_the_pixels_whose_middles_it_holds() -> None:
    mask = polygon_mask([[1.0, 1.0, 4.0, 1.0, 4.0, 3.0, 1.0, 3.0]], 5, 6)
    wanted = np.zeros((5, 6), np.bool_)
    wanted[1:3, 1:4] = True
    np.testing.assert_array_equal(mask, wanted)


def test_regions_lie_round_what_the_labels_show() -> None:
    masks = np.zeros((2, 8, 10), int)
    masks[1, 2:4, 3:7], masks[1, 6, 6] = 1, 5
    around = regions_of(labels_of("segmentation", masks, "x"), 8, 10)
    np.testing.assert_array_equal(around.boxes, [[3, 2, 7, 4], [6, 6, 7, 7]])
    np.testing.assert_array_equal(around.images, [1, 1])
    masks[1, 0] = 255
    around = regions_of(labels_of("segmentation", masks, "x", classes=True), 8, 10)
    np.testing.assert_array_equal(around.boxes, [[3, 2, 7, 4], [6, 6, 7, 7]])
    points = np.array([[[2.5, 3.0], [-1.0, 5.2]], [[np.nan] * 2, [4.0, 4.0]], [[50.0, 50.0]] * 2])
    around = regions_of(labels_of("keypoints", points, "x"), 8, 10)
    np.testing.assert_array_equal(around.boxes, [[0, 3, 3, 6], [4, 4, 5, 5]])
    np.testing.assert_array_equal(around.images, [0, 1])
    whole = regions_of(labels_of("regression", np.arange(2.0), "x"), 8, 10)
    np.testing.assert_array_equal(whole.boxes, [[0, 0, 10, 8]] * 2)


TASK = """
kind = "regression"
labels = "set.npz:angle"
regions = "set.npz:boxes"
names = ["yaw"]
[test]
images = "set.npz:images"
labels = "set.npz:ordinal"
groups = "set.npz:person"
rank = { column = 0, sign = -1 }
"""


def task(tmp_path: Path, text: str) -> Task:
    npz(
        tmp_path / "set.npz",
        images=np.zeros((4, 8, 10), np.uint8),
        angle=np.arange(4.0),
        boxes=np.full((4, 4), (1, 1, 3, 3)),
        ordinal=np.arange(4),
        person=np.array([3, 3, 5, 5]),
    )
    (tmp_path / "task.toml").write_text(text)
    return load_task(tmp_path / "task.toml", f"{tmp_path / 'set.npz'}:images")


def test_a_task_is_read_with_paths_beside_its_file(tmp_path: Path) -> None:
    read = task(tmp_path, TASK)
    assert (read.labels.values.shape, read.regions.of, len(read.regions)) == ((4, 1), "boxes", 4)
    assert read.test.rank is not None
    assert read.test.groups is not None
    np.testing.assert_array_equal(read.test.groups, [3, 3, 5, 5])
    assert not read.survives_moves


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("regression", "regresion"), "kind"),
        (('names = ["yaw"]', "nam = 1"), "nam"),
        (('names = ["yaw"]', "leave_out = [0]"), "leave_out belongs to a classification"),
        (("column = 0", "column = 1"), "rank has column 1, there are 1 names"),
        (("sign = -1", "sign = 0"), "sign"),
    ],
)
def test_a_task_file_with_a_fault_is_refused(tmp_path: Path, change: tuple[str, str], words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        task(tmp_path, TASK.replace(*change))
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_labels_that_are_missing_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no array 'angles'"):
        task(tmp_path, TASK.replace("npz:angle", "npz:angles"))


def test_a_rank_of_a_column_that_no_label_has_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"ranked by column 1, counted from 0; the synthetic ones have 1"):
        task(tmp_path, TASK.replace('names = ["yaw"]', "").replace("column = 0", "column = 1"))


def test_a_test_image_that_the_upper_bound_learns_from_is_refused_by_name(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (8, 8, 10)).astype(np.uint8)
    pixels[[1, 6]] = 0
    text = TASK.partition("[test]")[0]
    for role, first in (("test", 0), ("upper_bound", 4)):
        npz(tmp_path / f"{role}.npz", images=pixels[first : first + 4], angle=np.arange(4.0))
        text += f'[{role}]\nimages = "{role}.npz:images"\nlabels = "{role}.npz:angle"\n'
    read = task(tmp_path, text)
    assert read.seen(pixels[4:, ..., None]) is None, "black images are alike by chance"
    assert str(read.seen(pixels[2:, ..., None])).startswith(
        "2 of the 4 test images are among the real images"
    )
    assert read.seen(pixels[2:, :5, :, None]) is None
    npz(tmp_path / "upper_bound.npz", images=pixels[2:6], angle=np.arange(4.0))
    with pytest.raises(
        DataError, match=r"2 of the 4 test images are in the upper bound, too, the first is 2:"
    ):
        task(tmp_path, text)


def boxes_task(tmp_path: Path, *categories: tuple[int, ...], names: tuple[str, ...] = ()) -> Task:
    """A task whose synthetic and whose test images have a box of each of these categories."""
    listed = [{"id": number, "name": name} for number, name in enumerate(names)]
    for role, numbers in zip(("synthetic", "test"), categories, strict=True):
        folder(tmp_path / role)
        box = {"image_id": 0, "bbox": [1, 1, 3, 3]}
        entries = [{**box, "category_id": number} for number in numbers]
        entries.append({**box, "category_id": 5, "iscrowd": 1})
        images = [{"id": place, "file_name": name} for place, name in enumerate(("a.png", "b.png"))]
        document = {"images": images, "annotations": entries, "categories": listed}
        (tmp_path / f"{role}.json").write_text(json.dumps(document))
    (tmp_path / "task.toml").write_text(
        'kind = "boxes"\nlabels = "synthetic.json"\n[test]\nimages = "test"\nlabels = "test.json"\n'
    )
    return load_task(tmp_path / "task.toml", str(tmp_path / "synthetic"))


@pytest.mark.parametrize(
    ("synthetic", "test", "said"),
    [
        ((1, 2), (2,), "the 2 categories red, white are measured as one: where boxes are, not which"),
        ((1,), (2, 3), "the 3 categories red, white, plate are measured as one: where boxes are, not which"),
        ((1, 1), (1,), None),
        (
            tuple(range(8)),
            (),
            "the 8 categories none, red, white, plate, x, y and 2 more are measured as one",
        ),
        ((1, 77), (1,), "the 2 categories red, 77 are measured as one: where boxes are, not which"),
    ],
)
def test_categories_of_boxes_that_are_measured_as_one_are_named(
    tmp_path: Path, synthetic: tuple[int, ...], test: tuple[int, ...], said: str | None
) -> None:
    names = ("none", "red", "white", "plate", "x", "y", "z", "never")
    found = boxes_task(tmp_path, synthetic, test, names=names).pooled()
    assert found is None if said is None else str(found).startswith(said)


def test_what_is_no_box_pools_no_categories(tmp_path: Path) -> None:
    assert task(tmp_path, TASK).pooled() is None


EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "tasks"


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "images", "answers"),
    [
        ("sudoku-digits", "images", 7091),
        ("nuclei", "images", 4000),
        ("eyes", "images", 8000),
        ("ci-tiny", "synthetic", 600),
    ],
)
def test_the_example_tasks_fit_their_data_sets(name: str, images: str, answers: int) -> None:
    path = EXAMPLES / f"{name}.toml"
    archive = (EXAMPLES / read_task_file(path).labels.rpartition(":")[0]).resolve()
    if not archive.is_file():
        pytest.skip("the data sets are not beside the checkout")
    read = load_task(path, f"{archive}:{images}")
    assert int(read.labels.answers.sum()) == answers
    assert len(read.regions) > 0

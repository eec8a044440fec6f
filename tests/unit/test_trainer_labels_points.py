"""Which numbers of a file are which keypoint: pairs of columns, and names in any order."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainer.errors import DataError
from trainer.labels.index import index_images
from trainer.labels.labels import Labels
from trainer.labels.reading import Meaning, read_labels
from trainer.labels.task import load_task
from trainer.sources import Reading, parse_source


def folder(path: Path) -> str:
    """Two images of 8x10 px."""
    path.mkdir()
    for name in ("a.png", "b.png"):
        Image.fromarray(np.zeros((8, 10), np.uint8)).save(path / name)
    return str(path)


def read(tmp_path: Path) -> Labels:
    """The keypoints in x.csv."""
    index = index_images(parse_source("synthetic", folder(tmp_path / "images")))
    return read_labels(str(tmp_path / "x.csv"), Meaning("keypoints"), index, Reading())


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ("snout_x,snout_y,snout_likelihood,ear_x,ear_y,ear_likelihood", "'snout_likelihood' stands where"),
        ("snout_y,snout_x", "'snout_y' stands where one of x"),
        ("x,y,likelihood,visible", "'likelihood' stands where one of x"),
        ("x,y,likelihood", "has 3 columns of numbers"),
    ],
)
def test_columns_that_are_no_pairs_of_x_and_y_are_no_keypoints(
    tmp_path: Path, columns: str, words: str
) -> None:
    row = ",1" * len(columns.split(","))
    (tmp_path / "x.csv").write_text(f"file,{columns}\na.png{row}\nb.png{row}\n")
    with pytest.raises(DataError) as refused:
        read(tmp_path)
    assert words in str(refused.value)


@pytest.mark.parametrize("columns", ["1,2,3,4", "x1,y1,x2,y2", "a X,a Y,b X,b Y", "xmin,ymin,xmax,ymax"])
def test_columns_of_keypoints_may_be_called_anything_else(tmp_path: Path, columns: str) -> None:
    (tmp_path / "x.csv").write_text(f"file,{columns}\na.png,1,2,3,4\nb.png,5,6,7,8\n")
    np.testing.assert_array_equal(read(tmp_path).values, [[[1, 2], [3, 4]], [[5, 6], [7, 8]]])


def points_in(path: Path, names: tuple[str, ...], points: list[int]) -> None:
    """The same points of two images as a table or a COCO file."""
    if path.suffix == ".csv":
        columns = ",".join(f"{name}_x,{name}_y" for name in names)
        numbers = ",".join(map(str, points))
        path.write_text(f"file,{columns}\na.png,{numbers}\nb.png,{numbers}\n")
        return
    triples = [value for place in range(0, len(points), 2) for value in (*points[place : place + 2], 2)]
    document = {
        "images": [{"id": place, "file_name": name} for place, name in enumerate(("b.png", "a.png"))],
        "annotations": [{"image_id": place, "category_id": 7, "keypoints": triples} for place in range(2)],
        "categories": [{"id": 7, "name": "mouse", "keypoints": list(names)}],
    }
    path.write_text(json.dumps(document))


@pytest.mark.parametrize("synthetic", ["x.csv", "x.json"])
@pytest.mark.parametrize("real", ["y.csv", "y.json"])
@pytest.mark.parametrize(("names", "same"), [(("ear", "snout"), True), (("one", "other"), False)])
def test_keypoints_of_real_images_are_found_by_their_names(
    tmp_path: Path, synthetic: str, real: str, names: tuple[str, ...], same: bool
) -> None:
    points_in(tmp_path / synthetic, ("snout", "ear"), [1, 2, 3, 4])
    points_in(tmp_path / real, names, [3, 4, 1, 2] if same else [1, 2, 3, 4])
    images = folder(tmp_path / "images")
    (tmp_path / "task.toml").write_text(
        f'kind = "keypoints"\nlabels = "{synthetic}"\n[test]\nimages = "images"\nlabels = "{real}"\n'
    )
    task = load_task(tmp_path / "task.toml", images)
    assert task.test is not None
    np.testing.assert_array_equal(task.test.labels.values, task.labels.values)
    assert task.labels.names == ("snout", "ear")

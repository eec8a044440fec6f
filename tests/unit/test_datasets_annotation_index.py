"""The annotations of drawn sets, read from every format, come out at the pixels they were drawn at."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from labelled_folders import HEIGHT, WIDTH, index_of, read, write

from app.annotations.shapes import ImageGeometry, ImageRef, Shape
from app.datasets.annotation_index import AnnotationIndex, index_annotations
from app.datasets.folder_place import FolderPlace

BOX = (10.0, 12.0, 30.0, 24.0)
"""x1, y1, x2, y2 of the one object that is drawn."""
OUTLINE = [(10.0, 12.0), (30.0, 12.0), (30.0, 24.0), (10.0, 24.0)]


def normalised(points: list[tuple[float, float]]) -> str:
    return " ".join(f"{x / WIDTH:.6f} {y / HEIGHT:.6f}" for x, y in points)


def yolo_box() -> str:
    x1, y1, x2, y2 = BOX
    return f"{(x1 + x2) / 2 / WIDTH} {(y1 + y2) / 2 / HEIGHT} {(x2 - x1) / WIDTH} {(y2 - y1) / HEIGHT}"


def yolo_detection(root: Path) -> str:
    write(root, "data.yaml", "names:\n  0: cat\n  1: dog\n")
    write(root, "train/labels/a.txt", f"1 {yolo_box()}\n")
    return "train/images/a.png"


def yolo_with_confidence(root: Path) -> str:
    write(root, "classes.txt", "cat\ndog\n")
    write(root, "a.txt", f"1 {yolo_box()} 0.93\n")
    return "a.png"


def yolo_polygon(root: Path) -> str:
    write(root, "data.yaml", "names: [cat, dog]\n")
    write(root, "labels/train/a.txt", f"1 {normalised([*OUTLINE, (20.0, 18.0)])}\n")
    return "images/train/a.png"


def yolo_turned_box(root: Path) -> str:
    write(root, "data.yaml", "names: [cat, dog]\n")
    write(root, "labels/a.txt", f"\n1 {normalised(OUTLINE)}\n")
    return "images/a.png"


def yolo_pose(root: Path) -> str:
    write(root, "data.yaml", "names: [cat, dog]\nkpt_shape: [2, 3]\n")
    write(
        root,
        "labels/a.txt",
        f"1 {yolo_box()} {12 / WIDTH} {14 / HEIGHT} 2 0 0 0\n",
    )
    return "images/a.png"


def voc(root: Path) -> str:
    write(
        root,
        "VOC2012/Annotations/a.xml",
        f"<annotation><filename>a.jpg</filename><size><width>{WIDTH}</width><height>{HEIGHT}</height></size>"
        "<object><name>dog</name><bndbox><xmin>11</xmin><ymin>13</ymin><xmax>30</xmax><ymax>24</ymax></bndbox>"
        "</object></annotation>",
    )
    return "VOC2012/JPEGImages/a.jpg"


def kitti(root: Path) -> str:
    write(
        root,
        "training/label_2/000001.txt",
        "dog 0.00 0 -1.57 10.00 12.00 30.00 24.00 1.5 1.6 3.9 1.0 1.5 8.4 -1.5\n"
        "DontCare -1 -1 -10 1 2 3 4 -1 -1 -1 -1000 -1000 -1000 -10\n",
    )
    return "training/image_2/000001.png"


def coco(root: Path) -> str:
    document = {
        "images": [{"id": 7, "file_name": "a.png", "width": WIDTH, "height": HEIGHT}],
        "categories": [{"id": 1, "name": "dog"}],
        "annotations": [{"id": 1, "image_id": 7, "category_id": 1, "bbox": [10, 12, 20, 12]}],
    }
    write(root, "annotations/instances_train.json", json.dumps(document))
    return "train/a.png"


def cvat(root: Path) -> str:
    write(
        root,
        "annotations.xml",
        f'<annotations><meta/><image id="0" name="train/a.png" width="{WIDTH}" height="{HEIGHT}">'
        '<box label="dog" xtl="10" ytl="12" xbr="30" ybr="24"/></image></annotations>',
    )
    return "images/train/a.png"


def labelme(root: Path) -> str:
    shape = {"label": "dog", "shape_type": "rectangle", "points": [[10, 12], [30, 24]]}
    write(root, "a.json", json.dumps({"imagePath": "a.png", "flags": {}, "shapes": [shape]}))
    return "a.png"


def unity_solo(root: Path) -> str:
    for sequence in (0, 1, 10):
        write(root, f"sequence.{sequence}/step10.camera.png", "")
        box = {"labelName": "dog", "origin": [10 + 10 * (sequence != 1), 12], "dimension": [20, 12]}
        annotations = [
            {"@type": "type.unity.com/unity.solo.BoundingBox2DAnnotation", "values": [box]},
            {"@type": "type.unity.com/unity.solo.SemanticSegmentationAnnotation", "filename": "x.png"},
        ]
        capture = {
            "@type": "type.unity.com/unity.solo.RGBCamera",
            "filename": "step10.camera.png",
            "dimension": [WIDTH, HEIGHT],
            "annotations": annotations,
        }
        document = {"frame": 0, "captures": [capture]}
        write(root, f"sequence.{sequence}/step10.frame_data.json", json.dumps(document))
    return "sequence.1/step10.camera.png"


FORMATS = [
    yolo_detection, yolo_with_confidence, yolo_polygon, yolo_turned_box, yolo_pose, voc, kitti, coco, cvat,
    labelme, unity_solo,
]  # fmt: skip


@pytest.mark.parametrize("draw", FORMATS)
def test_an_object_is_read_where_it_was_drawn(tmp_path: Path, draw: Callable[[Path], str]) -> None:
    image = draw(tmp_path)

    geometry = read(tmp_path, image)

    assert geometry.problems == ()
    (shape,) = geometry.shapes
    assert (shape.x1, shape.y1, shape.x2, shape.y2) == pytest.approx(BOX, abs=1e-3)
    assert shape.label == "dog"


def only(root: Path, image: str) -> Shape:
    (shape,) = read(root, image).shapes
    return shape


def test_a_pose_keeps_only_the_keypoints_that_are_labelled(tmp_path: Path) -> None:
    shape = only(tmp_path, yolo_pose(tmp_path))
    (point,) = shape.points
    assert point == pytest.approx((12.0, 14.0))


def test_polygons_keep_their_corners(tmp_path: Path) -> None:
    shape = only(tmp_path, yolo_polygon(tmp_path))
    assert shape.kind == "polygon"
    assert len(shape.polygons[0]) == 5


def test_a_turned_cvat_box_is_its_four_corners(tmp_path: Path) -> None:
    write(
        tmp_path,
        "set.xml",
        f'<annotations><image name="a.png" width="{WIDTH}" height="{HEIGHT}">'
        '<box label="dog" xtl="10" ytl="12" '
        'xbr="30" ybr="24" rotation="90"/><polygon label="dog" points="1,2;3,4;5,2"/>'
        '<points label="eye" points="6,7"/><ellipse label="dog" cx="20" cy="18" rx="10" ry="6"/>'
        '<mask label="dog" rle="4" left="10" top="12" width="20" height="12"/></image></annotations>',
    )
    turned, polygon, points, ellipse, mask = read(tmp_path, "a.png").shapes
    assert (turned.x1, turned.y1, turned.x2, turned.y2) == pytest.approx((14, 8, 26, 28))
    assert polygon.polygons == (((1.0, 2.0), (3.0, 4.0), (5.0, 2.0)),)
    assert points.points == ((6.0, 7.0),)
    assert all((one.x1, one.y1, one.x2, one.y2) == BOX for one in (ellipse, mask))


def test_keypoints_of_solo_leave_out_what_is_not_in_the_image(tmp_path: Path) -> None:
    keypoints = [
        {"location": [1, 2], "state": 2},
        {"location": [3, 4], "state": 0},
        {"location": [5, 6], "state": 1},
    ]
    annotation = {
        "@type": "type.unity.com/unity.solo.KeypointAnnotation",
        "keypoints": [{"labelName": "person", "keypoints": keypoints}],
    }
    bad = {"@type": "type.unity.com/unity.solo.BoundingBox2DAnnotation", "values": [{"origin": [1]}]}
    capture = {
        "@type": "type.unity.com/unity.solo.RGBCamera",
        "filename": "a.png",
        "annotations": [annotation, bad],
    }
    write(tmp_path, "frame_data.json", json.dumps({"captures": [capture]}))
    geometry = read(tmp_path, "a.png")
    assert [shape.points for shape in geometry.shapes] == [((1.0, 2.0), (5.0, 6.0))]
    assert geometry.problems == ("Annotation 1 has no origin and dimension of 2 numbers each.",)


def test_images_of_one_name_are_told_apart_by_the_folder(tmp_path: Path) -> None:
    for split, label in (("train", 1), ("val", 2)):
        document = {
            "images": [{"id": 1, "file_name": "a.png"}],
            "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
            "annotations": [{"id": 1, "image_id": 1, "category_id": label, "bbox": [1, 2, 3, 4]}],
        }
        write(tmp_path, f"annotations/instances_{split}2017.json", json.dumps(document))
    files = FolderPlace(tmp_path)

    index = index_annotations([*files.names()], ["train2017/a.png", "val2017/a.png", "test2017/a.png"], files)

    found = {}
    for image in ("train2017/a.png", "val2017/a.png"):
        source = index.of(image)
        assert source is not None
        found[image] = [shape.label for shape in source.read(ImageRef("a.png", WIDTH, HEIGHT), files).shapes]
    assert found == {"train2017/a.png": ["cat"], "val2017/a.png": ["dog"]}
    assert index.of("test2017/a.png") is None
    assert index.problems == []


def test_several_documents_about_one_image_are_all_read(tmp_path: Path) -> None:
    coco(tmp_path)
    cvat(tmp_path)
    write(tmp_path, "annotations/other.json", '{"info": "nothing to do with it"}')
    assert len(read(tmp_path, "train/a.png").shapes) == 2


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("set.xml", "<annotations><image", "set.xml is not read as annotations: set.xml is no valid XML"),
        ("set.xml", '<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "declares a document type"),
        ("set.json", "{", "set.json is not read as annotations: its contents are not valid JSON: Expecting"),
        (
            "set.json",
            '{"a": "\udcff"}',
            "set.json is not read as annotations: its contents are not valid UTF-8",
        ),
        ("set.json", "[" * 5000, "set.json is not read as annotations: its contents are nested deeper than"),
        ("data.yaml", "names: [", "data.yaml cannot be read"),
    ],
)
def test_files_that_cannot_be_used_are_told(tmp_path: Path, name: str, content: str, sentence: str) -> None:
    write(tmp_path, name, content)
    (problem,) = index_of(tmp_path, "a.png").problems
    assert sentence in problem


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a.txt", "1 0.5 0.5 0.1 0.1\n1 0.5\n", "Line 1 is no class number"),
        ("a.txt", "1 0.5 0.5 0.1 0.1\n1 nan 0.5 0.1 0.1\n", "not a finite number"),
        ("a.txt", "1 0.5 0.5 0.1 0.1\n1 2.5 0.5 0.1 0.1\n", "lies outside"),
        ("a.txt", "1 0.5 0.5 0.1 0.1\nx\n", "Line 1 is no class number"),
        ("a.txt", "1 0.5 0.5 0.1 0.1\n1 1 2 3 4 5 6 7 8 9\n", "neither a box, a polygon nor a pose"),
        ("a.txt", "1 0.5 0.5 0.1 0.1\n1 0.5 0.5 -0.1 0.1\n", "a box of negative size"),
        ("a.txt", "1 0.5 0.5 0.1 0.1\ninf 0.5 0.5 0.1 0.1\n", "Line 1 is no class number"),
        ("a.txt", f"dog {'0 ' * 14}\ndog 1\n", "Line 1 is no object of 15 columns"),
        ("a.txt", "1 0.5\n\n1 0.5 0.5 0.1 0.1\n", "Line 0 is no class number"),
        ("a.txt", f"dog 1\ndog {'0 ' * 14}\n", "Line 0 is no object of 15 columns"),
        ("a.txt", f"dog {'x ' * 14}\ndog {'0 ' * 14}\n", "Line 0 is no object of 15 columns"),
        ("a.xml", "<annotation><object><name>a</name></object></annotation>", "Object 0 has no bndbox"),
        (
            "a.xml",
            "<annotation><filename>a</filename><size><width>9</width><height>9</height></size></annotation>",
            "is 9 x 9, but it is 64 x 48",
        ),
    ],
)
def test_labels_that_are_wrong_are_reported_with_their_place(
    tmp_path: Path, name: str, content: str, problem: str
) -> None:
    write(tmp_path, name, content)
    assert any(problem in one for one in read(tmp_path, "a.png").problems)


def test_numbers_that_are_none_break_nothing(tmp_path: Path) -> None:
    box = '<box label="a" xtl="1" ytl="2" xbr="3" ybr="4" rotation="inf"/>'
    write(tmp_path, "set.xml", f'<annotations><image name="a.png">{box}</image></annotations>')
    assert read(tmp_path, "a.png").problems == ("Shape 0 has a rotation that is not a finite number.",)
    (tmp_path / "set.xml").unlink()
    capture = {"@type": "type.unity.com/unity.solo.RGBCamera", "filename": "a.png", "dimension": ["x", None]}
    write(tmp_path, "frame_data.json", json.dumps({"captures": [capture]}))
    assert "but it is 64 x 48" in read(tmp_path, "a.png").problems[0]


def test_class_names_that_unfold_without_end_are_left_out(tmp_path: Path) -> None:
    lists = "\n".join(f"l{i + 1}: &l{i + 1} [{', '.join([f'*l{i}'] * 10)}]" for i in range(12))
    write(tmp_path, "data.yaml", f"l0: &l0 [a]\n{lists}\nnames: [*l12, dog]\n")
    write(tmp_path, "a.txt", f"1 {yolo_box()}\n")
    assert only(tmp_path, "a.png").label == "dog"


PROSE = [
    "a photograph of a dog\n",
    "a photograph of a dog\n4 legs, 1 tail\n2024 06 01\n",
    "of all of these fifteen words not a single one is a number in the end\n",
]


@pytest.mark.parametrize("content", ["", "\n", *PROSE])
def test_text_that_holds_no_objects_gives_no_shapes(tmp_path: Path, content: str) -> None:
    write(tmp_path, "a.txt", content)
    geometry = read(tmp_path, "a.png")
    assert (geometry.shapes, geometry.problems) == ((), ())


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", "1 0.5 0.5 0.1"),
        ("a.txt", "nan 0 0 0 0"),
        ("a.txt", "inf 0 0 0 0"),
        ("a.txt", "1,0.5,0.5,0.1,0.1"),
        ("a.txt", "dog 0.5 0.5 0.1 0.1"),
        ("a.txt", "dog 0.00 0 -1.57 5 6 20 30"),
        ("a.txt", "1 0.5 0.5 0.1 0.1".encode("utf-16")),
        ("labels/a.txt", "# class x y w h"),
        ("label_2/a.txt", b"\xff\xfe\x00"),
    ],
)
def test_a_label_file_without_any_object_is_told(tmp_path: Path, name: str, content: str | bytes) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
    image = {"labels": "images/a.png", "label_2": "image_2/a.png"}.get(name.partition("/")[0], "a.png")
    geometry = read(tmp_path, image)
    assert (geometry.shapes, geometry.problems) == (
        (),
        (f"No line of {name} is an object of YOLO or KITTI.",),
    )


@pytest.mark.parametrize("broken", ["1 0.5", "1 0,5 0,5 0,1 0,1", "# class x y w h", "\ufffd\ufffd"])
def test_a_broken_first_line_hides_no_other_of_yolo(tmp_path: Path, broken: str) -> None:
    geometry = texts(tmp_path, f"{broken}\n1 {yolo_box()}\n")
    (shape,) = geometry.shapes
    assert (shape.x1, shape.y1, shape.x2, shape.y2) == pytest.approx(BOX, abs=1e-3)
    assert shape.source == 1
    assert geometry.problems == ("Line 0 is no class number with the numbers of an object.",)


def test_a_broken_first_line_hides_no_other_of_kitti(tmp_path: Path) -> None:
    image = kitti(tmp_path)
    label = tmp_path / "training/label_2/000001.txt"
    label.write_text(f"dog 0.00 0\n{label.read_text()}")
    geometry = read(tmp_path, image)
    (shape,) = geometry.shapes
    assert (shape.label, shape.source) == ("dog", 1)
    assert geometry.problems == ("Line 0 is no object of 15 columns.",)


def texts(root: Path, label: str) -> ImageGeometry:
    write(root, "labels/a.txt", label)
    return read(root, "images/a.png")


def test_classes_beyond_the_names_are_called_by_their_number(tmp_path: Path) -> None:
    write(tmp_path, "data.yaml", "names: {'0': cat, '2': dog}\n")
    geometry = texts(tmp_path, "".join(f"{number} {yolo_box()}\n" for number in (0, 1, 2, 7)))
    assert [shape.label for shape in geometry.shapes] == ["cat", "1", "dog", "7"]


def test_a_box_may_reach_over_the_edge_of_its_image(tmp_path: Path) -> None:
    (shape,) = texts(tmp_path, "0 0.0 0.5 0.5 0.5\n").shapes
    assert (shape.x1, shape.x2) == (-16.0, 16.0)


def test_a_polygon_and_a_turned_box_may_have_a_confidence(tmp_path: Path) -> None:
    outline = normalised(OUTLINE)
    star = normalised([*OUTLINE, (20.0, 18.0)])
    geometry = texts(tmp_path, f"0 {outline} 0.93\n0 {star} 1\n0 {normalised(OUTLINE[:3])} 0.5\n")
    assert geometry.problems == ()
    assert [len(shape.polygons[0]) for shape in geometry.shapes] == [4, 5, 3]


def test_a_pose_that_nobody_declared_is_told_by_its_visibilities(tmp_path: Path) -> None:
    one, other = (12 / WIDTH, 14 / HEIGHT), (20 / WIDTH, 20 / HEIGHT)
    lines = [
        f"0 {yolo_box()} {one[0]} {one[1]} 1\n",
        f"0 {yolo_box()} {one[0]} {one[1]} 2 {other[0]} {other[1]} 0\n",
    ]
    geometry = texts(tmp_path, "".join(lines))
    assert [(shape.kind, len(shape.points)) for shape in geometry.shapes] == [("box", 1), ("box", 1)]
    assert geometry.shapes[0].points[0] == pytest.approx((12.0, 14.0))


def test_keypoints_without_visibility_are_missing_at_the_corner_and_below_it(tmp_path: Path) -> None:
    write(tmp_path, "data.yaml", "names: [dog]\nkpt_shape: [3, 2]\n")
    (shape,) = texts(tmp_path, f"0 {yolo_box()} 0 0 -0.1 0.5 0.25 0.5\n").shapes
    assert shape.points == ((16.0, 24.0),)


def test_a_byte_order_mark_before_labels_does_no_harm(tmp_path: Path) -> None:
    write(tmp_path, "classes.txt", "\ufeffcat\ndog\n")
    (shape,) = texts(tmp_path, f"\ufeff0 {yolo_box()}\r\n").shapes
    assert shape.label == "cat"


def test_a_file_that_says_nothing_hides_no_other(tmp_path: Path) -> None:
    image = coco(tmp_path)
    write(tmp_path, "train/a.txt", "a photograph of a dog\n")
    write(tmp_path, "train/a.json", '{"camera": {"focal": 80}}')
    geometry = read(tmp_path, image)
    assert [shape.label for shape in geometry.shapes] == ["dog"]
    assert geometry.problems == ()


def test_shapes_of_several_documents_are_numbered_through(tmp_path: Path) -> None:
    coco(tmp_path)
    cvat(tmp_path)
    assert [shape.source for shape in read(tmp_path, "train/a.png").shapes] == [0, 1]


def test_the_right_camera_of_kitti_does_not_get_the_labels_of_the_left_one(tmp_path: Path) -> None:
    kitti(tmp_path)
    assert index_of(tmp_path, "training/image_3/000001.png").of("training/image_3/000001.png") is None


@pytest.mark.parametrize("folder", ["annotations", "Annotations"])
def test_xml_lies_in_a_folder_beside_that_of_images(tmp_path: Path, folder: str) -> None:
    voc(tmp_path)
    (tmp_path / "VOC2012/Annotations").rename(tmp_path / "VOC2012" / folder)
    assert len(read(tmp_path, "VOC2012/images/a.jpg").shapes) == 1


def test_voc_boxes_may_be_fractions_and_reach_over_the_edge(tmp_path: Path) -> None:
    box = "<xmin>0.5</xmin><ymin>-3</ymin><xmax>70.25</xmax><ymax>24.75</ymax>"
    part = "<part><name>nose</name><bndbox><xmin>5</xmin></bndbox></part>"
    write(
        tmp_path,
        "a.xml",
        f"<annotation><object><name> dog </name>{part}<bndbox>{box}</bndbox></object></annotation>",
    )
    shape = only(tmp_path, "a.png")
    assert (shape.label, shape.x1, shape.y1, shape.x2, shape.y2) == ("dog", 0.0, 0.0, 70.25, 24.75)


def test_cvat_skeletons_cuboids_and_turned_ellipses_are_read(tmp_path: Path) -> None:
    joints = (
        '<points label="1" outside="0" points="6,7"/><points label="2" outside="1" points="1,1"/>'
        '<points label="3" points="8.5,9"/>'
    )
    cuboid = 'xtl1="4" ytl1="5" xbl1="4" ybl1="20" xtr1="18" ytr1="6" xbr1="19" ybr1="21.5"'
    write(
        tmp_path,
        "set.xml",
        f'<annotations><image name="a.png"><skeleton label="dog">{joints}</skeleton>'
        f'<cuboid label="dog" z_order="0" {cuboid}/><cuboid label="dog"/><tag label="day"/>'
        '<ellipse label="dog" cx="20" cy="18" rx="10" ry="6" rotation="90"/>'
        '<ellipse label="dog" cx="20" cy="18" rx="10" ry="6" rotation="nan"/></image></annotations>',
    )
    geometry = read(tmp_path, "a.png")
    skeleton, cuboid_box, ellipse = geometry.shapes
    assert skeleton.points == ((6.0, 7.0), (8.5, 9.0))
    assert (cuboid_box.x1, cuboid_box.y1, cuboid_box.x2, cuboid_box.y2) == (4, 5, 19, 21.5)
    assert (ellipse.x1, ellipse.y1, ellipse.x2, ellipse.y2) == pytest.approx((14, 8, 26, 28))
    assert geometry.problems == (
        "Shape 2 is a cuboid without corners.",
        "Shape 5 has a rotation that is not a finite number.",
    )


@pytest.mark.parametrize("coding", ["utf-16", "utf-16-be", "utf-16-le"])
def test_a_document_type_is_refused_in_every_encoding(tmp_path: Path, coding: str) -> None:
    text = (
        '<?xml version="1.0" encoding="utf-16"?><!DOCTYPE a [<!ENTITY b "c">]><annotations><meta>&b;</meta>'
    )
    (tmp_path / "set.xml").write_bytes(f"\ufeff{text}</annotations>".encode(coding))
    (problem,) = index_of(tmp_path, "a.png").problems
    assert "declares a document type" in problem


def test_annotations_of_images_that_a_document_does_not_list_are_counted(tmp_path: Path) -> None:
    document = {
        "images": [{"id": 1, "file_name": "a.png"}],
        "annotations": [{"image_id": number, "bbox": [1, 2, 3, 4]} for number in (1, 2, 3)],
    }
    write(tmp_path, "set.json", json.dumps(document))
    assert index_of(tmp_path, "a.png").problems == [
        "set.json has 2 annotations of images that it does not list."
    ]


def listing(*names: str) -> str:
    images = [{"id": number, "file_name": name} for number, name in enumerate(names)]
    return json.dumps({"images": images, "annotations": []})


def index_of_all(root: Path, names: list[str], refined: list[str]) -> AnnotationIndex:
    return index_annotations([*names, "set.json"], refined, FolderPlace(root))


def test_images_that_are_not_in_the_set_are_counted_apart_from_those_it_has_several_of(
    tmp_path: Path,
) -> None:
    images = ["a.png", "x/b.png", "y/b.png"]
    write(tmp_path, "set.json", listing("a.png", "no/c.png", "b.png", "d.png"))
    assert index_of_all(tmp_path, images, images).problems == [
        "set.json names 2 images that are not in the set, the first is 'no/c.png'.",
        "set.json names 1 images of which the set has several, so that it is not clear which is meant; "
        "the first is 'b.png'.",
    ]


def test_images_that_are_there_but_stay_as_they_are_are_not_missed(tmp_path: Path) -> None:
    write(tmp_path, "set.json", listing("a.png", "kept/b.png"))
    assert index_of_all(tmp_path, ["a.png", "kept/b.png"], ["a.png"]).problems == []


def test_a_name_that_is_no_name_is_told_in_one_short_line(tmp_path: Path) -> None:
    write(tmp_path, "set.json", listing("a\nb" * 1000))
    (problem,) = index_of_all(tmp_path, ["a.png"], ["a.png"]).problems
    assert "\n" not in problem
    assert len(problem) < 400

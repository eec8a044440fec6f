import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.annotations import rle
from app.annotations.json_text import parse
from app.annotations.reading import read_geometry

ONE = [("a.png", 100, 60)]
TWO = [("x/a.png", 100, 60), ("b.png", 30, 40)]


def read(document, images=ONE):
    return read_geometry(parse(json.dumps(document).encode()), images)


def boxes(geometry, image=0):
    return [(s.x1, s.y1, s.x2, s.y2) for s in geometry.images[image].shapes]


def compressed(counts):
    """COCO's string coding, from its description: 5 bits a character, differences from the fourth number."""
    text = ""
    for i, count in enumerate(counts):
        value = count - counts[i - 2] if i > 2 else count
        more = True
        while more:
            bits, value = value & 0x1F, value >> 5
            more = not ((value == 0 and not bits & 0x10) or (value == -1 and bits & 0x10))
            text += chr((bits | 0x20 if more else bits) + 48)
    return text


def counts_of(mask):
    flat = mask.T.ravel()
    edges = np.flatnonzero(np.diff(flat.astype(np.int8))) + 1
    runs = np.diff([0, *edges, flat.size]).tolist()
    return ([0] if flat[0] else []) + runs


def coco(**changes):
    document = {
        "images": [{"id": 7, "file_name": "a.png", "width": 100, "height": 60}],
        "categories": [{"id": 3, "name": "cell"}],
        "annotations": [{"id": 1, "image_id": 7, "category_id": 3, "bbox": [10, 20, 30.5, 5]}],
    }
    return document | changes


def test_bbox_is_width_and_height_and_box_is_corners():
    assert boxes(read({"bbox": [10, 20, 30, 5]})) == [(10, 20, 40, 25)]
    assert boxes(read({"box": [10, 20, 30, 25]})) == [(10, 20, 30, 25)]
    assert boxes(read({"xyxy": [0.1, 20, 0.7, 25]})) == [(0.1, 20, 0.7, 25)]
    assert boxes(read({"boxes": [[1, 2, 3, 4], [5, 6, 7, 8]]})) == [(1, 2, 3, 4), (5, 6, 7, 8)]
    assert boxes(read({"bboxes": [[1, 2, 3, 4]]})) == [(1, 2, 4, 6)]


@pytest.mark.parametrize(
    "document",
    [
        [{"box": [1, 2, 3, 4], "label": "7"}, {"box": [5, 6, 7, 8], "digit": 9}],
        {"objects": [{"box": [1, 2, 3, 4], "class": 7}, {"box": [5, 6, 7, 8], "category": "9"}]},
        {"a.png": [{"box": [1, 2, 3, 4], "label": "7"}, {"box": [5, 6, 7, 8], "label": "9"}]},
        {
            "images": [
                {
                    "file_name": "a.png",
                    "objects": [{"box": [1, 2, 3, 4], "label": 7}, {"box": [5, 6, 7, 8], "label": 9}],
                }
            ]
        },
    ],
)
def test_plain_objects_of_one_image_are_found_in_every_nesting(document):
    geometry = read(document)
    assert geometry.format == "plain"
    assert boxes(geometry) == [(1, 2, 3, 4), (5, 6, 7, 8)]
    assert [(s.label, s.source) for s in geometry.images[0].shapes] == [("7", 0), ("9", 1)]


def test_plain_entries_go_to_their_images_by_name_and_else_by_order():
    named = [{"file_name": "b.png", "box": [1, 1, 2, 2]}, {"file_name": "a.png", "box": [3, 3, 4, 4]}]
    ordered = [{"box": [3, 3, 4, 4]}, {"box": [1, 1, 2, 2]}]
    for document in (named, ordered):
        geometry = read(document, TWO)
        assert boxes(geometry, 0) == [(3, 3, 4, 4)]
        assert boxes(geometry, 1) == [(1, 1, 2, 2)]


def test_plain_polygons_points_keypoints_and_masks_are_read():
    mask = np.zeros((60, 100), bool)
    mask[10:20, 30:50] = True
    document = [
        {"polygon": [[1, 2], [5, 2], [5, 9.5]]},
        {"polygon": [1, 2, 5, 2, 5, 9.5]},
        {"points": [[4, 5], [8, 3]]},
        {"keypoints": [4, 5, 2, 99, 99, 0, 8, 3, 1]},
        {"keypoints": [4, 5, 8, 3]},
        {"mask": {"size": [60, 100], "counts": counts_of(mask)}},
    ]
    shapes = read(document).images[0].shapes
    assert [s.kind for s in shapes] == ["polygon", "polygon", "keypoints", "keypoints", "keypoints", "mask"]
    assert shapes[0].polygons == shapes[1].polygons == (((1, 2), (5, 2), (5, 9.5)),)
    assert shapes[2].points == shapes[3].points == shapes[4].points == ((4, 5), (8, 3))
    assert (shapes[5].x1, shapes[5].y1, shapes[5].x2, shapes[5].y2) == (30, 10, 50, 20)
    np.testing.assert_array_equal(rle.to_array(shapes[5].mask), mask)


@pytest.mark.parametrize(
    "outline", [[1, 2, 5, 2, 5, 9.5], [[1, 2, 5, 2, 5, 9.5]], [[1, 2], [5, 2], [5, 9.5]]]
)
def test_a_segmentation_may_be_one_polygon_flat_nested_or_of_pairs(outline):
    for document in (
        [{"segmentation": outline}],
        coco(annotations=[{"image_id": 7, "segmentation": outline}]),
    ):
        (shape,) = read(document).images[0].shapes
        assert shape.polygons == (((1, 2), (5, 2), (5, 9.5)),)


def test_segments_of_a_panoptic_picture_are_boxes():
    segments = [{"id": 5, "category_id": 3, "bbox": [1, 2, 3, 4]}, {"id": 6, "bbox": [5, 6, 7, 8]}, 5]
    picture = {"image_id": 7, "file_name": "a.png", "segments_info": segments}
    geometry = read(coco(annotations=[picture]))
    assert boxes(geometry) == [(1, 2, 4, 6), (5, 6, 12, 14)]
    assert [(shape.label, shape.source) for shape in geometry.images[0].shapes] == [("cell", 0), (None, 1)]
    assert geometry.problems == ("Annotation 2 is no object.",)


def test_coco_boxes_get_their_category_and_image():
    geometry = read(coco())
    assert geometry.format == "coco"
    assert boxes(geometry) == [(10, 20, 40.5, 25)]
    assert geometry.images[0].shapes[0].label == "cell"
    assert geometry.images[0].problems == geometry.problems == ()


def test_coco_polygons_keypoints_and_crowd_masks_are_read():
    mask = np.zeros((60, 100), bool)
    mask[5:9, 0:4] = True
    counts = counts_of(mask)
    annotations = [
        {
            "image_id": 7,
            "segmentation": [[1, 1, 9, 1, 9, 9], [20, 20, 30, 20, 30, 30]],
            "bbox": [1, 1, 29, 29],
        },
        {
            "image_id": 7,
            "segmentation": {"size": [60, 100], "counts": counts},
            "iscrowd": 1,
            "bbox": [0, 5, 4, 4],
        },
        {"image_id": 7, "segmentation": {"size": [60, 100], "counts": compressed(counts)}},
        {"image_id": 7, "keypoints": [3, 4, 2, 0, 0, 0, 8, 9, 1], "num_keypoints": 2},
        {"image_id": 7, "keypoints": [3, 4, 2], "bbox": [1, 2, 10, 10]},
    ]
    shapes = read(coco(annotations=annotations)).images[0].shapes
    assert [s.kind for s in shapes] == ["polygon", "mask", "mask", "keypoints", "box"]
    assert len(shapes[0].polygons) == 2
    np.testing.assert_array_equal(rle.to_array(shapes[1].mask), mask)
    assert shapes[2].mask == shapes[1].mask
    assert (shapes[2].x1, shapes[2].y1, shapes[2].x2, shapes[2].y2) == (0, 5, 4, 9)
    assert shapes[3].points == ((3, 4), (8, 9))
    assert shapes[4].points == ((3, 4),)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.integers(0, 5000), min_size=1, max_size=30))
def test_compressed_and_plain_run_lengths_are_the_same_mask(counts):
    image = ("m.png", sum(counts), 1)
    size = [1, sum(counts)]
    plain, packed = (
        read_geometry([{"box": [0, 0, 1, 1], "mask": {"size": size, "counts": c}}], [image]).images[0]
        for c in (counts, compressed(counts))
    )
    assert plain == packed


def test_coco_images_that_were_not_sent_are_one_sentence():
    document = coco(images=[{"id": 7, "file_name": f"{i}.png"} for i in range(5)])
    geometry = read(document)
    assert boxes(geometry) == []
    assert geometry.problems == (
        "Of the images that the annotations name, 5 were not sent: '0.png', '1.png', '2.png', ….",
    )


def test_annotations_of_an_image_of_another_size_are_not_used():
    geometry = read(coco(images=[{"id": 7, "file_name": "a.png", "width": 60, "height": 100}]))
    assert boxes(geometry) == []
    assert geometry.images[0].problems == (
        "The annotations say that 'a.png' is 60 x 100, but it is 100 x 60 upright; "
        "its annotations are not used.",
    )


def test_labelme_shapes_are_read():
    shapes = [
        {"label": "a", "points": [[9, 8], [1, 2]], "shape_type": "rectangle"},
        {"label": "b", "points": [[1, 1], [5, 1], [5, 5]], "shape_type": "polygon"},
        {"label": "c", "points": [[20, 20], [23, 24]], "shape_type": "circle"},
        {"label": "d", "points": [[3, 4]], "shape_type": "point"},
    ]
    document = {
        "version": "5",
        "flags": {},
        "shapes": shapes,
        "imagePath": "..\\a.png",
        "imageHeight": 60,
        "imageWidth": 100,
    }
    geometry = read(document)
    found = geometry.images[0].shapes
    assert geometry.format == "labelme"
    assert [(s.label, s.kind) for s in found] == [
        ("a", "box"),
        ("b", "polygon"),
        ("c", "polygon"),
        ("d", "keypoints"),
    ]
    assert (found[0].x1, found[0].y1, found[0].x2, found[0].y2) == (1, 2, 9, 8)
    assert found[2].x1 <= 15
    assert found[2].x2 >= 25


def test_unityeyes_landmarks_point_down():
    document = {
        "interior_margin_2d": ["(10.5, 50.0, 3.2)", "(20.0, 55.5, 3.1)", "(30.0, 50.0, 3.0)"],
        "caruncle_2d": ["(5.0, 40.0, 1.0)"],
        "iris_2d": ["(18.0, 52.0, 9.9)", "(22.0, 52.0, 9.9)", "(20.0, 48.0, 9.9)"],
        "eye_details": {"look_vec": "(0.1, 0.2, -0.9, 0.0)"},
    }
    geometry = read(document)
    lids, iris, caruncle = geometry.images[0].shapes
    assert geometry.format == "unityeyes"
    assert lids.polygons == (((10.5, 10.0), (20.0, 4.5), (30.0, 10.0)),)
    assert (iris.y1, iris.y2, iris.label) == (8.0, 12.0, "iris")
    assert caruncle.points == ((5.0, 20.0),)


@pytest.mark.parametrize(
    "document", [{"gaze": [0.1, 0.2]}, {}, [], 5, "text", None, [1, 2], {"annotations": 5}]
)
def test_unknown_json_has_no_geometry_and_no_problem(document):
    geometry = read(document, TWO)
    assert geometry.format is None
    assert [image.shapes for image in geometry.images] == [(), ()]
    assert geometry.problems == ()


@pytest.mark.parametrize(
    ("thing", "problem"),
    [
        ({"box": [1, 2, "x", 4]}, "Annotation 0 has a coordinate that is not a finite number."),
        ({"box": [1, 2, True, 4]}, "Annotation 0 has a coordinate that is not a finite number."),
        ({"box": [1, 2, 3]}, "Annotation 0 has a box that is not a list of 4 numbers."),
        ({"bbox": 5}, "Annotation 0 has a bbox that is not a list of 4 numbers."),
        (
            {"box": [9, 2, 3, 4], "label": "q"},
            "Annotation 0 ('q') has a box of negative size: (9, 2) to (3, 4).",
        ),
        ({"box": [101, 2, 130, 4]}, "Annotation 0 lies outside its 100 x 60 image: (101, 2) to (130, 4)."),
        (
            {"mask": {"size": [100, 60], "counts": [6000]}},
            "Annotation 0 has a mask of size [100, 60] (height, width), not [60, 100].",
        ),
        (
            {"mask": {"size": [60, 100], "counts": [5]}},
            "Annotation 0 has a mask whose counts add up to 5, not 6000.",
        ),
        (
            {"mask": {"size": [60, 100], "counts": [6001, -1]}},
            "Annotation 0 has a mask with a negative count.",
        ),
        (
            {"mask": {"size": [60, 100], "counts": "a b"}},
            "Annotation 0 has a mask whose counts are no run-length string.",
        ),
        ({"mask": "x"}, None),
    ],
)
def test_annotations_that_cannot_be_used_are_left_out_with_a_sentence(thing, problem):
    geometry = read([thing, {"box": [1, 2, 3, 4]}])
    assert boxes(geometry) == [(1, 2, 3, 4)]
    assert geometry.images[0].problems == (() if problem is None else (problem,))


def test_problems_are_counted_beyond_fifty():
    problems = read([{"box": [9, 9, 1, 1]}] * 80).images[0].problems
    assert len(problems) == 51
    assert problems[-1] == "30 more annotations have problems."


def test_a_polygon_of_too_many_points_is_replaced_by_its_box():
    polygon = [[i % 90, i % 50] for i in range(20_001)]
    (shape,) = read([{"polygon": polygon}]).images[0].shapes
    assert (shape.kind, shape.polygons, shape.x2, shape.y2) == ("box", (), 89, 49)


KEYS = [
    *(
        "images",
        "annotations",
        "categories",
        "id",
        "image_id",
        "file_name",
        "bbox",
        "box",
        "segmentation",
        "size",
    ),
    *("counts", "mask", "keypoints", "points", "polygon", "shapes", "label", "imagePath", "a.png", "objects"),
    *("iris_2d", "interior_margin_2d", "shape_type", "boxes", "width", "height"),
]
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 200)
    | st.floats(allow_nan=False)
    | st.sampled_from(["a.png", "x", "PPYo1"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(KEYS),
            inner,
            max_size=5,
        )
    ),
    max_leaves=25,
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(VALUES)
def test_no_document_makes_reading_fail(document):
    geometry = read_geometry(document, TWO)
    assert len(geometry.images) == 2
    for image in geometry.images:
        for shape in image.shapes:
            assert np.isfinite([shape.x1, shape.y1, shape.x2, shape.y2]).all()


@pytest.mark.parametrize("nothing", [None, []])
def test_an_outline_without_a_box_is_read(nothing):
    square = [[10, 20, 40, 20, 40, 25]]
    of_coco = coco(annotations=[{"image_id": 7, "bbox": nothing, "segmentation": square}])
    plain = {"box": nothing, "polygon": square[0]}

    for document in (of_coco, plain):
        (image,) = read(document).images
        assert [(shape.kind, shape.x1, shape.y2) for shape in image.shapes] == [("polygon", 10, 25)]
        assert image.problems == ()


def test_ids_that_a_table_made_floats_are_the_same_ids():
    document = coco(annotations=[{"image_id": 7.0, "category_id": 3.0, "bbox": [10, 20, 30.5, 5]}])
    geometry = read(document)

    assert [shape.label for shape in geometry.images[0].shapes] == ["cell"]
    assert geometry.problems == ()


def test_a_size_of_zero_is_a_size_that_nobody_knew():
    images = [{"id": 7, "file_name": "a.png", "width": 0, "height": 0}]

    assert boxes(read(coco(images=images))) == [(10, 20, 40.5, 25)]


def test_a_size_in_quotes_is_told_as_it_is_written():
    images = [{"id": 7, "file_name": "a.png", "width": "100", "height": "60"}]
    (problem,) = read(coco(images=images)).images[0].problems

    assert "is '100' x '60', but it is 100 x 60 upright" in problem

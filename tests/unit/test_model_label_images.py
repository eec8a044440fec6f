"""Which images of a set are taken for label images, by the layouts of well-known sets and simulators."""

from pathlib import PurePosixPath

import pytest

from model.label_images import why_label_image


@pytest.mark.parametrize(
    "name",
    [
        "VOCdevkit/VOC2012/SegmentationClass/2007_000032.png",
        "VOCdevkit/VOC2012/SegmentationObject/2007_000032.png",
        "DAVIS/Annotations/480p/bear/00000.png",
        "cityscapes/gtFine/train/aachen/aachen_000000_000019_gtFine_color.png",
        "aachen_000000_000019_gtFine_labelIds.png",
        "aachen_000000_000019_disparity.png",
        "ade20k/annotations/training/ADE_train_00000001.png",
        "coco/panoptic_train2017/000000000009.png",
        "coco/stuffthingmaps/train2017/000000000009.png",
        "nyu/depth_maps/0001.png",
        "masks/a.png",
        "train/mask/a.png",
        "frames/0001_mask.png",
        "frames/0001.depth.png",
        "replicator/semantic_segmentation_0001.png",
        "replicator/instance_segmentation_0001.png",
        "replicator/normals_0001.png",
        "unity/step0.camera.semantic segmentation.png",
        "unity/step0.camera.instance segmentation.png",
        "blender/0001/depth.png",
        "blender/optical_flow/0001.png",
        "stereo/disparity/left/0001.png",
        "bop/train_pbr/000000/mask_visib/000000_000000.png",
        "kitti/training/disp_occ_0/000000_10.png",
        "kitti/training/flow_noc/000000_10.png",
        "hypersim/scene_cam_00_geometry_preview/frame.0000.depth_meters_preview.png",
        "nocs/0000_coord.png",
        "isat/semseg/0001.png",
        "blender/IndexOB0001.png",
        "blender/object_index/0001.png",
        "blender/Z_pass/0001.png",
        "celeba/mask-anno/00001.png",
        "poses/heatmaps/0001.png",
    ],
)
def test_label_images_are_known(name: str) -> None:
    assert why_label_image(PurePosixPath(name)) is not None


@pytest.mark.parametrize(
    "name",
    [
        "a.png",
        "images/train2017/000000000009.jpg",
        "JPEGImages/2007_000032.jpg",
        "leftImg8bit/train/aachen/aachen_000000_000019_leftImg8bit.png",
        "image_2/000001.png",
        "replicator/rgb_0001.png",
        "unity/step0.camera.png",
        "normal/IM-0001.jpeg",
        "Normal (12).png",
        "class_3/a.png",
        "depthcharge/a.png",
        "labeled/a.png",
        "unmasked/a.png",
        "2021/03/0001.png",
        "digit-8.png",
        "hypersim/scene_cam_00_final_preview/frame.0000.tonemap.jpg",
        "object/0001.png",
        "visible/0001.png",
        "index/0001.png",
        "display/0001.png",
    ],
)
def test_pictures_are_not_taken_for_labels(name: str) -> None:
    assert why_label_image(PurePosixPath(name)) is None


def test_the_reason_names_the_folder_or_the_file() -> None:
    assert why_label_image(PurePosixPath("set/masks/a.png")) == "it lies in 'masks'"
    assert why_label_image(PurePosixPath("set/a_mask.png")) == "it is named 'a_mask.png'"

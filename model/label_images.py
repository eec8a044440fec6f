"""Which images of a set are label images, told from where they lie and how they are named.

Segmentation masks, depth maps, normals and their like are pictures of labels: refining one destroys it. No
file says of itself that it is one, but simulators and data sets put them into folders of their own, or give
them names of their own. A guess either way, hence one that can be seen (`--dry-run`) and overruled.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Final

# Neither `class` nor `normal` nor `id`: they name folders of pictures as often.
LABEL_WORDS: Final = frozenset(
    (  # noqa: SIM905 (a list of them would fill a page)
        "albedo anno annos annotation annotations bitmask bitmasks coord coords cryptomatte depth "
        "depthmeters depths disparities disparity dispnoc dispocc flow flownoc flowocc flows groundtruth "
        "gt gtcoarse gtfine heatmap heatmaps idmap idmaps indexob instance instanceid instanceids "
        "instances label labelid labelids labels mask masks matte mattes nocs normals objectid objectids "
        "objectindex opticalflow panoptic parsing seg segm segmap segmaps segmentation segmentationclass "
        "segmentationobject segmentations semantic semantics semseg semsegid semsegids silhouette "
        "silhouettes stuffthingmaps surfacenormal surfacenormals trainid trainids trimap trimaps zpass"
    ).split()
)
"""Words, or two words in one, that a folder or file of label images ends in."""
_OF_A_PICTURE: Final = frozenset(
    "map maps image images img png color colour preview vis visib raw train val test left right".split()  # noqa: SIM905
)
"""Words after such a word that change nothing: `depth_maps`, `panoptic_train2017`."""
_WORD: Final = re.compile(r"[a-z]+|[0-9]+")
_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def why_label_image(name: PurePosixPath) -> str | None:
    """Why the image at this path of a set is taken for a label image, as half a sentence; None if it is not.

    A folder counts, and a file whose own name ends so; numbers at the end do not count (`depth_0001.png`).
    """
    folder = next((part for part in name.parent.parts if label_words(part)), None)
    if folder is not None:
        return f"it lies in {folder!r}"
    return f"it is named {name.name!r}" if label_words(name.stem) else None


def label_words(name: str) -> bool:
    """Whether a name ends in a word, or two, of label images."""
    words = _WORD.findall(_CAMEL.sub("_", name).lower())
    while len(words) > 1 and (words[-1].isdigit() or words[-1] in _OF_A_PICTURE):
        words = words[:-1]
    return bool(words) and (words[-1] in LABEL_WORDS or "".join(words[-2:]) in LABEL_WORDS)

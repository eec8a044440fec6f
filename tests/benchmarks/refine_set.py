"""Sends the synthetic half of a data set through a running service and sums up what it says about the labels.

The file's boxes, and its instance maps if it has any, go along as one COCO document per request; the answer
must hold that document byte for byte. Run:
python tests/benchmarks/refine_set.py http://127.0.0.1:8000 synthetic.npz --model NAME
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
from numpy.typing import NDArray
from PIL import Image

AT_ONCE = 16


def main() -> None:
    """Send, check and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("data", type=Path, help="an .npz with images, boxes and perhaps instances")
    parser.add_argument("--model")
    parser.add_argument("--count", type=int, default=512, help="images, from the end of the file")
    arguments = parser.parse_args()
    with np.load(arguments.data, allow_pickle=False) as arrays:
        data = {
            name: arrays[name][-arguments.count :]
            for name in ("images", "boxes", "instances")
            if name in arrays
        }
    answers = [
        image for start in range(0, len(data["images"]), AT_ONCE) for image in _send(arguments, data, start)
    ]
    _print(answers)


def _send(
    arguments: argparse.Namespace, data: dict[str, NDArray[np.generic]], start: int
) -> list[dict[str, object]]:
    part = {name: values[start : start + AT_ONCE] for name, values in data.items()}
    names = [f"{start + index:06d}.png" for index in range(len(part["images"]))]
    document = json.dumps(_coco(names, part), indent=1).encode()
    files = [
        ("image", (name, _png(image), "image/png")) for name, image in zip(names, part["images"], strict=True)
    ]
    files.append(("annotations", ("annotations.json", document, "application/json")))
    fields = {"model": arguments.model} if arguments.model else {}
    answer = httpx.post(f"{arguments.url}/refine", files=files, data=fields, timeout=120)
    if answer.status_code != 200:
        sys.exit(answer.text)
    if b'"annotations":' + document + b"," not in answer.content:
        sys.exit("the annotations came back changed")
    return answer.json()["images"]  # type: ignore[no-any-return]


def _coco(names: list[str], part: dict[str, NDArray[np.generic]]) -> dict[str, object]:
    images = []
    annotations = []
    for index, name in enumerate(names):
        height, width = part["images"].shape[1:3]
        images.append({"id": index, "file_name": name, "width": width, "height": height})
        for shape in _shapes(part, index):
            annotations.append(
                {"id": len(annotations), "image_id": index, "category_id": 1, "iscrowd": 0, **shape}
            )
    return {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "object"}]}


def _shapes(part: dict[str, NDArray[np.generic]], index: int) -> Iterator[dict[str, object]]:
    boxes = part["boxes"][index].reshape(-1, 4).astype(float)
    for position, (x1, y1, x2, y2) in enumerate(boxes.tolist()):
        if x1 < 0:
            continue
        shape: dict[str, object] = {"bbox": [x1, y1, x2 - x1, y2 - y1]}
        if "instances" in part:
            shape["segmentation"] = _run_lengths(part["instances"][index] == position + 1)
        yield shape


def _run_lengths(mask: NDArray[np.bool_]) -> dict[str, object]:
    """COCO's uncompressed run lengths: column by column, beginning with the background."""
    flat = mask.T.reshape(-1)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flat, [False]])))
    counts = np.diff(np.concatenate([[0], edges, [flat.size]]))
    return {"size": list(mask.shape), "counts": counts[counts.cumsum() <= flat.size].tolist()}


def _png(image: NDArray[np.generic]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def _print(images: list[dict[str, object]]) -> None:
    entries = [entry for image in images for entry in image["preservation"]]  # type: ignore[attr-defined]
    shifts = sorted(entry["shift_px"] for entry in entries if entry["shift_px"] is not None)
    kept = sorted(entry["structure_kept"] for entry in entries if entry["structure_kept"] is not None)
    verdicts = Counter(str(image["verdict"]) for image in images)
    print(
        f"{len(images)} images, {len(entries)} annotations measured; every document came back byte for byte"
    )
    print("verdicts: " + ", ".join(f"{name} {count}" for name, count in verdicts.most_common()))
    print(f"shift, px: median {statistics.median(shifts):.3f}, 95 % below {_at(shifts, 0.95):.3f}")
    print(f"structure kept: median {statistics.median(kept):.3f}, 95 % above {_at(kept, 0.05):.3f}")


def _at(values: list[float], share: float) -> float:
    return values[int(share * len(values))]


if __name__ == "__main__":
    main()

"""Composing the answers of /refine: JSON, one image, or a zip; annotations go in as the bytes that came."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from starlette.responses import Response

from app.delivery import RefinedImage
from app.image_report import report_json
from app.refining.models import ServedModel
from app.routes.archive_names import names_in_archive, stem_of

_LONG_AGO = (1980, 1, 1, 0, 0, 0)
"""Every entry's time, so that equal requests give equal archives."""


@dataclass(frozen=True)
class Outcome:
    """Everything that an answer is made of; `annotations` are verbatim, none, one or one per image."""

    model: ServedModel
    annotations: tuple[bytes, ...]
    images: Sequence[RefinedImage]
    timings_ms: dict[str, float]


def json_answer(outcome: Outcome) -> Response:
    """The default answer: everything, images as base64."""
    pictures = [base64.b64encode(image.data) for image in outcome.images]
    entries = [
        report_json(image)[:-1] + b',"image":"' + picture + b'"}'
        for image, picture in zip(outcome.images, pictures, strict=True)
    ]
    return Response(_document(outcome, entries), media_type="application/json", headers=_headers(outcome))


def image_answer(outcome: Outcome) -> Response:
    """The one refined image itself; what else there is to say stands in the headers."""
    (image,) = outcome.images
    said = {
        "Simtrue-Verdict": image.verdict,
        "Simtrue-Seed": str(image.seed),
        "Simtrue-Strength": str(image.strength_applied),
    }
    return Response(image.data, media_type=image.media_type, headers=_headers(outcome) | said)


def zip_answer(outcome: Outcome) -> Response:
    """Images under their names, annotations byte for byte, and report.json."""
    names = names_in_archive(outcome.images)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as writer:
        for name, image in zip(names, outcome.images, strict=True):
            writer.writestr(zipfile.ZipInfo(name, _LONG_AGO), image.data)
        for name, document in _annotation_files(outcome, names):
            writer.writestr(zipfile.ZipInfo(name, _LONG_AGO), document)
        reports = [
            _dumps({"file": name})[:-1] + b"," + report_json(image)[1:]
            for name, image in zip(names, outcome.images, strict=True)
        ]
        writer.writestr(zipfile.ZipInfo("report.json", _LONG_AGO), _report(outcome, reports))
    return Response(archive.getvalue(), media_type="application/zip", headers=_headers(outcome))


def _annotation_files(outcome: Outcome, names: Sequence[str]) -> list[tuple[str, bytes]]:
    if len(outcome.annotations) == 1:
        return [("annotations.json", outcome.annotations[0])]
    first_of = {image.index: name for name, image in reversed(list(zip(names, outcome.images, strict=True)))}
    return [
        (f"annotations/{stem_of(first_of[index])}.json", document)
        for index, document in enumerate(outcome.annotations)
    ]


def _document(outcome: Outcome, entries: Sequence[bytes]) -> bytes:
    """The JSON answer; documents are spliced in, so not one byte of them can change."""
    annotations = outcome.annotations
    if len(annotations) == 1:
        spliced = annotations[0]
    else:
        spliced = b"[" + b",".join(annotations) + b"]" if annotations else b"null"
    return b"".join(
        [
            b'{"model":', _model(outcome.model.name, outcome.model.version), b',"annotations":', spliced,
            b',"images":[', b",".join(entries), b'],"timings_ms":', _dumps(outcome.timings_ms), b"}",
        ]
    )  # fmt: skip


def _report(outcome: Outcome, entries: Sequence[bytes]) -> bytes:
    model, timings = _model(outcome.model.name, outcome.model.version), _dumps(outcome.timings_ms)
    return b'{"model":' + model + b',"images":[' + b",".join(entries) + b'],"timings_ms":' + timings + b"}"


@lru_cache(maxsize=64)
def _model(name: str, version: int) -> bytes:
    return _dumps({"name": name, "version": version})


def _headers(outcome: Outcome) -> dict[str, str]:
    return {"Simtrue-Model": f"{outcome.model.name}/{outcome.model.version}", "Vary": "Accept"}


def _dumps(value: object) -> bytes:
    return _encoded(value).encode()


_encoded = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode

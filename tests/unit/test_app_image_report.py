"""The report on an image: what is written is what the model of it promises."""

from dataclasses import fields, replace

import pytest

from app.delivery import Preservation, RefinedImage
from app.image_report import ImageReport, report_json
from model.preservation.drift import Drift

IMAGE = RefinedImage(
    index=3,
    filename='ä\u2028"\\\x7f\x00.png',
    variant=1,
    seed=2**32 - 1,
    strength_applied=1e-05,
    width=55,
    height=35,
    mode="L",
    media_type="image/png",
    extension=".png",
    lossless=True,
    verdict="accepted",
    preservation=(
        Preservation(0, "x\t", (0.0, 0.0, 9.0, 9.0), Drift(0, 0.5, 1e-9, -0.00004, 0.123456)),
        Preservation(4, None, (0.0, 0.0, 9.0, 9.0), Drift(1, None)),
    ),
    problems=("a", "ß"),
    notes=(),
    data=b"",
)


@pytest.mark.parametrize(
    "changed", [{}, {"preservation": None}, {"strength_applied": 1e17, "lossless": False}]
)
def test_it_is_written_as_its_model_would_write_it(changed):
    written = report_json(replace(IMAGE, **changed))
    assert ImageReport.model_validate_json(written).model_dump_json().encode() == written


def test_it_says_what_is_known_of_the_image():
    report = ImageReport.model_validate_json(report_json(IMAGE))
    told = {field.name for field in fields(IMAGE)} - {"preservation", "extension", "data"}
    assert {name: getattr(report, name) for name in told} == {name: getattr(IMAGE, name) for name in told}
    first, second = report.preservation
    assert (first.dx, first.dy, first.shift_px, first.least_kept) == (0.0, 0.0, 0.0, 0.1235)
    assert second.model_dump(exclude={"annotation"}) == dict.fromkeys(
        ("label", "dx", "dy", "shift_px", "structure_kept", "least_kept")
    )

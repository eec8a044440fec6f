"""The report as one page: whole, escaped, self-contained, light, and the same numbers as JSON."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch")

from trainer.evaluation.html.page import render  # noqa: E402
from trainer.evaluation.html.pictures import MOST_BYTES, Inline, fitting, shown_size  # noqa: E402
from trainer.evaluation.pictures import (  # noqa: E402
    Pictures,
    Refinements,
    most_changed,
    sample,
    worst_pairs,
)
from trainer.evaluation.results import Region, Report  # noqa: E402

pytestmark = pytest.mark.train
MakeReport = Callable[..., Report]
Pixels = NDArray[Any]
HOSTILE = "<script>alert('x')</script>"
VOID = {"meta", "link", "img", "br"}


class Tags(HTMLParser):
    """Checks that every tag is closed in order, and keeps what was opened."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.text += f" {data}"


def read(page: str) -> Tags:
    tags = Tags()
    tags.feed(page)
    tags.close()
    assert tags.open == []
    return tags


def noise(seed: int, count: int, side: int, channels: int = 1) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, channels)).astype(np.uint8)


def pictures(report: Report, side: int = 32, channels: int = 1) -> Pictures:
    before = noise(0, 6, side, channels)
    after = (before // 2).astype(np.uint8)
    shown = [
        Refinements(
            after,
            worst_pairs(before, after, candidate.preservation.worst, range(len(before))),
            most_changed(before, after, range(len(before))),
        )
        for candidate in report.candidates
    ]
    return Pictures(before, noise(1, 6, side, channels), tuple(shown))


def test_the_page_is_well_formed_and_tells_the_headlines(make_report: MakeReport) -> None:
    report = make_report()
    page = read(render(report, pictures(report)))
    said = " ".join(page.text.split())
    for words in (
        "squares at step 2000",
        "66.0 %",
        "0.81 ± 0.01",
        "98.5 %",
        "0.04 px",
        "No alarm",
        report.command,
    ):
        assert words in said, words


def test_the_page_tells_beside_labels_kept_how_well_the_estimator_reads_at_all(
    make_report: MakeReport,
) -> None:
    plain = make_report().candidates[0].preservation
    assert plain.estimator is not None
    known = dataclasses.replace(plain.estimator, score_before=0.97, score_after=0.955, metric="accuracy")
    report = make_report({"preservation": dataclasses.replace(plain, estimator=known)})
    said = " ".join(read(render(report, pictures(report))).text.split())
    assert "97.0 %, of 8; it reads synthetic images with accuracy 97.0 %" in said
    assert "estimator's accuracy 97.0 % 95.5 %" in said


def test_the_page_needs_nothing_from_elsewhere_and_runs_no_script(make_report: MakeReport) -> None:
    report = make_report()
    page = render(report, pictures(report))
    tags = read(page)
    sources = [
        value for _, attributes in tags.seen for key, value in attributes.items() if key in ("src", "href")
    ]
    assert sources
    assert {str(source).split(",")[0] for source in sources} <= {"data:image/png;base64", "data:"}
    assert "script" not in {tag for tag, _ in tags.seen}
    assert re.search(r"url\(|@import|https?://", page) is None


def test_names_alarms_and_settings_are_text_never_markup(make_report: MakeReport) -> None:
    report = make_report(
        {"name": HOSTILE, "alarms": (HOSTILE,)},
        {"name": f"{HOSTILE}2"},
        synthetic=HOSTILE,
        real=HOSTILE,
        command=HOSTILE,
        settings={HOSTILE: HOSTILE},
    )
    page = render(report, pictures(report))
    assert "<script" not in page
    assert read(page).text.count("alert('x')") >= 9


def test_alarms_stand_on_the_page_in_words(make_report: MakeReport) -> None:
    report = make_report({"alarms": ("content is being erased",)})
    said = read(render(report, pictures(report))).text
    assert "Content is being erased" in said
    assert "No alarm" not in said


def test_without_a_task_the_page_says_what_was_not_measured(make_report: MakeReport) -> None:
    plain = make_report()
    kept = dataclasses.replace(plain.candidates[0].preservation, estimator=None)
    report = make_report({"usefulness": None, "preservation": kept})
    said = read(render(report, pictures(report))).text
    assert said.count("not measured: needs labels (--task)") == 2
    assert "nan" not in said


def test_images_too_small_for_a_layout_have_no_chart_of_it(make_report: MakeReport) -> None:
    report = make_report()
    assert "Judge of layout" in render(report, pictures(report))
    frame = report.realities
    ends = {name: dataclasses.replace(getattr(frame, name), layout=None) for name in ("floor", "start")}
    refined = dataclasses.replace(report.candidates[0].realism, layout=None)
    small = make_report({"realism": refined}, realities=dataclasses.replace(frame, **ends))
    assert "Judge of layout" not in render(small, pictures(small))


def test_several_refiners_share_the_frame_and_have_their_own_columns(make_report: MakeReport) -> None:
    report = make_report({"name": "one"}, {"name": "other"})
    tags = read(render(report, pictures(report)))
    assert "2 refiners side by side" in tags.text
    scopes = [attributes.get("scope") for tag, attributes in tags.seen if tag == "th"]
    assert scopes.count("col") >= 4
    # The shared arm is drawn once, the refiners' own ones each.
    assert len(re.findall(r"\brefined, one\b", tags.text)) > 0
    assert "synthetic, one" not in tags.text


def test_large_pictures_are_shrunk_until_the_page_is_light(make_report: MakeReport) -> None:
    report = make_report({"name": "one"}, {"name": "other"})
    heavy = pictures(report, side=160, channels=3)
    assert fitting(heavy).side < 128
    page = render(report, heavy)
    assert len(page) < MOST_BYTES + 300_000


def test_small_pictures_are_enlarged_by_a_whole_factor_and_stay_whole() -> None:
    image = noise(0, 1, 32)[0]
    assert shown_size(image, 144) == (128, 128)
    assert shown_size(noise(0, 1, 300)[0], 144) == (144, 144)
    deep = image.astype(np.uint16) * 257
    assert Inline(64).source(deep) == Inline(64).source(image)


def test_a_region_is_cut_out_of_a_large_image_with_its_surroundings() -> None:
    before = noise(0, 1, 256)
    (pair,) = worst_pairs(before, before, [Region(0, (100.0, 200.0, 110.0, 250.0), 0.5, 0.4, 0.2)], [7])
    height, width = pair.before.shape[:2]
    assert pair.box is not None
    x1, y1, x2, y2 = (int(edge) for edge in pair.box)
    np.testing.assert_array_equal(pair.before[y1:y2, x1:x2], before[0, 200:250, 100:110])
    assert (height, width) == (62, 32)
    assert pair.captions == ("image 7", "40 % left (20 % where least), moved 0.50 px")


def test_the_images_that_changed_most_come_first() -> None:
    before = np.full((4, 8, 8, 1), 100, np.uint8)
    after = before + np.array([0, 30, 10, 20], np.uint8).reshape(4, 1, 1, 1)
    pairs = most_changed(before, after, [10, 11, 12, 13])
    assert [pair.captions[0] for pair in pairs] == ["image 11", "image 13", "image 12", "image 10"]
    assert pairs[0].captions[1] == "changed by 30 of 255 levels"


def test_samples_are_always_the_same_and_differ_between_the_sets() -> None:
    assert sample(500, 0) == sample(500, 0) != sample(500, 1)
    assert sample(3, 0) == [0, 1, 2]

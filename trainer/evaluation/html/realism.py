"""Owns the section on realism: bars between floor and start, the spectrum, patches by scale, samples."""

from collections.abc import Callable

from trainer.evaluation.html.charts import Line, Mark, Row, dot_chart, line_chart, points_chart
from trainer.evaluation.html.overview import look
from trainer.evaluation.html.pictures import Inline
from trainer.evaluation.html.text import counted, escape, number
from trainer.evaluation.pictures import Pictures
from trainer.evaluation.results import Estimate, Realism, Report


def realism(report: Report, pictures: Pictures, inline: Inline) -> str:
    """The whole section."""
    images = counted(report.realities.images)
    charts = [
        _bars(report, "Judge", "balanced accuracy of fresh classifiers", lambda r: r.judge, "%"),
        _layout(report),
        _bars(report, "KID", "kernel distance, random fixed features", lambda r: r.kernel_distance, ""),
        _bars(report, "Patches", "sliced Wasserstein, levels of 255", lambda r: r.sliced_wasserstein, ""),
        _bars(report, "Spectrum", "decades from the real one", _spectrum_distance, ""),
        _spectrum(report),
        _scales(report),
    ]
    return (
        "<section><h2>Does it look real?</h2><p class='how'>Each bar is the distance that is left: from the "
        "floor, which is real images against other real ones, towards the start, which is synthetic against "
        f"real. {images} images of each set.</p>{samples(report, pictures, inline)}<div "
        f"class='charts'>{''.join(charts)}</div></section>"
    )


def samples(report: Report, pictures: Pictures, inline: Inline) -> str:
    """Rows of the same images before and after, and of real ones."""
    rows = [("synthetic", pictures.synthetic)]
    rows += [(_name(report, index), shown.refined) for index, shown in enumerate(pictures.candidates)]
    rows.append(("real", pictures.real))
    columns = max(len(images) for _, images in rows)
    cells = "".join(
        f"<div class='caption'>{escape(name)}</div>{inline.strip(images, name)}"
        + "<div></div>" * (columns - len(images))
        for name, images in rows
    )
    return (
        f"<div class='samples' style='--columns:{columns}' tabindex='0' role='group' "
        f"aria-label='Samples'>{cells}</div>"
    )


def chart(title: str, meaning: str, drawing: str) -> str:
    """A chart under its name."""
    return (
        f"<figure class='plot'><figcaption><b>{escape(title)}</b> "
        f"{escape(meaning)}</figcaption>{drawing}</figure>"
    )


def _name(report: Report, index: int) -> str:
    """Beside each other refiners need their names; alone it is plainly refined."""
    return report.candidates[index].name if len(report.candidates) > 1 else "refined"


def _bars(report: Report, title: str, meaning: str, pick: Callable[[Realism], Estimate], unit: str) -> str:
    floor, start = pick(report.realities.floor), pick(report.realities.start)
    rows = [
        _row(_name(report, index), look(index), pick(candidate.realism), unit)
        for index, candidate in enumerate(report.candidates)
    ]
    marks = (Mark("floor", floor.mean, "real"), Mark("start", start.mean, "synthetic"))
    drawing = dot_chart(title, rows, marks, unit=unit, bars_from=floor.mean)
    ends = f"floor {number(floor.mean, unit)}, start {number(start.mean, unit)}"
    return chart(title, f"{meaning}; {ends}", drawing)


def _layout(report: Report) -> str:
    """Nothing where the images are too small to have one."""

    def told(realism: Realism) -> Estimate:
        assert realism.layout is not None
        return realism.layout

    if report.realities.floor.layout is None:
        return ""
    meaning = "the same, of judges that see only what is lighter or darker where: content, not looks"
    return _bars(report, "Judge of layout", meaning, told, "%")


def _row(name: str, colour: str, estimate: Estimate, unit: str) -> Row:
    return Row(name, colour, estimate.mean, estimate.low, estimate.high, (), number(estimate.mean, unit))


def _spectrum_distance(realism: Realism) -> Estimate:
    value = realism.spectrum_distance
    return Estimate(value, value, value, (value,))


def _spectrum(report: Report) -> str:
    frame = report.realities
    lines = [
        Line("real", "real", tuple(zip(frame.frequencies, frame.real_spectrum, strict=True))),
        Line("synthetic", "synthetic", tuple(zip(frame.frequencies, frame.start.spectrum, strict=True))),
    ]
    for index, candidate in enumerate(report.candidates):
        points = tuple(zip(frame.frequencies, candidate.realism.spectrum, strict=True))
        lines.append(Line(_name(report, index), look(index), points))
    drawing = line_chart("Radial power spectrum", lines, "cycles per pixel", "power, log10")
    return chart("Radial spectrum", "the left is large shapes, the right is edges and grain", drawing)


def _scales(report: Report) -> str:
    frame = report.realities
    count = len(frame.start.sliced_wasserstein.values)
    if count < 2:
        return ""
    found = [("floor", "real", frame.floor), ("synthetic", "synthetic", frame.start)]
    found += [(_name(report, index), look(index), c.realism) for index, c in enumerate(report.candidates)]
    series = [
        Line(name, colour, tuple((float(i), v) for i, v in enumerate(realism.sliced_wasserstein.values)))
        for name, colour, realism in found
    ]
    names = ["full size", *(f"1/{2**index}" for index in range(1, count))]
    drawing = points_chart(
        "Sliced Wasserstein by scale", names, series, "scale of the image", "levels of 255"
    )
    return chart("Patches by scale", "where the difference sits: fine grain or coarse shapes", drawing)

"""`make demo`: a real server refines the bundled samples, and what changed is drawn side by side."""

from __future__ import annotations

import argparse
import base64
import contextlib
import http.client
import io
import json
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from PIL import Image, ImageDraw

from app.annotations.json_text import parse
from app.annotations.reading import read_geometry
from app.annotations.shapes import Shape

SAMPLES = Path(__file__).resolve().parent / "bundled" / "samples"
PANEL_SIDE_PX = 320
STOP_S = 60
_GAP_PX, _MARGIN_PX = 12, 28
_INK, _LINE, _PAPER = (30, 30, 30), (230, 60, 40), (255, 255, 255)


@dataclass(frozen=True)
class _Refined:
    """One sample after its round trip."""

    name: str
    picture: bytes
    verdict: str
    strength: float
    worst_shift_px: float | None
    model: str


def main() -> None:
    """Run the demonstration; exits with 1 and a sentence when anything is not as promised."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("demo-output"), help="folder for the pictures")
    parser.add_argument("--models", type=Path, help="model repository; the bundled one unless given")
    arguments = parser.parse_args()
    try:
        _demonstrate(arguments.out, arguments.models)
    except _BrokenPromiseError as broken:
        sys.exit(f"The demonstration failed: {broken}")


class _BrokenPromiseError(Exception):
    """Something that the demonstration shows did not happen."""


def _demonstrate(out: Path, models: Path | None) -> None:
    out.mkdir(parents=True, exist_ok=True)
    samples = sorted(SAMPLES.glob("*.png"))
    panels = []
    with _server(models) as (url, greeting):
        _say(greeting)
        for sample in samples:
            document = sample.with_suffix(".json").read_bytes()
            refined = _refine(url, sample, document)
            (out / sample.name).write_bytes(refined.picture)
            (out / f"{sample.stem}.json").write_bytes(document)
            panels.append(_panel(sample.read_bytes(), refined, document))
            panels[-1].save(out / f"{sample.stem}-before-after.png")
            _say(f"  {refined.name}: {_summary(refined)}; annotations came back byte for byte")
    _stacked(panels).save(out / "before-after.png")
    _say(f"Look at {out / 'before-after.png'}; the refined images lie beside it.")


@contextlib.contextmanager
def _server(models: Path | None) -> Iterator[tuple[str, str]]:
    """A service of its own on a free port; yields its URL and what it said when it was ready."""
    flags = ["--host", "127.0.0.1", "--port", "0", "--log-level", "warning"]
    chosen = ["--models", str(models)] if models else []
    program = [sys.executable, "-c", "from app.cli import main; main()", "serve"]
    words = [*program, *flags, *chosen]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as server:  # noqa: S603 (ourselves)
        assert server.stdout is not None
        try:
            greeting = server.stdout.readline().strip()
            found = re.search(r" at (http://\S+)$", greeting)
            if found is None:
                raise _BrokenPromiseError("the server did not start.")
            yield found.group(1), greeting
        finally:
            server.terminate()
            code = server.wait(STOP_S)
    if code != 0:
        raise _BrokenPromiseError(f"the server ended with {code}.")


def _refine(url: str, sample: Path, document: bytes) -> _Refined:
    status, body = _post(url, sample.name, sample.read_bytes(), document)
    answer: dict[str, Any] = json.loads(body)
    if status != http.HTTPStatus.OK:
        raise _BrokenPromiseError(f"{sample.name}: {answer['detail']}")
    _, _, after = body.partition(b'"annotations":')
    if not after.startswith(document + b',"images":'):
        raise _BrokenPromiseError(f"the annotations of {sample.name} came back changed.")
    (image,) = answer["images"]
    shifts = [entry["shift_px"] for entry in image["preservation"] if entry["shift_px"] is not None]
    return _Refined(
        name=sample.name,
        picture=base64.b64decode(image["image"]),
        verdict=image["verdict"],
        strength=image["strength_applied"],
        worst_shift_px=max(shifts, default=None),
        model=answer["model"]["name"],
    )


def _post(url: str, name: str, image: bytes, document: bytes) -> tuple[int, bytes]:
    boundary = uuid.uuid4().hex
    parts = [
        (f'name="image"; filename="{name}"', image),
        (f'name="annotations"; filename="{Path(name).stem}.json"', document),
    ]
    body = b"".join(
        f"--{boundary}\r\nContent-Disposition: form-data; {head}\r\n\r\n".encode() + data + b"\r\n"
        for head, data in parts
    )
    body += f"--{boundary}--\r\n".encode()
    place = urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=STOP_S)
    with contextlib.closing(connection):
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        connection.request("POST", "/refine", body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()


def _summary(refined: _Refined) -> str:
    at = "" if refined.strength == 1 else f" at strength {refined.strength:g}"
    moved = refined.worst_shift_px
    return f"{refined.verdict}{at}" + ("" if moved is None else f", structure moved {moved:.2f} px at most")


def _panel(before: bytes, refined: _Refined, document: bytes) -> Image.Image:
    """Before and after beside each other, first plain, then with the annotations drawn over them."""
    pictures = [Image.open(io.BytesIO(data)).convert("RGB") for data in (before, refined.picture)]
    width, height = pictures[0].size
    scale = max(1, PANEL_SIDE_PX // max(width, height))
    (geometry,) = read_geometry(parse(document), [(refined.name, width, height)]).images
    plain = [
        picture.resize((width * scale, height * scale), Image.Resampling.NEAREST) for picture in pictures
    ]
    cells = [*plain, *(_overlaid(picture, geometry.shapes, scale) for picture in plain)]
    titles = ["synthetic", f"refined by {refined.model}", "its annotations", refined.verdict]
    across = cells[0].width + _GAP_PX
    panel = Image.new("RGB", (across * len(cells) + _GAP_PX, cells[0].height + _MARGIN_PX + _GAP_PX), _PAPER)
    pen = ImageDraw.Draw(panel)
    for index, (cell, title) in enumerate(zip(cells, titles, strict=True)):
        panel.paste(cell, (_GAP_PX + across * index, _MARGIN_PX))
        pen.text((_GAP_PX + across * index, 8), title, fill=_INK)
    return panel


def _overlaid(picture: Image.Image, shapes: Sequence[Shape], scale: int) -> Image.Image:
    drawn = picture.copy()
    pen = ImageDraw.Draw(drawn)
    for shape in shapes:
        outlines = shape.polygons or (_corners(shape),)
        for outline in outlines:
            points = [(x * scale, y * scale) for x, y in outline]
            pen.line([*points, points[0]], fill=_LINE, width=max(1, scale // 4))
    return drawn


def _corners(shape: Shape) -> tuple[tuple[float, float], ...]:
    return (shape.x1, shape.y1), (shape.x2, shape.y1), (shape.x2, shape.y2), (shape.x1, shape.y2)


def _stacked(panels: Sequence[Image.Image]) -> Image.Image:
    width = max(panel.width for panel in panels)
    sheet = Image.new("RGB", (width, sum(panel.height for panel in panels)), _PAPER)
    top = 0
    for panel in panels:
        sheet.paste(panel, (0, top))
        top += panel.height
    return sheet


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 (the demonstration talks to a person)


if __name__ == "__main__":
    main()

"""One very small way from drawn cells to a refined image: fit, export, serve, refine (`make train-smoke`).

It uses the installed commands as a user would, and says what it does. It proves that the parts fit, not that
a refiner learned in a minute is a good one.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from trainer.simulators import digit_cells

COUNT = 96
STEPS = 60
FIT = ("--steps", str(STEPS), "--batch-size", "8", "--refiner-width", "8", "--refiner-blocks", "1")
FIT += (
    "--warmup-discriminator-steps",
    "2",
    "--history-capacity",
    "32",
    "--log-every",
    "4",
    "--device",
    "cpu",
)
BOUNDARY = "simtrue-smoke"


def main() -> None:
    """Do it all in a temporary folder; end with 1 and the reason when something is not as it should be."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        digit_cells.write_cells(folder / "synthetic", COUNT, seed=1)
        _photograph(folder)
        data = ("--synthetic", str(folder / "synthetic"), "--real", str(folder / "real"))
        _run("simtrue-train", "fit", *data, "--runs-root", str(folder / "runs"), *FIT)
        (run,) = (folder / "runs").iterdir()
        _run("simtrue-train", "export", str(run), "--models", str(folder / "models"), "--name", "smoke")
        model = folder / "models" / "smoke" / "1" / "refiner.onnx"
        _expect(model.is_file(), f"the export did not publish {model.relative_to(folder)}")
        with _served(folder / "models") as port:
            _check_refinement(port, folder / "synthetic")
    _say("trained, exported, served, refined: the annotation came back byte for byte")


def _photograph(folder: Path) -> None:
    """Other cells as a poor camera sees them: darker, flatter, blurred, noisy. Stand-ins for real photos."""
    rng = np.random.default_rng(2)
    drawn = folder / "unseen"
    digit_cells.write_cells(drawn, COUNT, seed=2)
    (folder / "real").mkdir()
    for file in sorted(drawn.glob("*.png")):
        with Image.open(file) as image:
            blurred = np.asarray(image.filter(ImageFilter.GaussianBlur(0.9)), np.float64)
        seen = 90 + 0.35 * blurred + rng.normal(0, 4, blurred.shape)
        Image.fromarray(seen.clip(0, 255).round().astype(np.uint8)).save(folder / "real" / file.name)


def _check_refinement(port: int, cells: Path) -> None:
    cell = next(file for file in sorted(cells.glob("*.json")) if json.loads(file.read_text())["objects"])
    annotation, image = cell.read_bytes(), cell.with_suffix(".png").read_bytes()
    status, answer = _post(
        port, {"image": ("a.png", image), "annotations": ("a.json", annotation)}, "application/json"
    )
    _expect(status == http.HTTPStatus.OK, f"/refine answered {status}: {answer[:300]!r}")
    _expect(annotation.strip() in answer, "the annotation did not come back byte for byte")
    _expect(json.loads(answer) is not None, "the answer is not JSON")
    status, refined = _post(port, {"image": ("a.png", image)}, "image/png")
    _expect(status == http.HTTPStatus.OK, f"/refine answered {status}: {refined[:300]!r}")
    before, after = (np.asarray(Image.open(io.BytesIO(data)), np.int16) for data in (image, refined))
    _expect(before.shape == after.shape, f"the refined image is {after.shape}, the sent one {before.shape}")
    _expect(bool(np.any(before != after)), "the refined image is the sent one")


def _post(port: int, parts: dict[str, tuple[str, bytes]], accept: str) -> tuple[int, bytes]:
    body = b"".join(
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"; filename="{file}"\r\n\r\n'.encode()
        + data
        + b"\r\n"
        for name, (file, data) in parts.items()
    )
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}", "Accept": accept}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    with contextlib.closing(connection):
        connection.request("POST", "/refine", body + f"--{BOUNDARY}--\r\n".encode(), headers)
        answer = connection.getresponse()
        return answer.status, answer.read()


@contextlib.contextmanager
def _served(models: Path) -> Iterator[int]:
    """Serve on a free port, which the service's first line names."""
    command = [_installed("simtrue"), "serve", "--models", str(models), "--port", "0", "--device", "cpu"]
    _say(f"simtrue serve --models {models.name} --port 0 --device cpu")
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        greeting = server.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+)", greeting)
        _expect(found is not None, f"the service did not say where it listens, but {greeting!r}")
        assert found is not None
        yield int(found.group(1))
    finally:
        server.terminate()
        server.wait(timeout=60)
    _expect(server.returncode == 0, f"the service ended with {server.returncode}")


def _run(command: str, *words: str) -> None:
    _say(f"{command} {words[0]}")
    done = subprocess.run([_installed(command), *words], check=False)
    _expect(done.returncode == 0, f"{command} {words[0]} ended with {done.returncode}")


def _installed(command: str) -> str:
    return str(Path(sys.executable).with_name(command))


def _expect(held: bool, otherwise: str) -> None:
    if not held:
        sys.exit(f"train-smoke: {otherwise}")


def _say(sentence: str) -> None:
    print(f"train-smoke: {sentence}", flush=True)


if __name__ == "__main__":
    main()

"""Sets of small images and a real service to hand them to, for the benchmarks of dataset jobs."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image

from trainer.simulators.digit_cells import CELL_PX, Shape, draw_cell, random_frame, random_print

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = (sys.executable, "-c", "import sys; from app.cli import main; sys.exit(main())", "serve")
DRAWN = 100
"""Cells that are drawn; every further image is one of these, some grey levels darker."""


def write_set(archive: Path, count: int, *, labels: bool) -> None:
    """Write a zip of `count` digit cells, 32x32 px PNGs, with a YOLO label file each or none."""
    rng = np.random.default_rng(0)
    cells = [
        draw_cell(rng, 1 + i % 9, random_print(rng), random_frame(rng)) for i in range(min(count, DRAWN))
    ]
    with zipfile.ZipFile(archive, "w") as packed:
        if labels:
            packed.writestr("classes.txt", "".join(f"{digit}\n" for digit in range(10)))
        for i in range(count):
            pixels, shape = cells[i % DRAWN]
            packed.writestr(f"images/{i:06}.png", _png(np.maximum(pixels, i // DRAWN) - i // DRAWN))
            if labels and shape is not None:
                packed.writestr(f"labels/{i:06}.txt", _yolo(shape))


def _png(pixels: np.ndarray[Any, Any]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def _yolo(shape: Shape) -> str:
    x1, y1, x2, y2 = (edge / CELL_PX for edge in shape.box)
    return f"{shape.digit} {(x1 + x2) / 2:.6f} {(y1 + y2) / 2:.6f} {x2 - x1:.6f} {y2 - y1:.6f}\n"


class Service:
    """A service process on a data folder; it may be killed and started again. A context manager."""

    def __init__(self, data: Path, **settings: object) -> None:
        self.data = data
        named = {f"SIMTRUE_{name.upper()}": str(value) for name, value in settings.items()}
        self._environment = os.environ | {
            "SIMTRUE_DATA": str(data),
            "SIMTRUE_PORT": "0",
            "SIMTRUE_DEVICE": "cpu",
            "SIMTRUE_LOG_LEVEL": "error",
            "PYTHONPATH": str(ROOT),
            **named,
        }
        self._process: subprocess.Popen[str] | None = None
        self.client = httpx.Client()

    def __enter__(self) -> Service:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait()

    @property
    def pid(self) -> int:
        """Of the process that runs now."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start a process, and wait until it answers."""
        self._process = subprocess.Popen(
            PROGRAM, env=self._environment, cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        url = self._process.stdout.readline().rsplit(maxsplit=1)[-1]
        self.client.close()
        self.client = httpx.Client(base_url=url, timeout=600)

    def stop(self, signal_number: int) -> None:
        """Send a signal, and wait for the end."""
        assert self._process is not None
        self._process.send_signal(signal_number)
        self._process.wait()

    def children(self) -> list[int]:
        """Its child processes now."""
        told = Path(f"/proc/{self.pid}/task").glob("*/children")
        return [int(pid) for file in told for pid in _read(file).split()]

    def submit(self, archive: Path, options: dict[str, object] | None = None) -> dict[str, Any]:
        """Hand a set in; the job as the service tells it."""
        query = {"filename": archive.name, "options": json.dumps(options or {})}
        with archive.open("rb") as file:
            answer = self.client.post(
                "/jobs", params=query, content=file, headers={"Content-Type": "application/zip"}
            )
        assert answer.status_code == 202, answer.text
        return dict(answer.json())

    def job(self, job_id: str) -> dict[str, Any]:
        """One look at a job."""
        return dict(self.client.get(f"/jobs/{job_id}").json())

    def finished(self, job_id: str, every_s: float = 0.5) -> dict[str, Any]:
        """Wait for a job; it must be done, with every file."""
        while (job := self.job(job_id))["state"] not in ("done", "failed", "cancelled"):
            time.sleep(every_s)
        assert job["state"] == "done", job["detail"]
        assert job["counts"]["failed"] == 0, job["counts"]
        return job

    def peak_bytes(self, pid: int | None = None) -> int:
        """The most memory that a process, this service's own unless told, ever held; 0 when it is gone."""
        status = _read(Path(f"/proc/{pid or self.pid}/status"))
        lines = (line.split() for line in status.splitlines() if line.startswith("VmHWM"))
        return next((int(line[1]) << 10 for line in lines), 0)


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""

"""Measures one start of the service: time to the first refined image, memory, and that torch is absent.

    python tests/benchmarks/service_start.py --models FOLDER      # prints one JSON object

Linux only: memory and loaded libraries are read from /proc.
"""

from __future__ import annotations

import argparse
import http.client
import io
import json
import re
import subprocess
import sys
import time
from pathlib import Path

from PIL import Image

PROGRAM = [sys.executable, "-c", "from app.cli import main; main()", "serve", "--port", "0"]
FORBIDDEN = ("/torch/", "libtorch")


def main() -> None:
    """Start, ask once, look into /proc, stop; exits with 1 when torch is in the process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, help="model repository; the bundled one unless given")
    arguments = parser.parse_args()
    flags = ["--models", str(arguments.models)] if arguments.models else []
    started_s = time.perf_counter()
    with subprocess.Popen([*PROGRAM, *flags], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as service:
        try:
            address = service.stdout.readline().decode().strip().rpartition("http://")[2]
            listening_s = time.perf_counter() - started_s
            _refine(address)
            answered_s = time.perf_counter() - started_s
            measured = {
                "listening_s": round(listening_s, 3),
                "first_answer_s": round(answered_s, 3),
                "rss_mib": _rss_mib(service.pid),
                "torch_loaded": _torch_loaded(service.pid),
            }
        finally:
            service.terminate()
    print(json.dumps(measured))
    sys.exit(measured["torch_loaded"])


def _refine(address: str) -> None:
    image = io.BytesIO()
    Image.effect_noise((64, 64), 40).save(image, "PNG")
    connection = http.client.HTTPConnection(address, timeout=60)
    connection.request("POST", "/refine", image.getvalue(), {"Content-Type": "image/png"})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    if answer.status != http.HTTPStatus.OK:
        raise SystemExit(f"{answer.status}: {body[:500]!r}")


def _rss_mib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    found = re.search(r"^VmRSS:\s+(\d+) kB", status, re.MULTILINE)
    assert found is not None
    return int(found.group(1)) // 1024


def _torch_loaded(pid: int) -> bool:
    maps = Path(f"/proc/{pid}/maps").read_text(encoding="utf-8")
    return any(word in maps for word in FORBIDDEN)


if __name__ == "__main__":
    main()

"""What the service itself costs for a small image, beside another checkout of it, in turns.

    python tests/benchmarks/own_cost.py                          # this checkout alone
    python tests/benchmarks/own_cost.py --other ../other         # and another one, with the same Python
    python tests/benchmarks/own_cost.py --model real --clients 8 32 128

A model that does nothing leaves what the server costs; the real one tells what of the bare session's
throughput is left beside it. Processor time is that of the whole process; medians over the rounds.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from pathlib import Path
from statistics import median

import load
from bench import bare_images_per_s, bundled, copied, cores
from servers import SIMTRUE


def main() -> None:
    """Measure in turns and print a table."""
    arguments = _arguments()
    kinds = (
        ["image and JSON", "image and a measured box"] if arguments.model == "null" else ["image and JSON"]
    )
    checkouts = [load.ROOT, *(path.resolve() for path in arguments.other)]
    found: dict[tuple[str, int, Path], list[load.Measured]] = {}
    bare: list[float] = []
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        null = arguments.model == "null"
        root = Path(folder)
        model = load.write_null_model(root / "m") if null else copied(bundled(), root / "m")
        threads = 1 if null else cores()
        servers = {path: stack.enter_context(_started(path, model, threads, root)) for path in checkouts}
        for _ in range(arguments.rounds):
            if not null:
                bare.append(bare_images_per_s(model, arguments.seconds))
            for kind in kinds:
                for clients in arguments.clients:
                    for path in checkouts:
                        one = load.measure(
                            servers[path],
                            load.request(kind),
                            images=1,
                            clients=clients,
                            seconds=arguments.seconds,
                        )
                        found.setdefault((kind, clients, path), []).append(one)
    print("| sent | clients | checkout | CPU ms an image | images/s (of bare) | p50 ms | p99 ms |")
    print("|" + " --- |" * 7)
    for (kind, clients, path), runs in found.items():
        cpu, rate, p50, p99 = (
            median(getattr(one, what) for one in runs)
            for what in ("cpu_ms", "images_per_s", "p50_ms", "p99_ms")
        )
        of_bare = f" ({rate / median(bare):.2f})" if bare else ""
        where = "this" if path == load.ROOT else path.name
        print(f"| {kind} | {clients} | {where} | {cpu:.3f} | {rate:.0f}{of_bare} | {p50:.1f} | {p99:.1f} |")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--other", type=Path, nargs="*", default=[], help="another checkout of this repository"
    )
    parser.add_argument("--model", choices=("null", "real"), default="null")
    parser.add_argument("--clients", type=int, nargs="+", default=[32])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of every single measurement")
    return parser.parse_args()


@contextlib.contextmanager
def _started(checkout: Path, model: Path, threads: int, root: Path):
    environment = {
        "PYTHONPATH": str(checkout),
        "SIMTRUE_THREADS": str(threads),
        "SIMTRUE_DATA": str(root / f"data-{checkout.name}"),
    }
    flags = ["--device", "cpu", "--models", str(model.parents[2])]
    with load.running([*SIMTRUE, *flags], environment, load.request("image"), checkout) as server:
        yield server


if __name__ == "__main__":
    sys.exit(main())

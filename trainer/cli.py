"""Owns `simtrue-train`: its commands, their flags and exit codes."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from trainer.errors import TrainerError
from trainer.options import add_flags, flag_values, resolve


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command; exit 0 when it did what it should, 1 with a sentence when not, 2 for a wrong flag."""
    parsed = _parser().parse_args(arguments)
    try:
        parsed.run(parsed)
    except TrainerError as error:
        print(f"simtrue-train: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(1)
    except KeyboardInterrupt:
        print("simtrue-train: stopped; resume goes on from the last checkpoint", file=sys.stderr)  # noqa: T201
        sys.exit(130)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="simtrue-train", description="Train a refiner that makes simulated images look real."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_fit(commands)
    _add_resume(commands)
    return parser


def _add_fit(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    fit = commands.add_parser("fit", help="train a refiner from synthetic and real images")
    fit.add_argument(
        "--config",
        type=Path,
        default=None,
        metavar="FILE",
        help="TOML file of settings, above the preset, below flags",
    )
    add_flags(fit)
    fit.set_defaults(run=_fit)


def _add_resume(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    resume = commands.add_parser("resume", help="go on with a run as if it had never stopped")
    resume.add_argument("folder", type=Path, metavar="RUN", help="run folder")
    resume.set_defaults(run=_resume)


def _fit(arguments: argparse.Namespace) -> None:
    config = resolve(flag_values(arguments), arguments.config)
    from trainer.commands import fit

    fit(config)


def _resume(arguments: argparse.Namespace) -> None:
    from trainer.commands import resume

    resume(arguments.folder)


if __name__ == "__main__":
    main()

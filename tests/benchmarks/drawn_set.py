"""The command line that all makers of drawn sets share."""

from __future__ import annotations

import argparse
from pathlib import Path


def parser_of(doc: str | None, photos: str, count: int) -> argparse.ArgumentParser:
    """`photos` says which folder the photographs are in, `count` is how many images are drawn by default."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, help=photos)
    parser.add_argument("folder", type=Path, help="where the set goes")
    parser.add_argument("--seed", type=int, default=0, help="of the synthetic images")
    parser.add_argument("--count", type=int, default=count, help="how many synthetic images")
    return parser


def checked(parser: argparse.ArgumentParser, needed: str, of: str) -> argparse.Namespace:
    """The arguments; ends with a sentence where `needed` is not there, or the folder is not empty."""
    arguments = parser.parse_args()
    if not (arguments.photos / needed).exists():
        parser.error(f"{arguments.photos} is no {of}: it has no {needed}")
    if arguments.folder.exists() and any(arguments.folder.iterdir()):
        parser.error(f"the folder {arguments.folder} is not empty")
    return arguments

"""Files that appear only when they are whole and on the disk."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

PARTIAL_SUFFIX = ".simtrue-partial"


@contextlib.contextmanager
def appearing(target: Path) -> Iterator[IO[bytes]]:
    """A file beside `target` that takes its name when the block ends well, and is gone when it does not.

    Folders are made as needed. Raises OSError.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(
        dir=target.parent, prefix=".", suffix=PARTIAL_SUFFIX, delete=False
    ) as file:
        partial_path = Path(file.name)
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
            partial_path.replace(target)
        except BaseException:
            partial_path.unlink(missing_ok=True)
            raise

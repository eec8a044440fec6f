"""What a full disk is called: an error of ours, that passes when somebody makes room."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from app.errors import StorageFull
from model.files import DISK_FULL


@contextmanager
def naming_full_disk(sentence: str) -> Iterator[None]:
    """Raise StorageFull for an OSError that says that the disk is full; `{reason}` stands for its words."""
    try:
        yield
    except OSError as error:
        if error.errno in DISK_FULL:
            raise StorageFull(sentence.format(reason=error.strerror)) from error
        raise

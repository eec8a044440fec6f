"""Text that every database takes: valid Unicode, no NUL, of bounded length."""

from __future__ import annotations


def storable(text: str, max_characters: int) -> str:
    r"""`text` with what cannot be stored spelled out (a lone surrogate as `\udc80`, NUL as `\x00`), cut.

    File names may hold bytes that are no UTF-8, and sentences about files hold their names.
    """
    spelled = text.encode("utf-8", "backslashreplace").decode("utf-8").replace("\0", "\\x00")
    return spelled if len(spelled) <= max_characters else spelled[: max_characters - 1] + "…"

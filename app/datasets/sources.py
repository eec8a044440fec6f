"""Which folders and buckets clients may name as source or destination, and the places that these are."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal
from urllib.parse import unquote, unquote_to_bytes

from app.datasets.folder_place import FolderPlace, is_below
from app.datasets.place import Place
from app.datasets.remote_place import RemotePlace
from app.errors import InvalidRequest, NoSuchPlace, PlaceRefused
from app.settings import Settings, variable_of

LONGEST_URI: Final = 2048


@dataclass(frozen=True)
class _Allowed:
    """What the settings let clients name, and which settings these are."""

    verb: Literal["read", "written"]
    roots: tuple[Path, ...]
    roots_setting: str
    prefixes: tuple[str, ...]
    prefixes_setting: str


def open_source(uri: str, settings: Settings) -> Place:
    """The place that a client wants to be read.

    Raises PlaceRefused, which does not tell what exists, and NoSuchPlace inside of what may be read.
    """
    place = _opened(uri, _readable(settings), settings)
    if isinstance(place, FolderPlace) and not _is_folder(place.folder):
        raise NoSuchPlace(f"There is no folder {_shown(uri)}.")
    return place


def open_destination(uri: str, settings: Settings) -> Place:
    """The place that a client wants to be written, which need not exist yet. Raises PlaceRefused."""
    return _opened(uri, _writable(settings), settings)


def refuse_overlap(source: Place, destination: Place) -> None:
    """Refuse a destination inside of the source, or around it. Raises InvalidRequest."""
    one, other = (f"{place.uri.rstrip('/')}/" for place in (source, destination))
    if one.startswith(other) or other.startswith(one):
        raise InvalidRequest(f"The source {source.uri} and the destination {destination.uri} overlap.")


def _readable(settings: Settings) -> _Allowed:
    roots, prefixes = variable_of("source_roots"), variable_of("s3_prefixes")
    return _Allowed("read", settings.source_roots, roots, settings.s3_prefixes, prefixes)


def _writable(settings: Settings) -> _Allowed:
    roots, prefixes = variable_of("destination_roots"), variable_of("s3_destination_prefixes")
    return _Allowed("written", settings.destination_roots, roots, settings.s3_destination_prefixes, prefixes)


def _opened(uri: str, allowed: _Allowed, settings: Settings) -> Place:
    if len(uri) > LONGEST_URI or not uri.isprintable() or "::" in uri:
        raise PlaceRefused(f"{_shown(uri)} is no address of a folder or bucket.")
    if uri.startswith("s3://"):
        return _bucket(uri, allowed, settings.s3_endpoint)
    if uri.startswith("file:///"):
        return _folder(uri, os.fsdecode(unquote_to_bytes(uri.removeprefix("file://"))), allowed)
    if uri.startswith("/"):
        return _folder(uri, uri, allowed)
    raise PlaceRefused(f"{_shown(uri)} is neither an absolute path, file:///path nor s3://bucket/prefix.")


def _folder(uri: str, path: str, allowed: _Allowed) -> FolderPlace:
    _refuse_detours(uri, path)
    roots = tuple(Path(os.path.realpath(root)) for root in allowed.roots)
    if not is_below(Path(path), roots):
        raise _refused(uri, allowed, f"lies in none of the folders of {allowed.roots_setting}")
    return FolderPlace(Path(os.path.realpath(path)), roots)


def _bucket(uri: str, allowed: _Allowed, endpoint: str | None) -> RemotePlace:
    _refuse_detours(uri, uri.removeprefix("s3:/").rstrip("/"))
    if not any(f"{uri}/".startswith(f"{prefix.rstrip('/')}/") for prefix in allowed.prefixes):
        raise _refused(uri, allowed, f"begins with none of {allowed.prefixes_setting}")
    return RemotePlace(uri, endpoint)


def _refused(uri: str, allowed: _Allowed, reason: str) -> PlaceRefused:
    return PlaceRefused(f"{_shown(uri)} may not be {allowed.verb}: it {reason}.")


def _refuse_detours(uri: str, path: str) -> None:
    """Refuse a path with parts that lead elsewhere, also where something could decode it once more."""
    for text in (path, unquote(path)):
        controls = any(ord(letter) < 32 or ord(letter) == 127 for letter in text)
        if controls or not {".", ".."}.isdisjoint(text.replace("\\", "/").split("/")):
            raise PlaceRefused(f"{_shown(uri)} is no plain path: it has parts that lead elsewhere.")


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False


def _shown(uri: str) -> str:
    """An address for a sentence, escaped and cut."""
    return ascii(uri if len(uri) <= 200 else f"{uri[:197]}...")

"""The model repository: which refiners are served, in which version, and how each of them fares."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock

from app.errors import BadModel, DeviceUnavailable, InferenceFailed, NoModelReady, ShuttingDown, UnknownModel
from app.refining.devices import CPU, ProviderChoice
from app.refining.served import LastInference, ModelStatus, Readiness, ServedModel
from app.refining.session import RefinerSession
from app.refining.versions import ModelVersion, Shelf, look

__all__ = ["LastInference", "ModelRepository", "ModelStatus", "Readiness", "ServedModel"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Entry:
    """A served model with the file it came from and how it fares."""

    model: ServedModel
    source: ModelVersion
    last: LastInference


class ModelRepository:
    """Loads the newest good version of every model and swaps in newer ones.

    Loading and swapping happen one at a time (`_changing`); `get` and the questions about status only take
    the short `_lock` and touch no disk, so they may be asked from an event loop.
    """

    def __init__(
        self,
        root: Path,
        provider: ProviderChoice,
        threads: int = 0,
        *,
        default_model: str | None = None,
        on_retired: Callable[[ServedModel], None] = lambda _: None,
        now_utc: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.root = root
        self.provider = provider
        self._threads = threads
        self._default_model = default_model
        self._on_retired = on_retired
        self._now_utc = now_utc
        self._changing = Lock()
        self._lock = Lock()
        self._shelf = Shelf({}, f"The model repository {root} has not been read yet.")
        self._entries: dict[str, _Entry] = {}
        self._refused: dict[ModelVersion, str] = {}
        self._held: set[str] = set()
        self._closed = False

    def open(self) -> None:
        """Load and warm up the newest good version of every model.

        Bad files and a missing or empty root are no error here: `statuses` and `readiness` tell of them.
        Raises DeviceUnavailable when the required device does not start.
        """
        self._look_again(required_device=True)

    def refresh(self) -> None:
        """Look again: load what is new, keep what is served when the new is bad, probe what failed last."""
        self._look_again(required_device=False)
        self._probe_failed()

    def get(self, name: str | None = None) -> ServedModel:
        """Give the served model of that name; None gives the default: the one set, else the first by name.

        Raises NoModelReady when nothing (or not the default) is served, UnknownModel for any other name.
        """
        with self._lock:
            wanted = name or self._default_model or min(self._entries, default=None)
            if entry := self._entries.get(wanted or ""):
                return entry.model
            if wanted is None:
                raise NoModelReady(self._why_none())
            why = self._why_not(wanted)
            raise UnknownModel(why) if name else NoModelReady(f"The default model is not served. {why}")

    def statuses(self) -> tuple[ModelStatus, ...]:
        """Tell about every version on disk and every one served, by name, newest first."""
        with self._lock:
            on_disk = {(v.name, v.version): v for versions in self._shelf.versions.values() for v in versions}
            served = {(e.model.name, e.model.version) for e in self._entries.values()}
            keys = sorted(on_disk.keys() | served, key=lambda key: (key[0], -key[1]))
            return tuple(self._status(name, version, on_disk.get((name, version))) for name, version in keys)

    def readiness(self) -> Readiness:
        """Ready means: something is served, and the last real inference of every served model went well."""
        with self._lock:
            if not self._entries:
                return Readiness(ready=False, detail=self._why_none())
            for name, entry in sorted(self._entries.items()):
                if not entry.last.ok:
                    return Readiness(ready=False, detail=f"Model {name!r} failed last: {entry.last.error}")
            return Readiness(ready=True, detail=None)

    def record(self, model: ServedModel, error: str | None) -> None:
        """Remember how an inference of `model` went; `error` None means well."""
        last = LastInference(self._now_utc(), error)
        with self._lock:
            entry = self._entries.get(model.name)
            if entry and entry.model is model:
                self._entries[model.name] = _Entry(model, entry.source, last)

    def load(self, name: str, version: int | None = None) -> ServedModel:
        """Serve a model again, or another version of it, older or newer, and say what is served now.

        Without `version`, the newest good one is served and newer ones are followed from now on; with it,
        the model stays at that version. Raises UnknownModel, BadModel or DeviceUnavailable; what was served
        then goes on.
        """
        with self._changing:
            if self._closed:
                raise ShuttingDown("The service is stopping and loads no models.")
            shelf = self._store_shelf()
            wanted = [v for v in shelf.versions.get(name, ()) if version in {None, v.version}]
            if not wanted:
                number = "" if version is None else f" version {version}"
                raise UnknownModel(f"There is no model {name!r}{number} in {self.root}.")
            entry = self._load_first_good(wanted)
            with self._lock:
                (self._held.discard if version is None else self._held.add)(name)
            return entry.model

    def unload(self, name: str) -> None:
        """Stop serving a model until `load`; work that holds it is finished. Raises UnknownModel."""
        with self._changing, self._lock:
            entry = self._entries.pop(name, None)
            if entry is None:
                raise UnknownModel(self._why_not(name))
            self._held.add(name)
        self._retire(entry)

    def close(self) -> None:
        """Serve nothing any more and free every session. Idempotent."""
        with self._changing, self._lock:
            self._closed = True
            entries, self._entries = list(self._entries.values()), {}
        for entry in entries:
            self._retire(entry)
            entry.model.session.close()

    def _look_again(self, *, required_device: bool) -> None:
        with self._changing:
            shelf = self._store_shelf()
            for name, versions in shelf.versions.items():
                if self._closed or name in self._held:
                    continue
                try:
                    self._advance(name, versions)
                except BadModel:
                    continue  # remembered and logged where it was refused
                except DeviceUnavailable as error:
                    if required_device:
                        raise
                    _log.warning("%s", error.detail)

    def _store_shelf(self) -> Shelf:
        shelf = look(self.root)
        present = {version for versions in shelf.versions.values() for version in versions}
        with self._lock:
            if shelf.problem and shelf.problem != self._shelf.problem:
                _log.warning("%s", shelf.problem)
            self._shelf = shelf
            self._refused = {version: why for version, why in self._refused.items() if version in present}
        return shelf

    def _advance(self, name: str, versions: tuple[ModelVersion, ...]) -> None:
        """Load the newest version that is better than what is served and not refused already."""
        entry = self._entries.get(name)
        newer = [
            v for v in versions if entry is None or (v.version >= entry.model.version and v != entry.source)
        ]
        if candidates := [version for version in newer if version not in self._refused]:
            self._load_first_good(candidates)

    def _load_first_good(self, candidates: list[ModelVersion]) -> _Entry:
        """Load and serve the first good one of `candidates`; raises the first one's BadModel if none is."""
        first: BadModel | None = None
        for source in candidates:
            serving = self._entries.get(source.name)
            if serving and serving.source == source:
                return serving
            try:
                entry = self._load(source)
            except BadModel as error:
                first = first or error
                self._refuse(source, error)
                continue
            self._swap(entry)
            return entry
        assert first is not None, "there is at least one candidate"
        raise first

    def _load(self, source: ModelVersion) -> _Entry:
        session = RefinerSession.open(source.path, self.provider, self._threads)
        try:
            session.warm_up()
        except InferenceFailed as error:
            raise BadModel(f"{source.path} is refused: its warm-up failed: {error.detail}") from error
        now = self._now_utc()
        model = ServedModel(
            source.name, source.version, session.card, session, session.sha256, now, session.provider
        )
        return _Entry(model, source, LastInference(now, None))

    def _refuse(self, source: ModelVersion, error: BadModel) -> None:
        """Remember a bad file; if it changed since the look, the next look finds another fingerprint."""
        _log.warning("%s", error.detail)
        with self._lock:
            self._refused[source] = error.detail

    def _swap(self, entry: _Entry) -> None:
        model = entry.model
        with self._lock:
            old = self._entries.get(model.name)
            self._entries[model.name] = entry
            self._refused.pop(entry.source, None)
        _log.info("serving model %s version %d on %s", model.name, model.version, model.provider)
        if model.card.precision == "fp16" and model.provider == CPU:
            _log.warning("model %s is fp16, which is slow here: export it as fp32 or int8", model.name)
        if old:
            self._retire(old)

    def _retire(self, entry: _Entry) -> None:
        entry.model.session.retire()
        self._on_retired(entry.model)

    def _probe_failed(self) -> None:
        """Try those again whose last inference failed: without requests nothing else would clear them."""
        with self._lock:
            failed = [entry.model for entry in self._entries.values() if not entry.last.ok]
        for model in failed:
            try:
                model.session.warm_up()
            except InferenceFailed as error:
                self.record(model, error.detail)
            else:
                self.record(model, None)

    def _status(self, name: str, version: int, source: ModelVersion | None) -> ModelStatus:
        entry = self._entries.get(name)
        if entry and entry.model.version == version:
            detail = (
                self._refused.get(source)
                if source
                else "Its file is gone; it is served until it is unloaded."
            )
            return ModelStatus(name, version, "serving", detail, entry.model, entry.last)
        if source in self._refused:
            return ModelStatus(name, version, "refused", self._refused[source])
        return ModelStatus(name, version, "available")

    def _why_none(self) -> str:
        if self._shelf.problem:
            return self._shelf.problem
        reasons = " ".join(self._refused.values()) or "All of them are unloaded."
        return f"No model of {self.root} is served. {reasons}"

    def _why_not(self, name: str) -> str:
        served = ", ".join(sorted(self._entries)) or "none"
        for version in self._shelf.versions.get(name, ()):
            why = self._refused.get(version, "it is unloaded.")
            return f"Model {name!r} is not served: {why} Served are: {served}."
        return f"There is no model {name!r}; served are: {served}."

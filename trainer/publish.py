"""Owns the way of a trained refiner into a model repository: `<root>/<name>/<version>/refiner.onnx`."""

import json
import shutil
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from pydantic import ValidationError

from model.card import CardDraft, ModelCard
from model.errors import ModelError
from model.export import FloatPrecision, export_refiner
from model.files import PARTIAL_SUFFIX, sync_folder
from trainer.disk import telling
from trainer.errors import PublishError
from trainer.int8 import Int8, write_int8
from trainer.trained import Trained

NOT_STATED = "not stated"


@dataclass(frozen=True)
class Label:
    """What only a person can say about a published refiner."""

    name: str
    description: str = NOT_STATED
    licence: str = NOT_STATED
    attribution: str = NOT_STATED


def publish(
    trained: Trained,
    models: Path,
    label: Label,
    version: int | None = None,
    profile: FloatPrecision | Int8 = "fp32",
) -> tuple[Path, ModelCard]:
    """Export a refiner and move it into the repository in one step; returns its file and card.

    `version` defaults to the highest one there plus 1; `profile`: the precision it is written in. Raises
    PublishError when the version exists, the label breaks a rule of the card, or the export is refused; then
    the repository is as before.
    """
    if version is not None and version < 1:
        raise PublishError(f"--version {version}: versions are whole numbers from 1")
    draft = _draft(trained, label)
    home = models / label.name
    target = home / str(version if version is not None else _next_version(home))
    if target.exists():
        raise PublishError(f"{target} exists; a published version never changes: take another --version")
    with telling(home):
        home.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".", suffix=PARTIAL_SUFFIX, dir=home))
        try:
            card = _write(trained, draft, temporary / "refiner.onnx", profile)
            temporary.chmod(0o755)
            temporary.rename(target)
            sync_folder(home)
        except ModelError as error:
            raise PublishError(f"not published: {error}") from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return target / "refiner.onnx", card


def _write(trained: Trained, draft: CardDraft, path: Path, profile: FloatPrecision | Int8) -> ModelCard:
    if not isinstance(profile, Int8):
        return export_refiner(trained.refiner, draft, path, precision=profile)
    fp32 = path.with_name("fp32.onnx")
    export_refiner(trained.refiner, draft, fp32)
    card = write_int8(fp32, profile, path)
    fp32.unlink()
    return card


def _draft(trained: Trained, label: Label) -> CardDraft:
    try:
        return CardDraft.model_validate(
            {
                "name": label.name,
                "description": label.description,
                "bit_depth": trained.bit_depth,
                "preset": trained.config.preset,
                "steps": trained.step,
                "synthetic_data": trained.config.synthetic,
                "real_data": trained.config.real,
                "licence": label.licence,
                "attribution": label.attribution,
                "created_utc": datetime.now(UTC).isoformat(timespec="seconds"),
                "trainer_version": _version(),
                "metrics": _metrics(trained),
            }
        )
    except ValidationError as error:
        fault = error.errors()[0]
        raise PublishError(f"--{fault['loc'][0]} {fault['input']!r}: {fault['msg']}") from error


def _version() -> str:
    try:
        return metadata.version("simtrue")
    except metadata.PackageNotFoundError:
        return "not installed"


def _metrics(trained: Trained) -> dict[str, float]:
    """Numbers of the run's last evaluation; none without one."""
    if not trained.folder.evaluation.is_file():
        return {}
    report = json.loads(trained.folder.evaluation.read_text())
    return {name: float(value) for name, value in report["metrics"].items()}


def _next_version(home: Path) -> int:
    taken = [int(path.name) for path in home.iterdir() if path.name.isdecimal()] if home.is_dir() else []
    return max(taken, default=0) + 1

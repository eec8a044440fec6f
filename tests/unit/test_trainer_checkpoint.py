"""Checkpoints: whole or absent, checked when read, limited in number."""

import errno
import os
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from trainer.checkpoint import load_newest, save_checkpoint  # noqa: E402
from trainer.disk import write_atomically  # noqa: E402
from trainer.errors import CheckpointError, DiskFullError, RunFolderError  # noqa: E402

pytestmark = pytest.mark.train


def save(folder: Path, iteration: int, keep: int = 9) -> Path:
    state = {"weights": torch.full((1000,), float(iteration)), "clock": {"step": iteration}}
    return save_checkpoint(folder, iteration, state, keep)


def newest(folder: Path) -> tuple[int, list[str]]:
    told: list[str] = []
    checkpoint = load_newest(folder, told.append)
    assert checkpoint is not None
    assert checkpoint.state["weights"][0].item() == checkpoint.iteration
    return checkpoint.iteration, told


def test_the_newest_checkpoint_comes_back(tmp_path: Path) -> None:
    save(tmp_path, 5)
    save(tmp_path, 10)
    assert newest(tmp_path) == (10, [])


def test_a_checkpoint_holds_nothing_but_tensors_and_plain_values(tmp_path: Path) -> None:
    assert torch.load(save(tmp_path, 5), weights_only=True)["iteration"] == 5


@pytest.mark.parametrize("damage", ["truncated", "flipped", "emptied", "without digest"])
def test_a_damaged_checkpoint_is_passed_over_with_a_sentence(tmp_path: Path, damage: str) -> None:
    save(tmp_path, 5)
    path = save(tmp_path, 10)
    content = bytearray(path.read_bytes())
    if damage == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "flipped":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    elif damage == "emptied":
        path.write_bytes(b"")
    else:
        path.with_suffix(".sha256").unlink()
    iteration, told = newest(tmp_path)
    assert iteration == 5
    assert len(told) == 1
    assert str(path) in told[0]


def test_no_readable_checkpoint_at_all_is_an_error(tmp_path: Path) -> None:
    save(tmp_path, 5).write_bytes(b"")
    with pytest.raises(CheckpointError, match="none of the 1 checkpoints"):
        load_newest(tmp_path, lambda _sentence: None)


def test_what_a_killed_process_left_half_written_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / ".000000004.pt.1f.simtrue-partial").write_bytes(b"half")
    assert load_newest(tmp_path, lambda _sentence: None) is None


def test_a_run_without_checkpoints_has_none(tmp_path: Path) -> None:
    assert load_newest(tmp_path, lambda _sentence: None) is None


def test_only_the_last_few_are_kept_and_leftovers_go(tmp_path: Path) -> None:
    (tmp_path / ".000000001.pt.1f.simtrue-partial").write_bytes(b"left by a killed process")
    for iteration in (1, 2, 3, 4):
        save(tmp_path, iteration, keep=2)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["000000003.pt", "000000003.sha256", "000000004.pt", "000000004.sha256"]


def test_a_full_disk_is_told_and_the_checkpoint_before_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    save(tmp_path, 5)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFullError, match="no space left on the disk"):
        save(tmp_path, 10)
    assert newest(tmp_path) == (5, [])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["000000005.pt", "000000005.sha256"]


def test_a_write_that_fails_half_way_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def fail(file: object) -> None:
        file.write(b"new")  # type: ignore[attr-defined]
        raise OSError(errno.EIO, "the disk is broken")

    with pytest.raises(RunFolderError, match="the disk is broken"):
        write_atomically(path, fail)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]

"""Images from outside: what is read, and the one sentence for what cannot be used."""

import contextlib
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from trainer.data import TrainingData, load_data
from trainer.errors import DataError, DiskFullError
from trainer.options import resolve
from trainer.sources import label_images, parse_source, whole_path

Pixels = NDArray[Any]


def grey(seed: int, count: int = 4, size: tuple[int, int] = (6, 8), dtype: type = np.uint8) -> Pixels:
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, (count, *size)).astype(dtype)


def folder(path: Path, images: Pixels, suffix: str = ".png") -> Path:
    path.mkdir(parents=True, exist_ok=True)
    for index, image in enumerate(images):
        Image.fromarray(image).save(path / f"{index:03d}{suffix}")
    return path


def load(tmp_path: Path, synthetic: object, real: object, **settings: object) -> TrainingData:
    config = resolve(
        {"synthetic": str(synthetic), "real": str(real), "batch_size": 2, "history_capacity": 0, **settings}
    )
    return load_data(config, tmp_path / "cache", lambda _role, _done, _total: None)


def refusal(tmp_path: Path, synthetic: object, real: object, **settings: object) -> str:
    with pytest.raises(DataError) as refused:
        load(tmp_path, synthetic, real, **settings)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def write_deep_colour(path: Path, level: int) -> None:
    """A PNG of 6x8 px with three channels of 16 bits, which Pillow can read but not write."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        )

    rows = b"".join(b"\0" + struct.pack(">24H", *[level] * 24) for _ in range(6))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 6, 16, 2, 0, 0, 0))
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )


@pytest.fixture
def real(tmp_path: Path) -> Path:
    return folder(tmp_path / "real", grey(1))


def test_a_folder_is_read_in_sorted_order_and_recursively(tmp_path: Path, real: Path) -> None:
    images = grey(2, 6)
    folder(tmp_path / "synthetic" / "b", images[:3])
    folder(tmp_path / "synthetic" / "a", images[3:], ".tif")
    (tmp_path / "synthetic" / "notes.txt").write_text("not an image")
    data = load(tmp_path, tmp_path / "synthetic", real)
    np.testing.assert_array_equal(data.synthetic[..., 0], np.concatenate([images[3:], images[:3]]))
    assert (data.channels, data.bit_depth, data.window) == (1, 8, (6, 8))


def test_sixteen_bits_are_kept(tmp_path: Path) -> None:
    deep = grey(2, dtype=np.uint16)
    other = folder(tmp_path / "real", grey(3, dtype=np.uint16))
    data = load(tmp_path, folder(tmp_path / "synthetic", deep), other)
    assert data.bit_depth == 16
    np.testing.assert_array_equal(data.synthetic[..., 0], deep)


def test_a_rotated_photo_is_turned_upright(tmp_path: Path, real: Path) -> None:
    upright = grey(2, 3)
    home = tmp_path / "synthetic"
    home.mkdir()
    for index, image in enumerate(upright):
        exif = Image.Exif()
        exif[0x0112] = 6  # shown after a quarter turn clockwise
        Image.fromarray(np.ascontiguousarray(np.rot90(image))).save(home / f"{index}.png", exif=exif)
    np.testing.assert_array_equal(load(tmp_path, home, real).synthetic[..., 0], upright)


def test_an_npz_array_is_chosen_by_its_key_and_is_images_otherwise(tmp_path: Path, real: Path) -> None:
    one, other = grey(2), grey(3)
    np.savez_compressed(tmp_path / "set.npz", images=one, more=other)
    np.testing.assert_array_equal(load(tmp_path, tmp_path / "set.npz", real).synthetic[..., 0], one)
    np.testing.assert_array_equal(load(tmp_path, f"{tmp_path}/set.npz:more", real).synthetic[..., 0], other)


def test_images_above_the_memory_limit_live_in_a_file(tmp_path: Path, real: Path) -> None:
    images = grey(2, 40, (64, 64))
    np.savez(tmp_path / "set.npz", images=images)
    real = folder(tmp_path / "large", grey(4, 3, (64, 64)))
    data = load(tmp_path, tmp_path / "set.npz", real, max_resident_bytes=1 << 16)
    assert isinstance(data.synthetic, np.memmap)
    assert not isinstance(data.real, np.memmap)
    np.testing.assert_array_equal(data.synthetic[..., 0], images)


def test_resize_and_crop_make_mixed_sizes_one(tmp_path: Path, real: Path) -> None:
    folder(tmp_path / "synthetic" / "a", grey(2, 2, (10, 12)))
    folder(tmp_path / "synthetic" / "b", grey(2, 2, (6, 8)))
    assert load(tmp_path, tmp_path / "synthetic", real, resize="6x8").synthetic.shape == (4, 6, 8, 1)
    cropped = load(tmp_path, tmp_path / "synthetic", real, crop="4x4")
    np.testing.assert_array_equal(cropped.synthetic[0, ..., 0], grey(2, 2, (10, 12))[0, 3:7, 4:8])


def test_a_window_lets_the_two_sets_differ_in_size(tmp_path: Path, real: Path) -> None:
    larger = folder(tmp_path / "synthetic", grey(2, 4, (10, 12)))
    assert load(tmp_path, larger, real, window="4x4").window == (4, 4)


def test_the_default_trains_on_small_windows_whatever_the_sizes(tmp_path: Path) -> None:
    large, wide = (
        folder(tmp_path / "large", grey(0, 4, (48, 80))),
        folder(tmp_path / "wide", grey(1, 4, (20, 90))),
    )
    assert load(tmp_path, large, wide).window == (20, 32)
    assert load(tmp_path, large, folder(tmp_path / "same", grey(2, 4, (48, 80))), window="whole").window == (
        48,
        80,
    )


def test_whole_images_of_two_sizes_are_refused_with_a_way_out(tmp_path: Path, real: Path) -> None:
    large = folder(tmp_path / "large", grey(0, 4, (48, 80)))
    assert "--window makes them one" in refusal(tmp_path, large, real, window="whole")


def test_channels_one_reads_colour_as_grey(tmp_path: Path, real: Path) -> None:
    colour = np.random.default_rng(0).integers(0, 255, (4, 6, 8, 3)).astype(np.uint8)
    home = folder(tmp_path / "synthetic", colour)
    assert load(tmp_path, home, real, channels=1).channels == 1


def test_an_empty_folder_is_refused(tmp_path: Path, real: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "holds no synthetic image" in refusal(tmp_path, tmp_path / "empty", real)


def test_a_missing_path_is_refused(tmp_path: Path, real: Path) -> None:
    assert "do not exist" in refusal(tmp_path, tmp_path / "nowhere", real)


def test_a_truncated_image_is_named(tmp_path: Path, real: Path) -> None:
    home = folder(tmp_path / "synthetic", grey(2, 4, (64, 64)))
    broken = home / "002.png"
    broken.write_bytes(broken.read_bytes()[:-2000])
    assert str(broken) in refusal(tmp_path, home, real)


def test_a_file_that_is_no_image_is_named(tmp_path: Path, real: Path) -> None:
    home = folder(tmp_path / "synthetic", grey(2))
    (home / "002.png").write_text("not an image")
    assert str(home / "002.png") in refusal(tmp_path, home, real)


def test_mixed_sizes_name_two_images_and_a_way_out(tmp_path: Path, real: Path) -> None:
    folder(tmp_path / "synthetic" / "a", grey(2, 2, (10, 12)))
    folder(tmp_path / "synthetic" / "b", grey(2, 2))
    sentence = refusal(tmp_path, tmp_path / "synthetic", real)
    assert "10x12" in sentence
    assert "6x8" in sentence
    assert "--resize" in sentence


def test_grey_against_colour_is_refused(tmp_path: Path, real: Path) -> None:
    colour = np.random.default_rng(0).integers(0, 255, (4, 6, 8, 3)).astype(np.uint8)
    assert "3 channels, real ones 1" in refusal(tmp_path, folder(tmp_path / "synthetic", colour), real)


def test_grey_among_colour_is_refused(tmp_path: Path, real: Path) -> None:
    colour = np.random.default_rng(0).integers(0, 255, (2, 6, 8, 3)).astype(np.uint8)
    folder(tmp_path / "synthetic" / "a", colour)
    folder(tmp_path / "synthetic" / "b", grey(2))
    assert "both grey and colour" in refusal(tmp_path, tmp_path / "synthetic", real)


def test_mixed_bit_depth_is_refused(tmp_path: Path, real: Path) -> None:
    deep = folder(tmp_path / "synthetic", grey(2, dtype=np.uint16))
    assert "--bit-depth" in refusal(tmp_path, deep, real)
    assert load(tmp_path, deep, real, bit_depth=8).bit_depth == 8


def test_the_same_folder_twice_is_refused(tmp_path: Path, real: Path) -> None:
    assert "are the same" in refusal(tmp_path, real, real.parent / "." / "real")


def test_a_copy_of_the_synthetic_images_is_refused_as_real(tmp_path: Path, real: Path) -> None:
    copy = folder(tmp_path / "copy", grey(1))
    assert "hold the same images" in refusal(tmp_path, copy, real)


def test_a_renamed_copy_of_the_synthetic_images_is_refused_as_real(tmp_path: Path, real: Path) -> None:
    copy = folder(tmp_path / "copy", grey(1)[::-1])
    assert "hold the same images" in refusal(tmp_path, copy, real)
    shared = folder(tmp_path / "shared", np.concatenate([grey(1)[:1], grey(2)[1:]]))
    assert len(load(tmp_path, shared, real).synthetic) == 4


def test_hidden_files_and_folders_are_passed_over(tmp_path: Path, real: Path) -> None:
    home = folder(tmp_path / "synthetic", grey(2))
    folder(home / ".ipynb_checkpoints", grey(3))
    (home / "._000.png").write_text("a resource fork")
    assert len(load(tmp_path, home, real).synthetic) == 4


def test_images_of_labels_are_left_out_unless_there_are_no_others(tmp_path: Path, real: Path) -> None:
    home = folder(tmp_path / "synthetic" / "images", grey(2)).parent
    folder(home / "masks", grey(3))
    Image.fromarray(grey(4)[0]).save(home / "images" / "000_depth.png")
    source = parse_source("synthetic", str(home))
    assert len(load(tmp_path, home, real).synthetic) == 4
    assert len(label_images(source)) == 5
    depth = folder(tmp_path / "set" / "depth", grey(5))
    assert len(load(tmp_path, depth.parent, real).synthetic) == 4
    assert label_images(parse_source("synthetic", str(depth.parent))) == []


def test_a_source_has_a_whole_path_wherever_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder(tmp_path / "set", grey(2))
    np.savez(tmp_path / "set.npz", images=grey(2))
    monkeypatch.chdir(tmp_path)
    assert whole_path("set") == str(tmp_path / "set")
    assert whole_path("set.npz:images") == f"{tmp_path}/set.npz:images"
    assert whole_path("./set.npz") == str(tmp_path / "set.npz")
    assert whole_path("none") == "none"


def test_sixteen_bit_colours_are_not_cut_to_eight_bits_without_a_word(tmp_path: Path, real: Path) -> None:
    home = tmp_path / "synthetic"
    home.mkdir()
    for index in range(4):
        write_deep_colour(home / f"{index}.png", 256 * index + 3)
    assert "several channels of 16 bits" in refusal(tmp_path, home, real)
    assert load(tmp_path, home, real, bit_depth=8, channels=1).bit_depth == 8


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp", ".gif", ".bmp", ".avif"])
def test_a_damaged_image_is_named_in_one_sentence_whatever_its_format(
    tmp_path: Path, real: Path, suffix: str
) -> None:
    home = folder(tmp_path / "synthetic", np.repeat(grey(2)[..., None], 3, axis=3), suffix)
    content = (home / f"001{suffix}").read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(30):
        broken = bytearray(content)
        for place in rng.integers(26, len(broken), 4):
            broken[place] = rng.integers(256)
        (home / f"001{suffix}").write_bytes(broken)
        with contextlib.suppress(DataError):  # a change that hurts nothing is no failure
            load(tmp_path, home, real, channels=1, resize="6x8")
            continue
        sentence = refusal(tmp_path, home, real, channels=1, resize="6x8")
        assert f"001{suffix}" in sentence


def test_a_folder_inside_the_other_is_refused(tmp_path: Path, real: Path) -> None:
    inner = folder(real / "inner", grey(2))
    assert "lies inside" in refusal(tmp_path, inner, real)


def test_fewer_images_than_a_batch_are_refused(tmp_path: Path, real: Path) -> None:
    synthetic = folder(tmp_path / "synthetic", grey(2))
    assert "fewer than --batch-size 6" in refusal(tmp_path, synthetic, real, batch_size=6)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((4, 6, 8), np.float32), "float32"),
        (np.zeros((4, 6), np.uint8), "[N, H, W]"),
        (np.zeros((0, 6, 8), np.uint8), "no image"),
        (np.asfortranarray(np.zeros((4, 6, 8), np.uint8)), "Fortran"),
    ],
)
def test_an_array_that_holds_no_images_is_refused(
    tmp_path: Path, real: Path, array: Pixels, words: str
) -> None:
    np.savez(tmp_path / "set.npz", images=array)
    assert words in refusal(tmp_path, tmp_path / "set.npz", real)


def test_an_unknown_array_lists_those_there_are(tmp_path: Path, real: Path) -> None:
    np.savez(tmp_path / "set.npz", pictures=grey(2))
    assert "it has: pictures" in refusal(tmp_path, tmp_path / "set.npz", real)


def test_a_truncated_npz_is_refused(tmp_path: Path, real: Path) -> None:
    file = tmp_path / "set.npz"
    np.savez_compressed(file, images=grey(2, 50))
    file.write_bytes(file.read_bytes()[:-300])
    assert "cannot read" in refusal(tmp_path, file, real)


def test_a_damaged_npz_is_refused(tmp_path: Path, real: Path) -> None:
    file = tmp_path / "set.npz"
    np.savez(file, images=grey(2, 50))
    content = bytearray(file.read_bytes())
    content[1000] ^= 0xFF
    file.write_bytes(bytes(content))
    assert "cannot read" in refusal(tmp_path, file, real)


def test_a_disk_without_room_for_decoded_images_is_told(tmp_path: Path, real: Path) -> None:
    np.savez(tmp_path / "set.npz", images=grey(2, 40, (64, 64)))
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "synthetic.npy").symlink_to("/dev/full")
    with pytest.raises(DiskFullError, match="no space left"):
        load(tmp_path, tmp_path / "set.npz", real, max_resident_bytes=1 << 16)


@pytest.mark.parametrize(
    ("real", "window", "told"),
    [
        ((48, 64), "whole", "4 synthetic and 3 real images, 48x64 px, 1 x 8 bits"),
        ((48, 64), "auto", "4 synthetic and 3 real images, 48x64 px, windows of 32x32 px, 1 x 8 bits"),
        (
            (40, 40),
            "40x40",
            "4 synthetic images, 48x64 px, and 3 real ones, 40x40 px, windows of 40x40 px, 1 x 8 bits",
        ),
    ],
)
def test_images_are_told_by_their_own_size_beside_that_of_the_windows(
    tmp_path: Path, real: tuple[int, int], window: str, told: str
) -> None:
    synthetic = folder(tmp_path / "synthetic", grey(1, 4, (48, 64)))
    read = load(tmp_path, synthetic, folder(tmp_path / "real", grey(2, 3, real)), window=window)
    assert str(read) == told

"""Quantization: the int8 file lies near its parent, says so, and is as exact about tiles and batches."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import onnx  # noqa: E402
import onnxruntime  # noqa: E402
from drafts import draft  # noqa: E402
from torch import nn  # noqa: E402

from app.refining.devices import CPU, ProviderChoice  # noqa: E402
from app.refining.session import RefinerSession  # noqa: E402
from model.card import ModelCard, NoiseSpec, read_card  # noqa: E402
from model.errors import ExportError, ParityError  # noqa: E402
from model.export import export_refiner  # noqa: E402
from model.noise import noise_field  # noqa: E402
from model.quantization import PARENT_KEY, quantize_refiner  # noqa: E402
from model.refiner import Refiner, RefinerConfig  # noqa: E402

pytestmark = pytest.mark.train

NOISE = NoiseSpec(pixel_channels=1, smooth_channels=1, image_channels=1)
RESIDUAL = RefinerConfig(width=16, blocks=2, padding="replicate", output="residual", noise=NOISE)
PAPER = RefinerConfig(channels=3, width=16, blocks=1)
"""Zeros around the image, tanh, RGB, no noise."""


@dataclass(frozen=True)
class Quantized:
    parent: Path
    path: Path
    card: ModelCard


@pytest.fixture(scope="module", params=[RESIDUAL, PAPER], ids=["residual with noise", "tanh without"])
def quantized(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Quantized:
    folder = tmp_path_factory.mktemp("quantized")
    parent, path = export(folder, request.param), folder / "int8.onnx"
    images = smooth_images(request.param.channels)
    return Quantized(parent, path, quantize_refiner(parent, images[4:], images[:4], path))


def export(folder: Path, config: RefinerConfig, bit_depth: int = 8) -> Path:
    torch.manual_seed(0)
    refiner = Refiner(config)
    nn.init.normal_(refiner.last.weight, std=0.1)
    export_refiner(refiner, draft(bit_depth=bit_depth), folder / "fp32.onnx", sizes=((1, 9, 14),))
    return folder / "fp32.onnx"


def smooth_images(channels: int) -> "np.ndarray[Any, np.dtype[np.uint8]]":
    number, y, x, channel = np.indices((36, 24, 30, channels))
    wave = np.sin(x / 5 + number) * np.cos(y / (4 + number % 5) + channel)
    return (128 + 120 * wave).astype(np.uint8)


def opened(path: Path) -> RefinerSession:
    """As the service opens it."""
    return RefinerSession.open(path, ProviderChoice(CPU, "a test", required=True), threads=2)


def noise_of(card: ModelCard, count: int, height: int, width: int) -> "np.ndarray[Any, Any] | None":
    if not card.noise.channels:
        return None
    return np.stack([noise_field(seed, height, width, card.noise) for seed in range(count)])


def part(noise: "np.ndarray[Any, Any] | None", *index: Any) -> "np.ndarray[Any, Any] | None":
    return None if noise is None else noise[index]


def test_the_card_says_what_it_is_how_far_from_fp32_and_from_which_file(quantized: Quantized) -> None:
    metadata = {entry.key: entry.value for entry in onnx.load(quantized.path).metadata_props}
    card = read_card(metadata)

    assert card == quantized.card
    assert metadata[PARENT_KEY] == hashlib.sha256(quantized.parent.read_bytes()).hexdigest()
    assert (card.precision, card.steps, card.metrics["accuracy"]) == ("int8", 7, 0.5)
    assert 1 <= card.parity.max_difference <= card.parity.tolerance == 12
    assert 0 < card.metrics["int8_mean_difference_levels"] < 1
    assert card.parity.runtime.endswith("int8 against fp32")
    assert (1, 48, 60) in card.parity.sizes
    assert (1, 12, 10) in card.parity.sizes


def test_the_service_refines_with_it_as_with_its_parent_within_the_cards_numbers(
    quantized: Quantized,
) -> None:
    before, after = opened(quantized.parent), opened(quantized.path)
    images = smooth_images(after.card.channels)[:6]
    noise = noise_of(after.card, *images.shape[:3])

    one, other = (session.run(images, noise).astype(int) for session in (before, after))

    assert np.abs(one - images).mean() > 2, "the refiner does something"
    assert np.abs(one - other).max() <= 12
    assert np.abs(one - other).mean() < 1


def test_its_layers_compute_with_integers_once_onnxruntime_has_fused_them(
    quantized: Quantized, tmp_path: Path
) -> None:
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "fused.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(quantized.path, options, providers=[CPU])

    kinds = [node.op_type for node in onnx.load(tmp_path / "fused.onnx").graph.node]
    blocks = sum(node.op_type == "Conv" for node in onnx.load(quantized.parent).graph.node) // 2 - 1
    assert kinds.count("QLinearConv") == 2 * blocks
    assert kinds.count("QLinearAdd") == blocks
    assert sum(kind in ("Conv", "FusedConv") for kind in kinds) == 2, "only the first and the last are float"


@pytest.mark.parametrize("core", [(0, 0, 7, 9), (11, 13, 20, 31), (30, 31, 41, 47)])
def test_a_tile_with_its_halo_gives_the_bytes_of_the_whole_image(
    quantized: Quantized, core: tuple[int, int, int, int]
) -> None:
    session = opened(quantized.path)
    radius, (top, left, bottom, right) = session.card.receptive_field_radius, core
    image = np.random.default_rng(1).integers(0, 256, (1, 41, 47, session.card.channels), dtype=np.uint8)
    noise = noise_of(session.card, 1, 41, 47)
    y, x = max(0, top - radius), max(0, left - radius)
    window = (slice(None), slice(y, bottom + radius), slice(x, right + radius))

    tile = session.run(np.ascontiguousarray(image[window]), part(noise, *window))

    inside = tile[:, top - y : bottom - y, left - x : right - x]
    np.testing.assert_array_equal(inside, session.run(image, noise)[:, top:bottom, left:right])


def test_an_image_has_the_same_bytes_alone_and_in_any_batch(quantized: Quantized) -> None:
    session = opened(quantized.path)
    images = smooth_images(session.card.channels)[:7]
    noise = noise_of(session.card, *images.shape[:3])

    together = session.run(images, noise)

    for index in range(7):
        alone = session.run(images[index : index + 1], part(noise, slice(index, index + 1)))
        np.testing.assert_array_equal(alone, together[index : index + 1])


def test_above_the_tolerance_there_is_no_file(tmp_path: Path) -> None:
    parent, images = export(tmp_path, RESIDUAL), smooth_images(1)

    with pytest.raises(
        ParityError, match=r"int8 and fp32 differ by up to \d+ of 255 grey levels .* the 0 and"
    ):
        quantize_refiner(parent, images[4:], images[:4], tmp_path / "int8.onnx", tolerance_levels=0)

    assert [path.name for path in tmp_path.iterdir()] == ["fp32.onnx"]


def test_what_the_calibration_never_saw_is_refused_not_cut_off_in_silence(tmp_path: Path) -> None:
    parent, images = export(tmp_path, PAPER), smooth_images(3)

    with pytest.raises(ParityError):
        quantize_refiner(parent, images[4:] // 64 + 126, images[:4], tmp_path / "int8.onnx")


def test_a_refiner_of_16_bit_images_is_refused(tmp_path: Path) -> None:
    parent, images = export(tmp_path, RESIDUAL, bit_depth=16), smooth_images(1)

    with pytest.raises(ExportError, match="16-bit images cannot be int8"):
        quantize_refiner(parent, images[4:], images[:4], tmp_path / "int8.onnx")


def test_an_int8_file_is_not_quantized_again(quantized: Quantized, tmp_path: Path) -> None:
    images = smooth_images(quantized.card.channels)

    with pytest.raises(ExportError, match="is int8, not fp32"):
        quantize_refiner(quantized.path, images[4:], images[:4], tmp_path / "again.onnx")

"""A refiner on squares of pixels: what it computes, its file, its tiles, its int8 form, its cost."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from drafts import draft  # noqa: E402
from engine_gate import PATIENCE_S, whole  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from app.refining.devices import choose_provider  # noqa: E402
from app.refining.models import ModelRepository  # noqa: E402
from model.card import NO_NOISE, NoiseSpec  # noqa: E402
from model.export import export_refiner  # noqa: E402
from model.quantization import quantize_refiner  # noqa: E402
from model.refiner import Refiner, RefinerConfig  # noqa: E402
from trainer.networks import refiner_config  # noqa: E402
from trainer.options import resolve  # noqa: E402

pytestmark = pytest.mark.train

NOISE = NoiseSpec(pixel_channels=2, smooth_channels=1, image_channels=1)
GRID = RefinerConfig(
    channels=3, width=16, blocks=1, grid=4, padding="replicate", output="residual", noise=NOISE
)
SHAPE = ("refiner_grid", "refiner_width", "refiner_blocks", "refiner_head_width")
HEAD = GRID.model_copy(update={"head_width": 6})


def trained_looking(config: RefinerConfig) -> Refiner:
    torch.manual_seed(0)
    refiner = Refiner(config)
    nn.init.normal_(refiner.last.weight, std=0.1)
    return refiner.eval()


def export(root: Path, config: RefinerConfig) -> Path:
    path = root / "squares" / "1" / "refiner.onnx"
    path.parent.mkdir(parents=True)
    export_refiner(trained_looking(config), draft(), path)
    return path


@torch.no_grad()
def test_it_folds_squares_into_channels_and_slow_noise_to_one_value_each() -> None:
    refiner = trained_looking(GRID)
    image, noise = torch.rand(2, 3, 8, 12), torch.randn(2, 4, 8, 12)

    squares = refiner._squares(torch.cat([image, noise], dim=1))

    fine = torch.cat([image, noise[:, :2]], dim=1)
    assert squares.shape == (2, GRID.inner_channels, 2, 3)
    assert torch.equal(squares[:, :80], F.pixel_unshuffle(fine, 4))
    assert torch.equal(squares[:, 80:], noise[:, 2:, ::4, ::4])


@torch.no_grad()
def test_the_last_squares_are_filled_up_with_the_edges() -> None:
    refiner = trained_looking(GRID.model_copy(update={"noise": NO_NOISE}))
    image = torch.rand(1, 3, 9, 14)

    alone = refiner(image)

    filled = F.pad(image, (0, 2, 0, 3), mode="replicate")
    assert torch.allclose(alone, refiner(filled)[:, :, :9, :14], atol=1e-6)


@pytest.fixture(
    scope="module",
    params=[("fp32", GRID), ("int8", GRID), ("fp32", HEAD), ("int8", HEAD)],
    ids=["fp32", "int8", "fp32 with a head", "int8 with a head"],
)
def repository(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    root = tmp_path_factory.mktemp("squares")
    precision, config = request.param
    path = export(root, config)
    if precision == "int8":
        y, x = np.indices((24, 26))
        waves = [np.sin(x / (3 + n % 5) + n) * np.cos(y / (4 + n % 3)) for n in range(24)]
        images = (128 + 120 * np.stack([waves] * 3, axis=-1)).astype(np.uint8)
        quantize_refiner(path, images[4:], images[:4], path, tolerance_levels=40)
    repository = ModelRepository(root, choose_provider("cpu"), 1)
    repository.open()
    assert repository.get("squares").card.precision == precision
    yield repository
    repository.close()


@pytest.mark.parametrize("size", [(97, 130), (64, 300), (1, 2501), (258, 129), (131, 95), (2, 2002)])
def test_an_image_in_tiles_has_the_bytes_of_the_whole(
    make_engine: Any, repository: Any, size: tuple[int, int]
) -> None:
    model = repository.get("squares")
    engine = make_engine(tile_pixels=2048)
    reports: list[Any] = []
    engine.observe(reports.append)
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)

    refined = engine.submit(model, image, 5).result(PATIENCE_S)

    assert sum(report.images for report in reports) > 1
    np.testing.assert_array_equal(refined, whole(model, image, 5))


def test_the_preset_fast_needs_an_eighth_of_the_operations_and_is_default_otherwise() -> None:
    paths = {"synthetic": "a", "real": "b"}
    fast, default = (resolve({**paths, "preset": preset}) for preset in ("fast", "default"))

    differing = {name for name, value in fast if value != getattr(default, name)}
    assert differing == {"preset", "refiner_learning_rate", *SHAPE}
    assert multiplications(fast) * 8 <= multiplications(default)


def multiplications(config: Any) -> float:
    """Of a pixel, all convolutions together, the one that folds squares included."""
    refiner = Refiner(refiner_config(config, 1))
    convolutions = [module for module in refiner.modules() if isinstance(module, nn.Conv2d)]
    on_pixels = [refiner.head.inner, refiner.last] if refiner.head is not None else []
    places = [1.0 if one in on_pixels else config.refiner_grid**-2 for one in convolutions]
    folding = refiner.folding.numel() * config.refiner_grid**-2 if config.refiner_grid > 1 else 0
    return folding + sum(one.weight.numel() * share for one, share in zip(convolutions, places, strict=True))

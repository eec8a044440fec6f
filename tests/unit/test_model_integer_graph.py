"""The rewritten int8 graph: the same bits, and nothing between two integer layers but integers."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import onnx  # noqa: E402
import onnxruntime  # noqa: E402
from drafts import draft  # noqa: E402
from torch import nn  # noqa: E402

from model.card import NoiseSpec  # noqa: E402
from model.export import export_refiner  # noqa: E402
from model.quantization import quantize_refiner  # noqa: E402
from model.refiner import Refiner, RefinerConfig  # noqa: E402

pytestmark = pytest.mark.train

PROVIDERS = ["CPUExecutionProvider"]


def images() -> "np.ndarray[Any, np.dtype[np.uint8]]":
    steps = np.random.default_rng(0).normal(0, 12, (24, 18, 22, 1))
    return (128 + np.cumsum(steps, axis=2).clip(-120, 120)).astype(np.uint8)


def exported(folder: Path, **settings: Any) -> Path:
    torch.manual_seed(0)
    config = {
        "width": 16,
        "blocks": 2,
        "output": "residual",
        "noise": NoiseSpec(pixel_channels=1, smooth_channels=0, image_channels=0),
        **settings,
    }
    refiner = Refiner(RefinerConfig(**config))
    nn.init.normal_(refiner.last.weight, std=0.1)
    export_refiner(refiner, draft(), folder / "fp32.onnx", sizes=((1, 16, 16),))
    return folder / "fp32.onnx"


def quantized(parent: Path, path: Path) -> bytes:
    quantize_refiner(parent, images()[4:], images()[:4], path, tolerance_levels=60)
    return path.read_bytes()


def refined(content: bytes) -> "np.ndarray[Any, Any]":
    session = onnxruntime.InferenceSession(content, providers=PROVIDERS)
    noise = np.random.default_rng(1).normal(size=(24, 18, 22, 1)).astype(np.float32)
    result: np.ndarray[Any, Any] = session.run(None, {"image": images(), "noise": noise})[0]
    return result


@pytest.mark.parametrize(
    "settings",
    [{"padding": "replicate"}, {"padding": "zeros"}, {"padding": "replicate", "grid": 2}],
    ids=["edges repeated", "zeros outside", "on squares"],
)
def test_not_a_bit_differs_from_what_the_quantizer_wrote(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent = exported(tmp_path, **settings)
    ours = quantized(parent, tmp_path / "ours.onnx")
    monkeypatch.setattr("model.quantization.hasten", lambda _model: None)
    theirs = quantized(parent, tmp_path / "theirs.onnx")
    assert ours != theirs
    assert np.abs(refined(ours).astype(int) - images()).max() > 2, "the refiner does something"
    np.testing.assert_array_equal(refined(ours), refined(theirs))


@pytest.mark.parametrize("padding", ["replicate", "zeros"])
def test_onnxruntime_neither_leaves_the_integers_nor_moves_channels_between_the_layers(
    padding: str, tmp_path: Path
) -> None:
    content = quantized(exported(tmp_path, padding=padding), tmp_path / "int8.onnx")
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(content, options, providers=PROVIDERS)

    kinds = [node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node]
    integer = [index for index, kind in enumerate(kinds) if kind == "QLinearConv"]
    assert len(integer) == 4
    between = set(kinds[integer[0] : integer[-1]])
    assert between <= {"QLinearConv", "QLinearAdd", "Pad"}

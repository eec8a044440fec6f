"""Export: the file does what torch does, says so, or does not exist."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import onnx  # noqa: E402
import onnxruntime  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from model.card import CardDraft, ModelCard, NoiseSpec, read_card  # noqa: E402
from model.errors import ExportError, LocalityError, NonFiniteError, ParityError  # noqa: E402
from model.export import OPSET, export_refiner  # noqa: E402
from model.refiner import Refiner, RefinerConfig  # noqa: E402

pytestmark = pytest.mark.train

SMALL = RefinerConfig(width=8, blocks=1)
EXPORTED = RefinerConfig(
    channels=3, width=8, blocks=2, noise=NoiseSpec(pixel_channels=1, smooth_channels=0, image_channels=0)
)
SIZES = ((1, 1, 1), (2, 9, 14), (1, 40, 33))


@dataclass(frozen=True)
class Exported:
    """A 16-bit file and the card that the export returned."""

    path: Path
    card: ModelCard


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    path = tmp_path_factory.mktemp("exported") / "refiner.onnx"
    return Exported(path, export_refiner(trained_looking(EXPORTED), draft(16), path, sizes=SIZES))


def draft(bit_depth: int = 8) -> CardDraft:
    return CardDraft.model_validate(
        {
            "name": "eyes",
            "description": "grey eyes",
            "bit_depth": bit_depth,
            "preset": "gaze",
            "steps": 1000,
            "synthetic_data": "drawn",
            "real_data": "photographed",
            "licence": "CC BY 4.0",
            "attribution": "somebody",
            "created_utc": "2026-01-31T12:00:00+00:00",
            "trainer_version": "0.1.0",
            "metrics": {"accuracy": 0.5},
        }
    )


def trained_looking(config: RefinerConfig, kind: type[Refiner] = Refiner) -> Refiner:
    torch.manual_seed(0)
    refiner = kind(config)
    nn.init.normal_(refiner.last.weight)
    return refiner


def refine_by_hand(
    refiner: Refiner, image: "np.ndarray[Any, Any]", noise: "np.ndarray[Any, Any] | None"
) -> "np.ndarray[Any, Any]":
    """Scaling, layout and rounding once more, in float64 numpy."""
    peak = np.iinfo(image.dtype).max
    scaled = torch.from_numpy((image / peak * 2.0 - 1.0).astype(np.float32)).permute(0, 3, 1, 2)
    field = None if noise is None else torch.from_numpy(noise).permute(0, 3, 1, 2)
    with torch.no_grad():
        refined = refiner.eval()(scaled, field).permute(0, 2, 3, 1).double().numpy()
    return np.clip(np.rint((refined + 1.0) / 2.0 * peak), 0, peak).astype(image.dtype)


def random_batch(bit_depth: int, *shape: int) -> "np.ndarray[Any, Any]":
    generator = np.random.default_rng(3)
    if bit_depth == 8:
        return generator.integers(0, 256, shape, dtype=np.uint8)
    return generator.integers(0, 65536, shape, dtype=np.uint16)


@pytest.mark.parametrize(
    ("bit_depth", "config"),
    [
        (8, SMALL),
        (16, SMALL),
        (8, RefinerConfig(channels=3, width=8, blocks=1, output="residual")),
        (8, RefinerConfig(width=8, blocks=2, padding="replicate", output="residual")),
        (
            16,
            RefinerConfig(
                channels=2,
                width=8,
                blocks=1,
                noise=NoiseSpec(pixel_channels=2, smooth_channels=0, image_channels=1),
            ),
        ),
    ],
    ids=[
        "8 bit grey",
        "16 bit depth",
        "8 bit RGB residual",
        "8 bit grey replicated",
        "16 bit two channels with noise",
    ],
)
def test_the_file_refines_batches_of_any_size_as_torch_does(
    tmp_path: Path, bit_depth: int, config: RefinerConfig
) -> None:
    refiner = trained_looking(config)
    path = tmp_path / "refiner.onnx"

    card = export_refiner(refiner, draft(bit_depth), path, sizes=SIZES)

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert read_card(session.get_modelmeta().custom_metadata_map) == card
    for count, height, width in ((1, 1, 1), (1, 35, 55), (5, 16, 7), (3, 1, 90)):
        image = random_batch(bit_depth, count, height, width, config.channels)
        inputs = {"image": image}
        if config.noise.channels:
            shape = (count, height, width, config.noise.channels)
            inputs["noise"] = np.random.default_rng(4).standard_normal(shape, dtype=np.float32)
        (refined,) = session.run(["refined"], inputs)
        expected = refine_by_hand(refiner, image, inputs.get("noise"))
        assert refined.dtype == image.dtype
        assert refined.shape == image.shape
        assert np.abs(refined.astype(int) - expected.astype(int)).max() <= 1
        assert (refined != expected).mean() < 0.01


def test_the_signature_names_its_inputs_its_output_and_its_free_axes(exported: Exported) -> None:
    session = onnxruntime.InferenceSession(exported.path, providers=["CPUExecutionProvider"])

    values = [
        (value.name, value.type, value.shape) for value in (*session.get_inputs(), *session.get_outputs())
    ]
    assert values == [
        ("image", "tensor(uint16)", ["batch", "height", "width", 3]),
        ("noise", "tensor(float)", ["batch", "height", "width", 1]),
        ("refined", "tensor(uint16)", ["batch", "height", "width", 3]),
    ]


def test_an_untrained_residual_refiner_returns_every_16_bit_value_exactly(tmp_path: Path) -> None:
    refiner = Refiner(RefinerConfig(width=4, blocks=1, output="residual"))
    export_refiner(refiner, draft(16), tmp_path / "refiner.onnx", sizes=SIZES)
    every_value = np.arange(65536, dtype=np.uint16).reshape(1, 16, -1, 1)

    session = onnxruntime.InferenceSession(tmp_path / "refiner.onnx", providers=["CPUExecutionProvider"])
    (refined,) = session.run(["refined"], {"image": every_value})

    np.testing.assert_array_equal(refined, every_value)


class Plain(Refiner):
    """Passes on a number beyond the range, with nothing of its own that would clamp it."""

    def forward(self, image: Tensor, noise: Tensor | None = None) -> Tensor:
        return image * 3.0


@pytest.mark.parametrize(("bit_depth", "peak"), [(8, 255), (16, 65535)])
def test_values_beyond_the_range_are_clamped_not_wrapped(tmp_path: Path, bit_depth: int, peak: int) -> None:
    export_refiner(Plain(SMALL), draft(bit_depth), tmp_path / "refiner.onnx", sizes=SIZES)
    image = np.array([0, peak // 4, peak - peak // 4, peak]).reshape(1, 1, 4, 1)

    session = onnxruntime.InferenceSession(tmp_path / "refiner.onnx", providers=["CPUExecutionProvider"])
    (refined,) = session.run(["refined"], {"image": image.astype(np.uint8 if bit_depth == 8 else np.uint16)})

    assert refined.ravel().tolist() == [0, 0, peak, peak]


def test_the_card_says_what_was_measured(exported: Exported) -> None:
    card = exported.card

    assert card.model_dump(include=set(CardDraft.model_fields)) == draft(16).model_dump()
    assert (card.channels, card.receptive_field_radius, card.noise) == (3, 5, EXPORTED.noise)
    assert (card.schema_version, card.precision) == (1, "fp32")
    assert card.parameters == sum(weight.numel() for weight in Refiner(EXPORTED).parameters())
    assert card.parity.sizes == SIZES
    assert card.parity.max_difference <= card.parity.tolerance == 1
    assert card.parity.runtime == f"onnxruntime {onnxruntime.__version__} CPUExecutionProvider"


def test_the_file_is_alone_complete_and_free_of_this_machines_paths(exported: Exported) -> None:
    model = onnx.load(exported.path)

    assert [path.name for path in exported.path.parent.iterdir()] == ["refiner.onnx"]
    onnx.checker.check_model(model, full_check=True)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", OPSET)]
    assert not any(onnx.external_data_helper.uses_external_data(part) for part in model.graph.initializer)
    assert b"stack_trace" not in model.SerializeToString()
    assert str(Path(__file__).parent).encode() not in model.SerializeToString()


def test_the_same_refiner_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one.onnx", "two.onnx"):
        export_refiner(trained_looking(SMALL), draft(), tmp_path / name, sizes=SIZES)

    assert (tmp_path / "one.onnx").read_bytes() == (tmp_path / "two.onnx").read_bytes()


def test_training_goes_on_after_an_export_as_if_nothing_had_happened(tmp_path: Path) -> None:
    refiner = trained_looking(SMALL).train().to(memory_format=torch.channels_last)
    before = {name: weight.clone() for name, weight in refiner.state_dict().items()}
    filters, random_state = list(warnings.filters), torch.get_rng_state()

    export_refiner(refiner, draft(), tmp_path / "refiner.onnx", sizes=SIZES)

    assert refiner.training
    assert all(weight.requires_grad for weight in refiner.parameters())
    assert all(torch.equal(weight, before[name]) for name, weight in refiner.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random_state)
    assert torch.is_grad_enabled()
    assert warnings.filters == filters


class Different(Refiner):
    """Draws something else as soon as it is written down as a graph."""

    def forward(self, image: Tensor, noise: Tensor | None = None) -> Tensor:
        refined = super().forward(image, noise)
        return refined + 0.1 if torch.compiler.is_exporting() else refined


class Deafening(Refiner):
    """Finite weights, yet no finite answer to black."""

    def forward(self, image: Tensor, noise: Tensor | None = None) -> Tensor:
        return torch.where(image == -1.0, float("inf"), super().forward(image, noise))


class OneByOne(Refiner):
    """Unrolls the batch it is shown into the graph."""

    def forward(self, image: Tensor, noise: Tensor | None = None) -> Tensor:
        images = [super(OneByOne, self).forward(image[i : i + 1]) for i in range(image.shape[0])]
        return torch.cat(images)


class Normed(Refiner):
    """Looks at the whole image."""

    def __init__(self, config: RefinerConfig) -> None:
        super().__init__(config)
        self.norm = nn.InstanceNorm2d(config.channels)

    def forward(self, image: Tensor, noise: Tensor | None = None) -> Tensor:
        return super().forward(self.norm(image), noise)


@pytest.mark.parametrize(
    ("kind", "error", "sentence"),
    [
        (Different, ParityError, "grey levels"),
        (Deafening, NonFiniteError, "gives NaN or infinite values"),
        (OneByOne, ExportError, "torch cannot write this refiner|axes of 'image'"),
        (Normed, LocalityError, "'norm'"),
    ],
)
def test_a_refused_refiner_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, kind: type[Refiner], error: type[Exception], sentence: str
) -> None:
    refiner = trained_looking(SMALL, kind)
    (tmp_path / "old.onnx").write_bytes(b"the version before")

    with pytest.raises(error, match=sentence):
        export_refiner(refiner, draft(), tmp_path / "old.onnx", sizes=((2, 30, 30),))

    assert [path.name for path in tmp_path.iterdir()] == ["old.onnx"]
    assert (tmp_path / "old.onnx").read_bytes() == b"the version before"


@pytest.mark.parametrize("config", [EXPORTED, SMALL.model_copy(update={"output": "residual", "grid": 2})])
def test_in_halves_the_file_is_half_as_large_and_refines_as_fp32_does(
    tmp_path: Path, config: RefinerConfig
) -> None:
    refiner = Refiner(config)
    single, half = tmp_path / "fp32.onnx", tmp_path / "fp16.onnx"

    cards = [
        export_refiner(refiner, draft(), path, precision=precision)
        for path, precision in ((single, "fp32"), (half, "fp16"))
    ]

    weights = [weight for weight in onnx.load(half).graph.initializer if np.prod(weight.dims) > 1]
    kinds = {weight.data_type for weight in weights}
    assert [card.precision for card in cards] == ["fp32", "fp16"]
    assert onnx.TensorProto.FLOAT16 in kinds
    assert onnx.TensorProto.FLOAT not in kinds
    assert cards[1].parity.max_difference <= cards[1].parity.tolerance == 1
    image = random_batch(8, 2, 9, 14, config.channels)
    inputs = {"image": image}
    if config.noise.channels:
        inputs["noise"] = np.random.default_rng(4).standard_normal((2, 9, 14, 1), dtype=np.float32)
    sessions = [
        onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]) for path in (single, half)
    ]
    one, other = (session.run(["refined"], inputs)[0].astype(int) for session in sessions)
    assert np.abs(one - other).max() <= 1
    assert all(weight.dtype == torch.float32 for weight in refiner.parameters()), "the refiner stays as it is"


def test_sixteen_bits_do_not_fit_into_halves(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="16-bit images cannot be fp16"):
        export_refiner(Refiner(SMALL), draft(16), tmp_path / "refiner.onnx", precision="fp16")
    assert not list(tmp_path.iterdir())


def test_a_difference_within_a_wider_tolerance_is_published_and_recorded(tmp_path: Path) -> None:
    refiner = trained_looking(SMALL, Different)

    card = export_refiner(refiner, draft(), tmp_path / "refiner.onnx", tolerance_levels=20, sizes=SIZES)

    assert 12 <= card.parity.max_difference <= 13  # 0.1 of a range of 2 is 12.75 of 255
    assert card.parity.tolerance == 20


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_weight_that_is_not_a_number_is_refused_by_its_name(tmp_path: Path, value: float) -> None:
    refiner = trained_looking(SMALL)
    with torch.no_grad():
        refiner.first.bias[2:4] = value

    with pytest.raises(NonFiniteError, match=r"weight 'first\.bias' has 2 values that are NaN or infinite"):
        export_refiner(refiner, draft(), tmp_path / "refiner.onnx", sizes=SIZES)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_named_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="missing for the exported refiner does not exist"):
        export_refiner(trained_looking(SMALL), draft(), tmp_path / "missing" / "refiner.onnx", sizes=SIZES)

    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_put_in_place_leaves_no_half_of_it(tmp_path: Path) -> None:
    (tmp_path / "refiner.onnx").mkdir()

    with pytest.raises(IsADirectoryError):
        export_refiner(trained_looking(SMALL), draft(), tmp_path / "refiner.onnx", sizes=SIZES)

    assert [path.name for path in tmp_path.iterdir()] == ["refiner.onnx"]


def test_tiles_with_a_halo_of_the_radius_give_the_bytes_of_the_whole_image(exported: Exported) -> None:
    session = onnxruntime.InferenceSession(exported.path, providers=["CPUExecutionProvider"])
    image = random_batch(16, 1, 40, 44, 3)
    noise = np.random.default_rng(4).standard_normal((1, 40, 44, 1), dtype=np.float32)
    (whole,) = session.run(["refined"], {"image": image, "noise": noise})
    top, left, side, halo = 13, 17, 8, exported.card.receptive_field_radius
    box = np.s_[:, top - halo : top + side + halo, left - halo : left + side + halo]

    (tile,) = session.run(["refined"], {"image": image[box], "noise": noise[box]})

    np.testing.assert_array_equal(
        tile[:, halo:-halo, halo:-halo], whole[:, top : top + side, left : left + side]
    )

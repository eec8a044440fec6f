"""Quantization: an exported refiner becomes one of 8-bit integers, and its card says what that costs."""

import hashlib
import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from model.card import CARD_KEY, ModelCard, Parity, read_card
from model.errors import ExportError, LocalityError, ParityError
from model.files import appearing
from model.integer_graph import hasten
from model.noise import noise_fields
from model.session_options import exact_integers

Images = NDArray[np.uint8]

PARENT_KEY = "simtrue.parent_sha256"
"""Key in the ONNX `metadata_props` of a quantized file: SHA-256 of the fp32 file that it stands for."""
TOLERANCE_LEVELS = 12
"""Largest difference from fp32 that is published unless told otherwise, in grey levels of 255."""
MOST_MEAN_LEVELS = 1.0
"""Largest mean difference, in grey levels: rounding the result alone costs up to 0.25."""

_AT_ONCE = 16
_OPERATORS = ["Conv", "Add", "Relu", "Pad"]
_PROVIDERS = ["CPUExecutionProvider"]
_PREPARED = ("onnx.quant.pre_process", "onnxruntime.quant")


def quantize_refiner(
    parent: Path,
    calibration: Images,
    comparison: Images,
    path: Path,
    *,
    tolerance_levels: int = TOLERANCE_LEVELS,
) -> ModelCard:
    """Write an int8 file of the fp32 refiner `parent`, once it is proven to lie near it. Returns its card.

    Between the first convolution and the last one, all is integers: weights of 8 bits with a scale for every
    channel, values of 8 bits with a range for every layer, fixed by what the images of `calibration`
    [N, H, W, C] bring about: many, since what lies outside a range is cut off. Those two convolutions, the
    noise, the addition to the image and all scaling stay float. Images of `comparison` [N, H, W, C], of which
    there must be at least 4, are refined by both.

    `path` appears by rename and only if no value differs by more than `tolerance_levels`, the mean by no more
    than MOST_MEAN_LEVELS, and tiles and batches change no bit. Raises ExportError, CardError, ParityError,
    LocalityError or OSError.
    """
    content = parent.read_bytes()
    model = onnx.load_from_string(content)
    card = read_card({entry.key: entry.value for entry in model.metadata_props})
    _require_fp32(card)
    quantized = _quantized(model, card, calibration)
    before, after = _Runner(model.SerializeToString(), card), _Runner(quantized.SerializeToString(), card)
    _require_local(after, comparison)
    found = _compare(before, after, comparison, tolerance_levels)
    card = _complete(card, found, tolerance_levels)
    quantized.metadata_props.add(key=CARD_KEY, value=card.model_dump_json())
    quantized.metadata_props.add(key=PARENT_KEY, value=hashlib.sha256(content).hexdigest())
    with appearing(path) as file:
        file.write(quantized.SerializeToString())
    return card


def _require_fp32(card: ModelCard) -> None:
    if card.precision != "fp32":
        raise ExportError(f"the refiner to quantize is {card.precision}, not fp32")
    if card.bit_depth != 8:
        raise ExportError(
            "a refiner of 16-bit images cannot be int8: its layers would keep 256 levels of 65536"
        )


def _quantized(model: onnx.ModelProto, card: ModelCard, images: Images) -> onnx.ModelProto:
    """The graph with QuantizeLinear and DequantizeLinear around what shall be integers; no metadata."""
    prepared = onnx.ModelProto()
    prepared.CopyFrom(model)
    for number, node in enumerate(prepared.graph.node):
        node.name = f"{node.op_type}_{number}"
    names = [node.name for node in prepared.graph.node]
    convolutions = [name for name in names if name.startswith("Conv_")]
    if len(convolutions) < 3:
        raise ExportError(
            f"the refiner has {len(convolutions)} convolutions: nothing to quantize between them"
        )
    first, last = (names.index(name) for name in _outermost(names, convolutions, card))
    del prepared.metadata_props[:]
    prepared.metadata_props.add(key=_PREPARED[0], value=_PREPARED[1])  # else it warns
    with tempfile.TemporaryDirectory() as folder, _quiet():
        source, target = Path(folder) / "fp32.onnx", Path(folder) / "int8.onnx"
        onnx.save(prepared, source)
        quantize_static(
            source,
            target,
            _Calibration(images, card),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=_OPERATORS,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=names[: first + 1] + names[last:],
        )
        quantized = onnx.load(target)
    del quantized.metadata_props[:]
    hasten(quantized)
    return quantized


def _outermost(names: list[str], convolutions: list[str], card: ModelCard) -> tuple[str, str]:
    """The two convolutions, both float, between which all is integers."""
    if card.grid == 1:
        return convolutions[0], convolutions[-1]
    unfolding = next(index for index, name in enumerate(names) if name.startswith("DepthToSpace_"))
    on_squares = [name for name in convolutions if names.index(name) < unfolding]
    return on_squares[1], on_squares[-1]  # the very first one folds


class _Calibration(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    """Batches of images with noise, as ONNX Runtime's calibration asks for them."""

    def __init__(self, images: Images, card: ModelCard) -> None:
        self._batches = (
            _inputs(images[start : start + _AT_ONCE], card, start)
            for start in range(0, len(images), _AT_ONCE)
        )

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        return next(self._batches, None)


class _Runner:
    """One of the two files, open."""

    def __init__(self, content: bytes, card: ModelCard) -> None:
        options = exact_integers(onnxruntime.SessionOptions())
        self.card = card
        self._session = onnxruntime.InferenceSession(content, options, providers=_PROVIDERS)

    def refine(self, images: Images, seed: int) -> Images:
        """Image i [N, H, W, C] gets the noise of seed + i."""
        return self.run(_inputs(images, self.card, seed))

    def run(self, inputs: dict[str, NDArray[Any]]) -> Images:
        """The file's own inputs."""
        refined: Images = self._session.run(["refined"], inputs)[0]
        return refined


def _inputs(images: Images, card: ModelCard, seed: int) -> dict[str, NDArray[Any]]:
    inputs: dict[str, NDArray[Any]] = {"image": images}
    if card.noise.channels:
        height, width = images.shape[1:3]
        seeds = range(seed, seed + len(images))
        inputs["noise"] = noise_fields(seeds, height, width, card.noise)
    return inputs


@contextmanager
def _quiet() -> Iterator[None]:
    """ONNX Runtime's quantization gives advice on the root logger."""
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


@dataclass(frozen=True)
class _Found:
    """How often two files differ by 0, 1, 2, … grey levels, and the batches that were compared."""

    counts: NDArray[np.int64]
    sizes: tuple[tuple[int, int, int], ...]

    @property
    def largest(self) -> int:
        return int(np.flatnonzero(self.counts)[-1])

    @property
    def mean(self) -> float:
        return float((self.counts * np.arange(256)).sum() / self.counts.sum())

    def share_above(self, levels: int) -> float:
        return float(self.counts[levels + 1 :].sum() / self.counts.sum())


def _compare(before: _Runner, after: _Runner, images: Images, tolerance: int) -> _Found:
    """Raises ParityError when they lie too far apart."""
    counts = np.zeros(256, np.int64)
    sizes = []
    for seed, batch in enumerate(_batches(images)):
        one, other = (runner.refine(batch, 1000 * seed).astype(np.int16) for runner in (before, after))
        counts += np.bincount(np.abs(one - other).ravel(), minlength=256)
        sizes.append((len(batch), int(batch.shape[1]), int(batch.shape[2])))
    found = _Found(counts, tuple(dict.fromkeys(sizes)))
    if found.largest > tolerance or found.mean > MOST_MEAN_LEVELS:
        raise ParityError(
            f"int8 and fp32 differ by up to {found.largest} of 255 grey levels and by {found.mean:.2f} "
            f"in the mean, more than the {tolerance} and {MOST_MEAN_LEVELS:g} allowed"
        )
    return found


def _batches(images: Images) -> Iterator[Images]:
    """All images in batches; then, of the first ones, one alone, a part of one, and four as one picture."""
    for start in range(0, len(images), _AT_ONCE):
        yield images[start : start + _AT_ONCE]
    yield images[:1]
    yield images[:1, : -(-images.shape[1] // 2), : -(-images.shape[2] // 3)]
    yield _mosaic(images)


def _mosaic(images: Images) -> Images:
    """The first four images as one of twice the height and width: [1, 2 H, 2 W, C]."""
    upper, lower = (np.concatenate((images[i], images[i + 1]), axis=1) for i in (0, 2))
    return np.concatenate((upper, lower), axis=0)[np.newaxis]


def _require_local(runner: _Runner, images: Images) -> None:
    """A tile with its halo gives the bytes of the whole, and an image alone those from a batch.

    Integers add up without rounding, so nothing but a range found while running could break this.
    """
    whole = _inputs(_mosaic(images), runner.card, 0)
    height, width = whole["image"].shape[1:3]
    top, left, radius, grid = height // 3, width // 3, runner.card.receptive_field_radius, runner.card.grid
    rows = slice(max(0, top - radius) // grid * grid, min(height, 2 * top + radius))
    columns = slice(max(0, left - radius) // grid * grid, min(width, 2 * left + radius))
    tile = runner.run({name: value[:, rows, columns] for name, value in whole.items()})
    core = (slice(None), slice(top, 2 * top), slice(left, 2 * left))
    inside = (
        slice(None),
        slice(top - rows.start, 2 * top - rows.start),
        slice(left - columns.start, 2 * left - columns.start),
    )
    if not np.array_equal(runner.run(whole)[core], tile[inside]):
        raise LocalityError("the int8 refiner gives a tile other values than the whole image")
    together = _inputs(images[:3], runner.card, 0)
    alone = runner.run({name: value[1:2] for name, value in together.items()})
    if not np.array_equal(runner.run(together)[1:2], alone):
        raise LocalityError("the int8 refiner gives an image other values in a batch than alone")


def _complete(card: ModelCard, found: _Found, tolerance: int) -> ModelCard:
    metrics = {
        "int8_mean_difference_levels": round(found.mean, 6),
        "int8_share_beyond_2_levels": round(found.share_above(2), 6),
    }
    parity = Parity(
        max_difference=found.largest,
        differing_fraction=found.share_above(0),
        sizes=found.sizes,
        tolerance=tolerance,
        runtime=f"onnxruntime {onnxruntime.__version__} {_PROVIDERS[0]}, int8 against fp32",
    )
    changes = {"precision": "int8", "parity": parity, "metrics": {**card.metrics, **metrics}}
    return ModelCard.model_validate({**dict(card), **changes})

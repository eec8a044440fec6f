"""Export: a trained refiner becomes one ONNX file that carries its own card."""

import copy
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model.card import CARD_KEY, CardDraft, ModelCard, Parity
from model.errors import ExportError, NonFiniteError
from model.files import appearing
from model.locality import require_local
from model.parity import PARITY_SIZES, Images, Refine, Sizes, measure_parity
from model.refiner import Refiner

OPSET = 18
"""ONNX operator set of every file: the one torch's operators are written in, so nothing is converted."""

FloatPrecision = Literal["fp32", "fp16"]
_PROVIDER = "CPUExecutionProvider"
_AXES = ("batch", "height", "width")


def export_refiner(
    refiner: Refiner,
    draft: CardDraft,
    path: Path,
    *,
    precision: FloatPrecision = "fp32",
    tolerance_levels: int = 1,
    sizes: Sizes = PARITY_SIZES,
) -> ModelCard:
    """Write the refiner as an ONNX file, once it is proven to do what torch does. Returns its card.

    The graph takes `image` uint8 or uint16 (by `draft.bit_depth`) [N, H, W, C] and, exactly when the refiner
    takes noise, `noise` float32 [N, H, W, K] ~ N(0, 1); it returns `refined`, type and shape of the image.
    N, H and W are free. `precision` is that of the network inside: fp16, only for images of 8 bits, is for
    GPUs, and slow on processors. `tolerance_levels`: largest allowed difference
    between torch (float32, CPU, eager) and ONNX Runtime, in grey levels; `sizes`: the compared batches
    (N, H, W). The refiner stays as it is.

    `path` appears by rename, in an existing folder, and replaces a file of that name; after any error it is
    as it was. Raises NonFiniteError, LocalityError, ExportError, ParityError or OSError.
    """
    if not path.parent.is_dir():
        raise ExportError(f"the folder {path.parent} for the exported refiner does not exist")
    if precision == "fp16" and draft.bit_depth == 16:
        raise ExportError("a refiner of 16-bit images cannot be fp16, which has 11 bits")
    refiner = _frozen_copy(refiner)
    _require_finite(refiner)
    require_local(refiner)
    graph = _ImageGraph(refiner, draft.bit_depth).eval()
    halves = precision == "fp16"
    model = _to_onnx(_ImageGraph(copy.deepcopy(refiner).half(), draft.bit_depth).eval() if halves else graph)
    parity = _compare(graph, model, draft, tolerance_levels, sizes)
    card = _complete(draft, refiner, parity, precision)
    model.metadata_props.add(key=CARD_KEY, value=card.model_dump_json())
    with appearing(path) as file:
        file.write(model.SerializeToString())
    return card


class _ImageGraph(nn.Module):
    """Image values in, image values out: layout, scaling and rounding around the refiner."""

    def __init__(self, refiner: Refiner, bit_depth: int) -> None:
        super().__init__()
        self.refiner = refiner
        self.dtype = torch.uint8 if bit_depth == 8 else torch.uint16
        self.inside = refiner.last.weight.dtype
        self.peak = float(2**bit_depth - 1)
        self.half_peak = _of_four_dimensions(self.peak / 2.0)
        self.one = _of_four_dimensions(1.0)

    def forward(self, image: Tensor, noise: Tensor | None = None) -> Tensor:
        """From [N, H, W, C] to [N, H, W, C]; halves are rounded to even."""
        return self.to_values(self.refine(image, noise))

    def refine(self, image: Tensor, noise: Tensor | None) -> Tensor:
        """From image values [N, H, W, C] to the refiner's result, float32 [N, C, H, W]."""
        scaled = image.permute(0, 3, 1, 2).to(torch.float32) / self.half_peak - self.one
        field = None if noise is None else noise.permute(0, 3, 1, 2).to(self.inside)
        refined: Tensor = self.refiner(scaled.to(self.inside), field)
        return refined.to(torch.float32)

    def to_values(self, refined: Tensor) -> Tensor:
        """From float32 [N, C, H, W] to image values [N, H, W, C]; clamps before the cast, which wraps."""
        levels = ((refined + self.one) * self.half_peak).round().clamp(0.0, self.peak)
        values: Tensor = levels.to(self.dtype).permute(0, 2, 3, 1)
        return values


def _of_four_dimensions(value: float) -> nn.Buffer:
    """A number [1, 1, 1, 1]: one without dimensions takes ONNX Runtime 20 times as long on grey images."""
    return nn.Buffer(torch.full((1, 1, 1, 1), value))


def _frozen_copy(refiner: Refiner) -> Refiner:
    """What is measured is what is written: float32, CPU, eval."""
    return copy.deepcopy(refiner).to(device="cpu", dtype=torch.float32).eval().requires_grad_(False)


def _require_finite(refiner: Refiner) -> None:
    for name, weight in refiner.state_dict().items():
        broken = int((~torch.isfinite(weight)).sum())
        if broken:
            raise NonFiniteError(
                f"the refiner's weight {name!r} has {broken} values that are NaN or infinite; "
                "export an earlier checkpoint of this run"
            )


def _to_onnx(graph: _ImageGraph) -> onnx.ModelProto:
    config = graph.refiner.config
    inputs = {"image": torch.zeros(2, 9, 11, config.channels, dtype=graph.dtype)}
    if config.noise.channels:
        inputs["noise"] = torch.zeros(2, 9, 11, config.noise.channels)
    axes = {index: torch.export.Dim(name) for index, name in enumerate(_AXES)}
    try:
        with torch.no_grad(), _quiet_exporter():
            program = torch.onnx.export(
                graph,
                kwargs=inputs,
                dynamo=True,
                dynamic_shapes=dict.fromkeys(inputs, axes),
                input_names=list(inputs),
                output_names=["refined"],
                opset_version=OPSET,
                external_data=False,
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        raise ExportError(f"torch cannot write this refiner as ONNX: {error}") from error
    assert program is not None
    model = _without_traces(program.model_proto)
    _require_signature(model, list(inputs))
    return model


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Silence what torch's exporter says about itself; anything else still speaks up."""
    logger = logging.getLogger(
        "torch.onnx._internal.exporter._registration"
    )  # "torchvision is not installed"
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)`", FutureWarning)
            warnings.filterwarnings("ignore", r"# The axis name: \w+ will not be used", UserWarning)
            yield
    finally:
        logger.setLevel(level)


def _without_traces(model: onnx.ModelProto) -> onnx.ModelProto:
    """Drop the exporter's notes about every node, which hold source paths of this machine.

    The shapes that it found stay: knowing that both have one, ONNX Runtime adds a block's input inside of its
    second convolution.
    """
    graph = model.graph
    values = (*graph.input, *graph.value_info, *graph.output, *graph.initializer)
    for part in (graph, *graph.node, *values):
        del part.metadata_props[:]
        part.doc_string = ""
    return model


def _require_signature(model: onnx.ModelProto, inputs: list[str]) -> None:
    """Torch may fix an axis that the refiner turns into a number; the file would then take one size only."""
    if [value.name for value in model.graph.input] != inputs:
        raise ExportError(
            f"the graph's inputs are {[value.name for value in model.graph.input]}, not {inputs}"
        )
    for value in (*model.graph.input, *model.graph.output):
        axes = tuple(axis.dim_param for axis in value.type.tensor_type.shape.dim)[:3]
        if axes != _AXES:
            raise ExportError(f"the axes of {value.name!r} came out as {axes} instead of {_AXES}")


def _compare(
    graph: _ImageGraph, model: onnx.ModelProto, draft: CardDraft, tolerance: int, sizes: Sizes
) -> Parity:
    config = graph.refiner.config
    return measure_parity(
        _in_torch(graph),
        _in_onnxruntime(model),
        channels=config.channels,
        dtype=draft.dtype,
        noise=config.noise,
        sizes=sizes,
        tolerance=tolerance,
        runtime=f"onnxruntime {onnxruntime.__version__} {_PROVIDER}",
    )


def _in_torch(graph: _ImageGraph) -> Refine:
    @torch.no_grad()
    def refine(image: Images, noise: NDArray[np.float32] | None) -> Images:
        refined = graph.refine(torch.from_numpy(image), None if noise is None else torch.from_numpy(noise))
        if not torch.isfinite(refined).all():
            raise NonFiniteError(
                f"the refiner gives NaN or infinite values for an image of {image.shape[1:3]} px"
            )
        values: Images = graph.to_values(refined).numpy()
        return values

    return refine


def _in_onnxruntime(model: onnx.ModelProto) -> Refine:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=[_PROVIDER])

    def refine(image: Images, noise: NDArray[np.float32] | None) -> Images:
        inputs = {"image": image} if noise is None else {"image": image, "noise": noise}
        refined: Images = session.run(["refined"], inputs)[0]
        return refined

    return refine


def _complete(draft: CardDraft, refiner: Refiner, parity: Parity, precision: FloatPrecision) -> ModelCard:
    return ModelCard(
        **draft.model_dump(),
        schema_version=1,
        channels=refiner.config.channels,
        receptive_field_radius=refiner.config.receptive_field_radius,
        grid=refiner.config.grid,
        noise=refiner.config.noise,
        precision=precision,
        parameters=sum(weight.numel() for weight in refiner.parameters()),
        parity=parity,
    )

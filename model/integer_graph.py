"""Owns what makes a quantized graph fast: padding in integers, and channels last throughout."""

import numpy as np
import onnx
from onnx import helper, numpy_helper

_SAME_SHAPE = "simtrue.same_shape"
"""An initializer: all zeros, by which Reshape keeps what there is."""


def hasten(model: onnx.ModelProto) -> None:
    """Rewrite a graph with QuantizeLinear and DequantizeLinear, in place; no result changes by a bit.

    ONNX Runtime 1.31 pads in float where the quantizer left a pair of them around Pad, and goes from channels
    first to channels last and back for every block.
    """
    graph = model.graph
    for pad in [node for node in graph.node if node.op_type == "Pad"]:
        _pad_integers(graph, pad)
    entrance = next((node for node in graph.node if node.op_type == "QuantizeLinear"), None)
    if entrance is not None:
        _lay_channels_last(graph, entrance)
    _drop_unused(graph)


def _pad_integers(graph: onnx.GraphProto, pad: onnx.NodeProto) -> None:
    """Integers → float → Pad → the same integers: Pad alone. Only where it repeats values that are there."""
    before = _producer(graph, pad.input[0])
    after = _readers(graph, pad.output[0])
    if before is None or before.op_type != "DequantizeLinear":
        return
    if [node.op_type for node in after] != ["QuantizeLinear"] or not _repeats(pad):
        return
    if not _same_integers(graph, before, after[0]):
        return
    pad.input[0] = before.input[0]
    _rewire(graph, after[0].output[0], pad.output[0])
    graph.node.remove(after[0])
    if not _readers(graph, before.output[0]):
        graph.node.remove(before)


def _lay_channels_last(graph: onnx.GraphProto, entrance: onnx.NodeProto) -> None:
    """Turn the first integers to channels last and back, with a Reshape between that keeps the shape.

    The two undo each other, and would be dropped if nothing stood between them. The second is moved down the
    graph, past everything, and meets those before integer convolutions, which it undoes as well.
    """
    first = entrance.output[0]
    last, kept, back = (f"{first}/{name}" for name in ("channels_last", "kept", "channels_first"))
    _rewire(graph, first, back)
    at = list(graph.node).index(entrance) + 1
    for number, node in enumerate(
        (
            helper.make_node("Transpose", [first], [last], perm=[0, 2, 3, 1]),
            helper.make_node("Reshape", [last, _SAME_SHAPE], [kept]),
            helper.make_node("Transpose", [kept], [back], perm=[0, 3, 1, 2]),
        )
    ):
        graph.node.insert(at + number, node)
    graph.initializer.append(numpy_helper.from_array(np.zeros(4, np.int64), _SAME_SHAPE))


def _repeats(pad: onnx.NodeProto) -> bool:
    modes = [attribute.s for attribute in pad.attribute if attribute.name == "mode"]
    return modes in ([b"edge"], [b"reflect"], [b"wrap"])


def _same_integers(graph: onnx.GraphProto, one: onnx.NodeProto, other: onnx.NodeProto) -> bool:
    """Whether both have the same scale and zero point."""
    values = {initializer.name: initializer for initializer in graph.initializer}
    return all(
        np.array_equal(numpy_helper.to_array(values[mine]), numpy_helper.to_array(values[its]))
        for mine, its in zip(one.input[1:], other.input[1:], strict=True)
    )


def _producer(graph: onnx.GraphProto, value: str) -> onnx.NodeProto | None:
    return next((node for node in graph.node if value in node.output), None)


def _readers(graph: onnx.GraphProto, value: str) -> list[onnx.NodeProto]:
    return [node for node in graph.node if value in node.input]


def _rewire(graph: onnx.GraphProto, old: str, new: str) -> None:
    for node in _readers(graph, old):
        node.input[:] = [new if value == old else value for value in node.input]


def _drop_unused(graph: onnx.GraphProto) -> None:
    """Scales of what is gone, and shapes, which nothing here needs."""
    used = {value for node in graph.node for value in node.input}
    kept = [initializer for initializer in graph.initializer if initializer.name in used]
    del graph.initializer[:], graph.value_info[:]
    graph.initializer.extend(kept)

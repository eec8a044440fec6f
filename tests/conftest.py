"""Small real ONNX refiners with valid cards, written without torch, and a real S3 server, for every test."""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

PIXEL_TYPE = {8: TensorProto.UINT8, 16: TensorProto.UINT16}
PEAK = {8: 255.0, 16: 65535.0}

pytest_plugins = ["engine_fixtures", "postgres_fixtures"]
ModelWriter = Callable[..., Path]


def card_dict(
    name: str, *, channels: int, bit_depth: int, radius: int, noise: tuple[int, int]
) -> dict[str, Any]:
    """The card of a test model, as the JSON object that goes into the ONNX metadata."""
    return {
        "schema_version": 1,
        "name": name,
        "description": "a refiner for tests",
        "channels": channels,
        "bit_depth": bit_depth,
        "receptive_field_radius": radius,
        "noise": {"pixel_channels": noise[0], "smooth_channels": 0, "image_channels": noise[1]},
        "precision": "fp32",
        "parameters": 1,
        "preset": "test",
        "steps": 0,
        "synthetic_data": "none",
        "real_data": "none",
        "licence": "Apache-2.0",
        "attribution": "",
        "created_utc": "2026-01-01T00:00:00+00:00",
        "trainer_version": "0",
        "metrics": {},
        "parity": {
            "max_difference": 0,
            "differing_fraction": 0.0,
            "sizes": [[1, 8, 8]],
            "tolerance": 1,
            "runtime": "none",
        },
    }


def write_tiny_model(
    root: Path,
    name: str = "tiny",
    version: int = 1,
    *,
    channels: int = 1,
    bit_depth: int = 8,
    noise: tuple[int, int] = (0, 0),
    offset: float = 10.0,
    radius: int = 0,
    noise_gain: float = 8.0,
    poison: int | None = None,
    work: int = 0,
    card: dict[str, Any] | None = None,
) -> Path:
    """Write `<root>/<name>/<version>/refiner.onnx` and return its path.

    In grey levels, `refined = clip(filter(image) + offset + noise_gain * sum of the noise channels)`, rounded
    half to even. `radius` 0 means no filter, so `refined = clip(image + offset)`; a greater one adds a fixed
    random kernel of (2 radius + 1)^2 over all channels with zero padding. `poison`: inference fails whenever
    a pixel of the batch has this value; the warm-up image uses the lower half of the range, so a value there
    makes the model bad, one above makes it fail on some images. `work`: so many multiplications of 256x256
    matrices (under 1 ms each) per inference. `card`: these fields replace those of the valid card.
    """
    path = root / name / str(version) / "refiner.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    graph = _graph(
        channels=channels,
        bit_depth=bit_depth,
        noise_channels=sum(noise),
        offset=offset,
        radius=radius,
        noise_gain=noise_gain,
        poison=poison,
        work=work,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    fields = card_dict(name, channels=channels, bit_depth=bit_depth, radius=radius, noise=noise) | (
        card or {}
    )
    entry = model.metadata_props.add()
    entry.key, entry.value = "simtrue.card", json.dumps(fields)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture(scope="session")
def write_model() -> ModelWriter:
    """The function `write_tiny_model`: write_model(root, name="tiny", version=1, *, channels=1) -> path."""
    return write_tiny_model


@pytest.fixture
def tiny_root(tmp_path: Path) -> Path:
    """A model repository with one 8-bit grey model `tiny`, version 1: refined = min(image + 10, 255)."""
    root = tmp_path / "models"
    write_tiny_model(root)
    return root


def _graph(
    *,
    channels: int,
    bit_depth: int,
    noise_channels: int,
    offset: float,
    radius: int,
    noise_gain: float,
    poison: int | None,
    work: int,
) -> onnx.GraphProto:
    pixels = PIXEL_TYPE[bit_depth]
    size = ["batch", "height", "width"]
    inputs = [helper.make_tensor_value_info("image", pixels, [*size, channels])]
    outputs = [helper.make_tensor_value_info("refined", pixels, [*size, channels])]
    constants = {"offset": np.float32(offset), "low": np.float32(0), "high": np.float32(PEAK[bit_depth])}
    nodes = [
        helper.make_node("Cast", ["image"], ["levels"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["levels"], ["planes"], perm=[0, 3, 1, 2]),
    ]
    last = "planes"
    if radius:
        side = 2 * radius + 1
        kernel = np.random.default_rng(7).normal(size=(channels, channels, side, side))
        constants["kernel"] = (kernel / np.abs(kernel).sum(axis=(1, 2, 3), keepdims=True)).astype(np.float32)
        nodes.append(helper.make_node("Conv", [last, "kernel"], ["filtered"], pads=[radius] * 4))
        nodes.append(helper.make_node("Add", ["filtered", "planes"], ["sharpened"]))
        last = "sharpened"
    if noise_channels:
        inputs.append(helper.make_tensor_value_info("noise", TensorProto.FLOAT, [*size, noise_channels]))
        constants["noise_kernel"] = np.full((channels, noise_channels, 1, 1), noise_gain, np.float32)
        nodes.append(helper.make_node("Transpose", ["noise"], ["noise_planes"], perm=[0, 3, 1, 2]))
        nodes.append(helper.make_node("Conv", ["noise_planes", "noise_kernel"], ["grain"]))
        nodes.append(helper.make_node("Add", [last, "grain"], ["grained"]))
        last = "grained"
    for extra in (_poison(poison, constants, nodes), _work(work, constants, nodes)):
        if extra:
            nodes.append(helper.make_node("Add", [last, extra], [f"{last}_{extra}"]))
            last = f"{last}_{extra}"
    nodes += [
        helper.make_node("Add", [last, "offset"], ["shifted"]),
        helper.make_node("Clip", ["shifted", "low", "high"], ["clipped"]),
        helper.make_node("Round", ["clipped"], ["rounded"]),
        helper.make_node("Transpose", ["rounded"], ["channels_last"], perm=[0, 2, 3, 1]),
        helper.make_node("Cast", ["channels_last"], ["refined"], to=pixels),
    ]
    initialisers = [numpy_helper.from_array(np.asarray(value), key) for key, value in constants.items()]
    return helper.make_graph(nodes, "tiny", inputs, outputs, initialisers)


def _poison(value: int | None, constants: dict[str, Any], nodes: list[onnx.NodeProto]) -> str | None:
    """Add 0, looked up in a table of one entry at index 1 (out of bounds) when the value occurs."""
    if value is None:
        return None
    constants |= {"poison": np.float32(value), "table": np.zeros(1, np.float32)}
    nodes += [
        helper.make_node("Equal", ["planes", "poison"], ["is_poison"]),
        helper.make_node("Cast", ["is_poison"], ["poison_map"], to=TensorProto.INT64),
        helper.make_node("ReduceMax", ["poison_map"], ["poisoned"], keepdims=0),
        helper.make_node("Gather", ["table", "poisoned"], ["from_table"]),
    ]
    return "from_table"


def _work(repeats: int, constants: dict[str, Any], nodes: list[onnx.NodeProto]) -> str | None:
    """Add 0 times the mean of a matrix that was multiplied `repeats` times."""
    if not repeats:
        return None
    start = helper.make_tensor_value_info("matrix_in", TensorProto.FLOAT, [256, 256])
    end = helper.make_tensor_value_info("matrix_out", TensorProto.FLOAT, [256, 256])
    go_on = helper.make_tensor_value_info("go_on_in", TensorProto.BOOL, [])
    count = helper.make_tensor_value_info("i", TensorProto.INT64, [])
    went_on = helper.make_tensor_value_info("go_on_out", TensorProto.BOOL, [])
    steps = [
        helper.make_node("MatMul", ["matrix_in", "factor"], ["matrix_out"]),
        helper.make_node("Identity", ["go_on_in"], ["go_on_out"]),
    ]
    body = helper.make_graph(steps, "work", [count, go_on, start], [went_on, end])
    constants |= {
        "factor": np.full((256, 256), 1 / 256, np.float32),
        "repeats": np.int64(repeats),
        "go_on": np.bool_(True),
        "zero": np.float32(0),
    }
    nodes += [
        helper.make_node("Loop", ["repeats", "go_on", "factor"], ["product"], body=body),
        helper.make_node("ReduceMean", ["product"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
    ]
    return "nothing"


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """The address of an S3 server of our own, empty, and the environment with credentials for it."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ACCESS_KEY_ID", "testing")
        environment.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        environment.setenv("AWS_DEFAULT_REGION", "us-east-1")
        environment.setenv("AWS_CONFIG_FILE", "nowhere")
        environment.setenv("AWS_SHARED_CREDENTIALS_FILE", "nowhere")
        environment.setenv("AWS_EC2_METADATA_DISABLED", "true")
        environment.setenv("NO_PROXY", "*")
        yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="session")
def s3_client(s3_endpoint: str) -> Iterator[Any]:
    """A client of that server, to look at it from outside."""
    import botocore.session

    client = botocore.session.get_session().create_client("s3", endpoint_url=s3_endpoint)
    yield client
    client.close()


@pytest.fixture
def bucket(s3_client: Any) -> str:
    """An empty bucket of that server."""
    name = f"bucket-{secrets.token_hex(6)}"
    s3_client.create_bucket(Bucket=name)
    return name

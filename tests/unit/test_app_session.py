"""A refiner file: what is accepted, what is refused and how it runs."""

import hashlib
import json

import numpy as np
import onnx
import pytest

from app.errors import BadModel, InferenceFailed
from app.refining.devices import choose_provider
from app.refining.session import RefinerSession

PROVIDER = choose_provider("cpu")


def _open(path):
    return RefinerSession.open(path, PROVIDER, 1)


def _card_of(path):
    return json.loads(onnx.load(path).metadata_props[0].value)


def _rewrite(path, change):
    model = onnx.load(path)
    change(model)
    path.write_bytes(model.SerializeToString())


@pytest.mark.parametrize(("bit_depth", "dtype", "peak"), [(8, np.uint8, 255), (16, np.uint16, 65535)])
def test_a_batch_comes_back_refined_in_its_own_dtype(tmp_path, write_model, bit_depth, dtype, peak):
    session = _open(write_model(tmp_path, channels=3, bit_depth=bit_depth, offset=10))
    images = np.random.default_rng(0).integers(0, peak + 1, (2, 5, 7, 3)).astype(dtype)
    expected = np.minimum(images.astype(np.int64) + 10, peak).astype(dtype)
    refined = session.run(images, None)
    assert refined.dtype == dtype
    assert np.array_equal(refined, expected)


def test_it_says_card_provider_and_hash_of_the_file(tmp_path, write_model):
    path = write_model(tmp_path, name="gaze", radius=4)
    session = _open(path)
    assert (session.card.name, session.card.receptive_field_radius) == ("gaze", 4)
    assert session.provider == "CPUExecutionProvider"
    assert session.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_warm_up_is_a_real_inference(tmp_path, write_model):
    _open(write_model(tmp_path, noise=(1, 1))).warm_up()
    with pytest.raises(InferenceFailed):
        _open(write_model(tmp_path, version=2, poison=0)).warm_up()


def test_a_failing_inference_names_model_and_size(tmp_path, write_model, capfd):
    session = _open(write_model(tmp_path, name="weak", poison=200))
    with pytest.raises(InferenceFailed, match=r"Model 'weak' failed on 1 image\(s\) of 4x6 px: .*Gather"):
        session.run(np.full((1, 4, 6, 1), 200, np.uint8), None)
    assert capfd.readouterr() == ("", "")


def test_a_closed_session_refuses_to_run(tmp_path, write_model):
    session = _open(write_model(tmp_path))
    session.close()
    session.close()
    with pytest.raises(InferenceFailed, match="closed"):
        session.warm_up()


def test_opening_a_model_prints_nothing_about_its_oddities(tmp_path, write_model, capfd):
    path = write_model(tmp_path)
    unused = onnx.numpy_helper.from_array(np.zeros(3, np.float32), "unused")
    _rewrite(path, lambda model: model.graph.initializer.append(unused))
    _open(path)
    assert capfd.readouterr() == ("", "")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(BadModel, match=r"refiner.onnx cannot be read: No such file or directory\.$"):
        _open(tmp_path / "refiner.onnx")


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x00" * 100])
def test_a_file_that_is_no_onnx_is_refused(tmp_path, content, capfd):
    path = tmp_path / "refiner.onnx"
    path.write_bytes(content)
    with pytest.raises(BadModel, match=str(path)):
        _open(path)
    assert capfd.readouterr() == ("", "")


def test_a_truncated_file_is_refused_at_every_length(tmp_path, write_model):
    path = write_model(tmp_path)
    whole = path.read_bytes()
    for kept in range(0, len(whole), 97):
        path.write_bytes(whole[:kept])
        with pytest.raises(BadModel):
            _open(path)


def test_a_file_without_a_card_is_refused(tmp_path, write_model):
    path = write_model(tmp_path)
    _rewrite(path, lambda model: model.ClearField("metadata_props"))
    with pytest.raises(BadModel, match=r"is refused: the file has no model card"):
        _open(path)


def test_a_card_with_a_wrong_field_is_refused(tmp_path, write_model):
    with pytest.raises(BadModel, match=r"channels"):
        _open(write_model(tmp_path, card={"channels": 0}))


@pytest.mark.parametrize(
    ("card", "sentence"),
    [
        ({"channels": 3}, r"input 'image' is tensor\(uint8\) .* must be tensor\(uint8\) \[N, H, W, 3\]"),
        ({"bit_depth": 16}, r"input 'image' is tensor\(uint8\) .* must be tensor\(uint16\)"),
        (
            {"noise": {"pixel_channels": 1, "smooth_channels": 0, "image_channels": 0}},
            r"its inputs are \['image'\]",
        ),
    ],
)
def test_a_graph_that_breaks_the_promise_of_its_card_is_refused(tmp_path, write_model, card, sentence):
    with pytest.raises(BadModel, match=sentence):
        _open(write_model(tmp_path, card=card))


def test_a_graph_of_a_fixed_size_is_refused(tmp_path, write_model):
    def fix_height(model):
        model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 35

    path = write_model(tmp_path)
    _rewrite(path, fix_height)
    with pytest.raises(BadModel, match="dynamic N, H and W"):
        _open(path)


def test_a_graph_with_another_output_is_refused(tmp_path, write_model):
    def rename(model):
        model.graph.output[0].name = model.graph.node[-1].output[0] = "result"

    path = write_model(tmp_path)
    _rewrite(path, rename)
    with pytest.raises(BadModel, match=r"its outputs are \['result'\]"):
        _open(path)

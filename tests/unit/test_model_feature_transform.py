"""The feature transforms: what each of them forgives, and what it does not."""

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from model import feature_transform  # noqa: E402
from model.errors import FeatureTransformError  # noqa: E402
from model.feature_transform import make_feature_transform  # noqa: E402
from model.losses import self_regularization_loss  # noqa: E402

pytestmark = pytest.mark.train


def distance(spec: str, refined: "torch.Tensor", synthetic: "torch.Tensor") -> float:
    return self_regularization_loss(
        make_feature_transform(spec, synthetic.shape[1]), refined, synthetic
    ).item()


@pytest.fixture
def image() -> "torch.Tensor":
    return torch.rand(2, 3, 8, 9, generator=torch.Generator().manual_seed(0)) - 0.5


def test_identity_measures_every_change(image: "torch.Tensor") -> None:
    assert distance("identity", image + 0.1, image) == pytest.approx(0.1, rel=1e-5)


def test_derivatives_forgive_brightness_only(image: "torch.Tensor") -> None:
    assert distance("derivatives", image + 0.1, image) == pytest.approx(0.0, abs=1e-6)
    assert distance("derivatives", image * 1.2, image) > 0.01


def test_derivatives_by_hand() -> None:
    synthetic = torch.zeros(1, 1, 2, 2)
    refined = torch.tensor([[[[0.0, 1.0], [2.0, 4.0]]]])

    # Horizontal differences 1 and 2, vertical ones 2 and 3.
    assert distance("derivatives", refined, synthetic) == pytest.approx((1 + 2 + 2 + 3) / 4)


def test_the_channel_mean_forgives_colour_but_not_its_mean(image: "torch.Tensor") -> None:
    shift = torch.tensor([0.2, -0.1, -0.1]).reshape(1, 3, 1, 1)

    assert distance("channel_mean", image + shift, image) == pytest.approx(0.0, abs=1e-6)
    assert distance("channel_mean", image + 0.1, image) == pytest.approx(0.1, rel=1e-5)


def printed_strokes() -> "torch.Tensor":
    strokes = torch.full((1, 1, 32, 32), 0.8)
    strokes[..., 6:26, 9:12] = -0.6
    strokes[..., 6:9, 9:22] = -0.6
    strokes[..., 16:20, 9:20] = -0.6
    return strokes


def test_local_contrast_forgives_exposure_shading_contrast_and_grain() -> None:
    strokes, erased = printed_strokes(), torch.full((1, 1, 32, 32), 0.8)
    shading = torch.linspace(-0.2, 0.2, 32).reshape(1, 1, 32, 1)
    grain = 4 / 127.5 * torch.randn(strokes.shape, generator=torch.Generator().manual_seed(0))

    harmful = distance("local_contrast", erased, strokes)
    assert distance("local_contrast", strokes * 0.5 - 0.3 + shading, strokes) < 0.25 * harmful
    assert distance("local_contrast", strokes + grain, strokes) < 0.25 * harmful


def test_local_contrast_forgives_neither_fading_nor_erasing_nor_moving() -> None:
    strokes, erased = printed_strokes(), torch.full((1, 1, 32, 32), 0.8)

    harmful = distance("local_contrast", erased, strokes)
    assert distance("local_contrast", 0.75 + 0.05 * strokes, strokes) > 0.5 * harmful
    assert distance("local_contrast", strokes.roll(2, dims=3), strokes) > 0.5 * harmful


def test_local_contrast_sees_a_filled_shape_become_an_outline() -> None:
    paper = torch.full((1, 1, 32, 32), 0.8)
    filled, outline = paper.clone(), paper.clone()
    filled[..., 10:22, 10:22] = outline[..., 10:22, 10:22] = -0.6
    outline[..., 13:19, 13:19] = 0.8

    assert distance("local_contrast", outline, filled) > 0.25 * distance("local_contrast", paper, filled)


@pytest.mark.parametrize("spec", ["normalised", "normalised_derivatives"])
def test_normalised_transforms_forgive_brightness_and_contrast_of_each_image(
    spec: str, image: "torch.Tensor"
) -> None:
    gain = torch.tensor([1.3, 0.7]).reshape(2, 1, 1, 1)
    other = image.roll(1, dims=3)

    assert distance(spec, image * gain + 0.2, image) < 2e-3
    assert distance(spec, other, image) > 0.1


def test_a_flat_image_has_a_finite_normalised_gradient() -> None:
    refined = torch.zeros(1, 1, 4, 4, requires_grad=True)

    loss = self_regularization_loss(make_feature_transform("normalised", 1), refined, torch.rand(1, 1, 4, 4))
    loss.backward()

    assert torch.isfinite(refined.grad).all()


def test_joined_transforms_add_up_with_their_weights(image: "torch.Tensor") -> None:
    refined = image.roll(1, dims=2)

    joined = distance("0.5*identity + derivatives+ 2 * channel_mean", refined, image)

    parts = [distance(name, refined, image) for name in ("identity", "derivatives", "channel_mean")]
    assert joined == pytest.approx(0.5 * parts[0] + parts[1] + 2 * parts[2], rel=1e-5)


def test_a_module_of_the_users_is_loaded_and_frozen_and_passes_gradients(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, image: "torch.Tensor"
) -> None:
    (tmp_path / "my_transform.py").write_text(
        "from torch import nn\ndef build(channels):\n"
        "    return nn.Sequential(nn.Conv2d(channels, 4, 3), nn.Dropout(0.5), nn.BatchNorm2d(4))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    transform = make_feature_transform("module:my_transform:build", 3)
    refined = image.clone().requires_grad_()

    transform.train()  # what a trainer does to all of its networks
    first, second = transform(refined)[0], transform(refined)[0]
    first.sum().backward()

    assert torch.equal(first, second)
    assert refined.grad.abs().sum() > 0
    assert not any(weight.requires_grad for weight in transform.parameters())


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ("sobel", "there is no feature transform 'sobel'"),
        ("", "there is no feature transform ''"),
        ("identity+", "there is no feature transform ''"),
        ("x*identity", "'x' in the feature transform 'x\\*identity' is not a number"),
        ("0*identity", "is not above 0"),
        ("nan*identity", "is not above 0"),
        ("-1*identity", "is not above 0"),
        ("module:math", "must read module:path.to.module:factory"),
        ("module:no.such.module:build", "cannot load the feature transform module:no.such.module:build"),
        ("module:math:no_such", "cannot load the feature transform"),
        ("module:math:sqrt", "returned a float, not an nn.Module"),
    ],
)
def test_a_description_that_cannot_be_understood_is_refused(spec: str, sentence: str) -> None:
    with pytest.raises(FeatureTransformError, match=sentence):
        make_feature_transform(spec, 1)


@pytest.mark.parametrize("size", [(20, 33), (1, 7), (300, 12)])
@pytest.mark.parametrize("sigma", [1.5, 6.0])
def test_the_mean_of_the_surroundings_is_that_of_a_convolution(
    size: tuple[int, int], sigma: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    around = feature_transform._Surroundings(sigma)
    image = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1), requires_grad=True)
    found = around(image)
    (gradient,) = torch.autograd.grad(found.square().sum(), image)
    monkeypatch.setattr(feature_transform, "_LARGEST_PRODUCT_PX", 0)
    convolved = around(image)
    (expected,) = torch.autograd.grad(convolved.square().sum(), image)
    torch.testing.assert_close(found, convolved)
    torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize("channels", [1, 3])
def test_local_contrast_is_not_rounded_under_autocast(channels: int) -> None:
    transform = make_feature_transform("local_contrast", channels)
    image = torch.rand(1, channels, 32, 32, generator=torch.Generator().manual_seed(2))
    (exact,) = transform(image)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (found,) = transform(image)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, exact)


def stained(paper: tuple[int, ...], cell: tuple[int, ...], nucleus: tuple[int, ...]) -> "torch.Tensor":
    """A nucleus in a cell on paper, colours in levels of 255."""
    image = torch.empty(1, 3, 40, 40)
    for colour, box in ((paper, (0, 40)), (cell, (6, 34)), (nucleus, (12, 26))):
        image[..., box[0] : box[1], box[0] : box[1]] = torch.tensor(colour)[:, None, None] / 127.5 - 1
    return image


def test_local_contrast_lets_a_stain_look_real_and_no_colour_become_another() -> None:
    """The numbers are colours of a drawn blood smear, and what they are in photographs."""
    drawn = stained((243, 242, 241), (225, 214, 235), (117, 77, 168))
    photographed = stained((200, 200, 190), (190, 180, 215), (120, 60, 220))
    brown = stained((200, 200, 190), (190, 180, 215), (140, 110, 95))
    colourless = stained((200, 200, 190), (190, 180, 215), (105, 105, 110))
    real = distance("local_contrast", photographed, drawn)
    assert real < 0.9 * distance("local_contrast", brown, drawn)
    assert real < 0.9 * distance("local_contrast", colourless, drawn)


def test_grey_images_in_three_channels_are_as_far_apart_as_grey_ones() -> None:
    strokes = printed_strokes()
    moved = strokes.roll(2, dims=3)
    alone = distance("local_contrast", moved, strokes)
    threefold = [image.expand(-1, 3, -1, -1) for image in (moved, strokes)]
    assert distance("local_contrast", *threefold) == pytest.approx(alone, rel=1e-5)

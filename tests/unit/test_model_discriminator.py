"""The discriminator: the paper's sizes, one answer for every patch, or one for the image."""

import pytest

torch = pytest.importorskip("torch")

from model.discriminator import (  # noqa: E402
    DEFAULT_LAYERS,
    GAZE_LAYERS,
    GLOBAL_LAYERS,
    HAND_LAYERS,
    AnyLayer,
    ConvLayer,
    DiscriminatorConfig,
    LocalDiscriminator,
    MeanLayer,
    PoolLayer,
    evidence_of_refined,
    fine_detail,
)

pytestmark = pytest.mark.train

Layers = tuple[AnyLayer, ...]


@pytest.mark.parametrize(("layers", "parameters"), [(GAZE_LAYERS, 75_906), (HAND_LAYERS, 178_050)])
def test_the_papers_discriminators_have_the_papers_parameters(layers: Layers, parameters: int) -> None:
    discriminator = LocalDiscriminator(DiscriminatorConfig(layers=layers))

    assert sum(weight.numel() for weight in discriminator.parameters()) == parameters


@pytest.mark.parametrize(("layers", "side"), [(GAZE_LAYERS, 23), (HAND_LAYERS, 71), (DEFAULT_LAYERS, 13)])
def test_the_declared_receptive_field_is_the_one_an_impulse_finds(layers: Layers, side: int) -> None:
    config = DiscriminatorConfig(layers=tuple(thin(layer) for layer in layers))
    discriminator = LocalDiscriminator(config).double()
    for weight in discriminator.parameters():
        torch.nn.init.constant_(weight, 0.1 if weight.ndim == 4 else 0.0)
    width = 3 * side
    impulses = torch.zeros(2 * width, 1, width, width, dtype=torch.float64)
    place = torch.arange(width)
    impulses[place, 0, width // 2, place] = 1.0  # along a row ...
    impulses[width + place, 0, place, width // 2] = 1.0  # ... and along a column

    with torch.no_grad():
        logits = discriminator(impulses)[:, 0]

    row = logits[:width, logits.shape[1] // 2, logits.shape[2] // 2] > 0
    column = logits[width:, logits.shape[1] // 2, logits.shape[2] // 2] > 0
    assert DiscriminatorConfig(layers=layers).receptive_field == side
    assert (int(row.sum()), int(column.sum())) == (side, side)


@pytest.mark.parametrize(
    ("layers", "image", "patches"),
    [
        (GAZE_LAYERS, (35, 55), (9, 14)),
        (HAND_LAYERS, (224, 224), (7, 7)),
        (DEFAULT_LAYERS, (1, 2), (1, 1)),
        (GLOBAL_LAYERS, (35, 55), (1, 1)),
    ],
)
def test_there_is_one_pair_of_logits_for_every_patch(
    layers: Layers, image: tuple[int, int], patches: tuple[int, int]
) -> None:
    config = DiscriminatorConfig(channels=2, layers=layers)

    logits = LocalDiscriminator(config)(torch.zeros(3, 2, *image))

    assert config.output_size(*image) == patches
    assert logits.shape == (3, 2, *patches)


def test_the_global_answer_depends_on_every_pixel_and_says_so() -> None:
    torch.manual_seed(0)
    config = DiscriminatorConfig(layers=GLOBAL_LAYERS)
    image = torch.randn(1, 1, 20, 31, requires_grad=True)

    evidence_of_refined(LocalDiscriminator(config)(image)).sum().backward()

    assert config.receptive_field is None
    assert image.grad is not None
    assert bool((image.grad != 0).all())


def test_the_global_discriminator_has_the_weights_of_the_local_one_and_no_others() -> None:
    local, whole = (
        [list(weight.shape) for weight in LocalDiscriminator(DiscriminatorConfig(layers=layers)).parameters()]
        for layers in (DEFAULT_LAYERS, GLOBAL_LAYERS)
    )

    assert whole == local


def test_the_global_answer_is_more_than_the_mean_of_the_patches_answers() -> None:
    torch.manual_seed(0)
    whole = LocalDiscriminator(DiscriminatorConfig(layers=GLOBAL_LAYERS))
    local = LocalDiscriminator(DiscriminatorConfig(layers=DEFAULT_LAYERS))
    for to, source in zip(local.parameters(), whole.parameters(), strict=True):
        to.data.copy_(source.data)
    image = torch.randn(2, 1, 24, 24)

    assert not torch.allclose(whole(image), local(image).mean(dim=(2, 3), keepdim=True), atol=1e-4)


def test_fine_detail_widens_the_receptive_field_by_its_blur_and_says_so() -> None:
    config = DiscriminatorConfig(high_pass=True, negative_slope=0.2)
    image = torch.randn(1, 1, 45, 45, generator=torch.Generator().manual_seed(1)).requires_grad_()
    logits = LocalDiscriminator(config)(image)
    (gradient,) = torch.autograd.grad(logits[0, 0, 11, 11], image)
    reached = (gradient[0, 0] != 0).nonzero()
    sides = reached.max(dim=0).values - reached.min(dim=0).values + 1
    assert config.receptive_field == 15
    assert sides.tolist() == [15, 15]


def test_fine_detail_is_grain_and_not_exposure_or_slope() -> None:
    slope = torch.linspace(-1, 1, 20).expand(1, 2, 20, 20)
    inside = fine_detail(slope)[..., 1:-1]
    assert inside.abs().max() < 1e-5
    grain = torch.zeros(1, 2, 9, 9)
    grain[..., 4, 4] = 0.04
    shown = fine_detail(grain)
    assert shown[..., 4, 4].tolist() == [[pytest.approx(8 * 0.04 * 0.75)] * 2]
    assert shown.sum().abs() < 1e-5


def test_one_image_is_judged_the_same_whatever_shares_its_batch() -> None:
    torch.manual_seed(0)
    discriminator = LocalDiscriminator(DiscriminatorConfig(layers=GLOBAL_LAYERS))
    images = torch.randn(3, 1, 24, 24)

    assert torch.allclose(discriminator(images)[1:2], discriminator(images[1:2]), atol=1e-6)


def test_the_gaze_discriminator_judges_126_patches() -> None:
    height, width = DiscriminatorConfig(layers=GAZE_LAYERS).output_size(35, 55)

    assert height * width == 126


def test_the_logits_take_both_signs_so_nothing_squashes_them() -> None:
    torch.manual_seed(0)
    discriminator = LocalDiscriminator(DiscriminatorConfig(layers=GAZE_LAYERS))
    torch.nn.init.normal_(discriminator.answer.weight)

    logits = discriminator(torch.randn(4, 1, 35, 55))

    assert logits.min() < 0 < logits.max()


def test_evidence_is_positive_where_a_patch_looks_refined() -> None:
    logits = torch.tensor([[[[0.0, 5.0]], [[2.0, 1.0]]]])  # real: 0 and 5, refined: 2 and 1

    assert evidence_of_refined(logits).tolist() == [[[2.0, -4.0]]]


@pytest.mark.parametrize("shape", [(4, 9, 14, 2), (4, 1, 9, 14), (4, 2)])
def test_logits_with_the_classes_elsewhere_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="classes on axis 1"):
        evidence_of_refined(torch.zeros(shape))


def test_spectral_norm_bounds_every_convolution() -> None:
    discriminator = LocalDiscriminator(DiscriminatorConfig(layers=GAZE_LAYERS, spectral_norm=True))
    for _ in range(30):  # power iterations
        discriminator(torch.zeros(1, 1, 35, 55))
    convolutions = [layer for layer in discriminator.modules() if isinstance(layer, torch.nn.Conv2d)]

    largest = [
        float(torch.linalg.matrix_norm(layer.weight.detach().flatten(1), ord=2)) for layer in convolutions
    ]

    assert largest == pytest.approx([1.0] * 5, abs=0.05)


def test_a_layer_can_be_read_from_plain_data() -> None:
    plain = {
        "layers": [
            {"kind": "conv", "channels": 8, "kernel_size": 3, "stride": 2},
            {"kind": "pool", "kernel_size": 3},
            {"kind": "mean"},
        ]
    }

    config = DiscriminatorConfig.model_validate(plain)

    assert config.layers == (
        ConvLayer(channels=8, kernel_size=3, stride=2),
        PoolLayer(kernel_size=3),
        MeanLayer(),
    )


def thin(layer: AnyLayer) -> AnyLayer:
    """The same field with one channel."""
    return layer.model_copy(update={"channels": 1}) if isinstance(layer, ConvLayer) else layer

"""The refiner: the paper's sizes, local, the same in training and in service."""

import pytest

torch = pytest.importorskip("torch")

from model.card import NoiseSpec  # noqa: E402
from model.refiner import Refiner, RefinerConfig, clamp_to_range  # noqa: E402

pytestmark = pytest.mark.train

GAZE = RefinerConfig()
HAND = RefinerConfig(blocks=10, kernel_size=7, first_kernel_size=7)
NOISE = NoiseSpec(pixel_channels=1, smooth_channels=0, image_channels=1)


def random_image(*shape: int) -> "torch.Tensor":
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1)) * 2.0 - 1.0


@pytest.mark.parametrize(("config", "parameters"), [(GAZE, 296_129), (HAND, 4_018_625)])
def test_the_papers_refiners_have_the_papers_parameters(config: RefinerConfig, parameters: int) -> None:
    assert sum(weight.numel() for weight in Refiner(config).parameters()) == parameters


@pytest.mark.parametrize(("config", "side", "radius"), [(GAZE, 19, 9), (HAND, 127, 63)])
def test_the_papers_refiners_have_the_papers_receptive_fields(
    config: RefinerConfig, side: int, radius: int
) -> None:
    assert (config.receptive_field, config.receptive_field_radius) == (side, radius)


@pytest.mark.parametrize(
    "config", [GAZE, HAND, RefinerConfig(blocks=2, kernel_size=5, first_kernel_size=7, output="residual")]
)
def test_the_declared_receptive_field_is_the_one_a_gradient_finds(config: RefinerConfig) -> None:
    # Positive weights keep every ReLU open, so no path is hidden; a narrow network has the same field.
    refiner = Refiner(config.model_copy(update={"width": 1}))
    for weight in refiner.parameters():
        torch.nn.init.constant_(weight, 0.01)
    refiner.double()
    side = config.receptive_field + 6
    image = torch.full((1, 1, side, side), 0.1, dtype=torch.float64, requires_grad=True)

    refiner(image)[0, 0, side // 2, side // 2].backward()

    seen = image.grad[0, 0].nonzero()
    expected = [3, side - 4]
    assert [int(seen[:, 0].min()), int(seen[:, 0].max())] == expected
    assert [int(seen[:, 1].min()), int(seen[:, 1].max())] == expected


@pytest.mark.parametrize("output", ["tanh", "residual"])
def test_a_pixel_further_away_than_the_radius_changes_nothing(output: str) -> None:
    refiner = trained_looking(RefinerConfig(width=8, blocks=1, output=output))
    radius = refiner.config.receptive_field_radius
    before = random_image(1, 1, 21, 21)
    after = before.clone()
    after[0, 0, 10, 10] = 1.0

    changed = (refiner(before) - refiner(after)).abs()[0, 0] > 1e-6

    inside = torch.zeros(21, 21, dtype=torch.bool)
    inside[10 - radius : 11 + radius, 10 - radius : 11 + radius] = True
    assert not (changed & ~inside).any()
    assert changed[10, 10]


def test_replicated_edges_give_a_flat_image_no_border() -> None:
    flat = torch.full((1, 1, 13, 17), 0.3)
    framed, even = (
        trained_looking(RefinerConfig(width=8, blocks=2, output="residual", padding=padding))(flat)
        for padding in ("zeros", "replicate")
    )
    assert (framed - framed[0, 0, 6, 8]).abs().max() > 1e-3
    torch.testing.assert_close(even, torch.full_like(flat, even[0, 0, 6, 8].item()), rtol=0, atol=1e-6)


@pytest.mark.parametrize("output", ["tanh", "residual"])
def test_train_and_eval_mode_give_the_same_image(output: str) -> None:
    refiner = trained_looking(RefinerConfig(width=8, output=output))
    image = random_image(2, 1, 12, 9)

    torch.testing.assert_close(refiner.train()(image), refiner.eval()(image), rtol=0, atol=0)
    with torch.no_grad():
        without_gradient = refiner(image)
    torch.testing.assert_close(refiner(image), without_gradient, rtol=0, atol=0)


@pytest.mark.parametrize("noise", [NoiseSpec(pixel_channels=0, smooth_channels=0, image_channels=0), NOISE])
def test_an_untrained_residual_refiner_is_the_identity(noise: NoiseSpec) -> None:
    refiner = Refiner(RefinerConfig(channels=3, width=8, output="residual", noise=noise))
    image = random_image(2, 3, 9, 11)
    field = torch.randn(2, 2, 9, 11) if noise.channels else None

    assert torch.equal(refiner(image, field), image)


def test_an_untrained_residual_refiner_learns_from_its_first_step() -> None:
    refiner = Refiner(RefinerConfig(width=8, output="residual"))

    refiner(random_image(1, 1, 9, 9)).sum().backward()

    assert refiner.last.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("output", ["tanh", "residual"])
def test_the_refined_image_stays_in_range_and_keeps_its_shape(output: str) -> None:
    refiner = trained_looking(RefinerConfig(channels=3, width=8, output=output), gain=50.0)

    with torch.no_grad():
        refined = refiner(random_image(2, 3, 7, 13))

    assert refined.shape == (2, 3, 7, 13)
    assert refined.min() == pytest.approx(-1.0, abs=1e-3)
    assert refined.max() == pytest.approx(1.0, abs=1e-3)
    assert refined.abs().max() <= 1.0


def test_outside_the_range_only_a_gradient_that_leads_back_passes() -> None:
    value = torch.tensor([-2.0, -2.0, 0.5, 0.5, 2.0, 2.0], requires_grad=True)
    gradient = torch.tensor([-1.0, 1.0, -1.0, 1.0, -1.0, 1.0])

    clamped = clamp_to_range(value)
    clamped.backward(gradient)

    assert clamped.tolist() == [-1.0, -1.0, 0.5, 0.5, 1.0, 1.0]
    # Descent moves against the gradient: below the range it must be negative, above it positive.
    assert value.grad.tolist() == [-1.0, 0.0, -1.0, 1.0, 0.0, 1.0]


def test_different_noise_gives_different_refinements() -> None:
    refiner = trained_looking(RefinerConfig(width=8, noise=NOISE))
    image = random_image(1, 1, 9, 9)

    first, second = (refiner(image, torch.full((1, 2, 9, 9), level)) for level in (-1.0, 1.0))

    assert (first - second).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("noise", "given"),
    [(NOISE, False), (NoiseSpec(pixel_channels=0, smooth_channels=0, image_channels=0), True)],
)
def test_noise_is_given_exactly_when_the_refiner_takes_some(noise: NoiseSpec, given: bool) -> None:
    refiner = Refiner(RefinerConfig(width=4, blocks=1, noise=noise))
    field = torch.zeros(1, 2, 9, 9) if given else None

    with pytest.raises(ValueError, match="noise channels"):
        refiner(random_image(1, 1, 9, 9), field)


@pytest.mark.parametrize("field", ["kernel_size", "first_kernel_size"])
def test_an_even_kernel_is_refused(field: str) -> None:
    with pytest.raises(ValueError, match="use an odd size"):
        RefinerConfig.model_validate({field: 4})


def trained_looking(config: RefinerConfig, gain: float = 1.0) -> Refiner:
    """A refiner whose last layer is no longer what it started as."""
    torch.manual_seed(0)
    refiner = Refiner(config)
    torch.nn.init.normal_(refiner.last.weight, std=gain)
    return refiner

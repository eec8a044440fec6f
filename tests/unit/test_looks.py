"""Looks: what is measured of an image, and that their distribution is compared without bias."""

import pytest

torch = pytest.importorskip("torch")

from model.looks import Looks, look_statistics  # noqa: E402

pytestmark = pytest.mark.train
SIZE = 16


def drawn(seed: int, levels: "torch.Tensor", grain: float = 0.0) -> "torch.Tensor":
    """Flat images [N, 1, 16, 16] of these levels, with grain."""
    noise = torch.randn(len(levels), 1, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))
    return levels[:, None, None, None] + grain * noise


def levels(seed: int, count: int, bright: float) -> "torch.Tensor":
    """Dark (-0.5) or, with this probability, bright (0.5)."""
    chance = torch.rand(count, generator=torch.Generator().manual_seed(seed))
    return torch.where(chance < bright, 0.5, -0.5)


def test_exposure_is_that_of_the_ground_not_of_what_is_on_it() -> None:
    image = torch.full((1, 1, SIZE, SIZE), -0.5)
    on_it = image.clone()
    on_it[:, :, 4:11, 4:11] = 0.9  # a fifth of the image
    assert look_statistics(on_it)[0, 0] == look_statistics(image)[0, 0] == -0.5


def test_grain_is_seen_and_edges_are_not() -> None:
    flat = torch.zeros(1, 1, SIZE, SIZE)
    edge = flat.clone()
    edge[:, :, :, 8:] = 0.9
    grainy = drawn(0, torch.zeros(1), grain=4 / 127.5)
    of_flat, of_edge, of_grain = (look_statistics(image)[0, 1].item() for image in (flat, edge, grainy))
    assert of_edge == of_flat
    assert of_grain > of_flat + 1


def test_each_channel_has_an_exposure_and_a_grain_of_its_own() -> None:
    image = torch.cat([drawn(seed, torch.tensor([level])) for seed, level in enumerate((-0.5, 0.0, 0.5))], 1)
    assert look_statistics(image).shape == (1, 6)
    assert look_statistics(image)[0, :3].tolist() == [-0.5, 0.0, 0.5]


def test_the_distance_is_zero_on_average_where_looks_are_as_frequent_and_more_elsewhere() -> None:
    looks = Looks.of(drawn(0, levels(0, 500, bright=0.3), grain=0.05))

    def mean_distance(bright: float) -> float:
        batches = (drawn(seed, levels(seed, 8, bright), grain=0.05) for seed in range(1, 300))
        return torch.stack([looks.distance(batch) for batch in batches]).mean().item()

    assert mean_distance(0.3) == pytest.approx(0.0, abs=0.02)
    assert mean_distance(0.7) > 0.1
    assert mean_distance(0.0) > 0.05


def test_its_gradient_turns_too_frequent_looks_into_those_that_are_missing() -> None:
    looks = Looks.of(drawn(0, levels(0, 500, bright=0.25)))
    shown = torch.linspace(0.4, 0.6, 8).requires_grad_()
    optimiser = torch.optim.SGD([shown], lr=0.2)
    for _ in range(300):
        optimiser.zero_grad()
        looks.distance(shown[:, None, None, None].expand(-1, 1, SIZE, SIZE)).backward()
        optimiser.step()
    assert (shown < 0).sum().item() == 6
    assert shown.detach().sort().values[-2:].tolist() == pytest.approx([0.5, 0.5], abs=0.15)


def test_parts_of_a_batch_give_the_mean_and_the_gradient_of_all_of_it() -> None:
    looks = Looks.of(drawn(0, levels(0, 100, bright=0.3)))
    whole = drawn(1, levels(1, 8, bright=0.5), grain=0.1).requires_grad_()
    looks.distance(whole).backward()
    parts = whole.detach().clone().requires_grad_()
    everyone = look_statistics(parts.detach()) / looks.scale
    values = [
        looks.distance(parts[first : first + 4], gather=lambda _: everyone, first=first) for first in (0, 4)
    ]
    mean = torch.stack(values).mean()
    mean.backward()

    assert mean.item() == pytest.approx(looks.distance(whole).item(), abs=1e-6)
    assert whole.grad is not None
    assert parts.grad is not None
    assert torch.allclose(parts.grad, whole.grad, atol=1e-7)


def test_real_images_that_all_look_alike_ask_for_nothing_impossible() -> None:
    looks = Looks.of(drawn(0, torch.zeros(4)))
    assert looks.distance(drawn(0, torch.zeros(4))).item() == pytest.approx(0.0, abs=0.01)
    assert looks.distance(drawn(0, torch.full((1,), 0.1))).isfinite()

"""The second discriminator: it misses looks that are not drawn."""

from collections.abc import Callable

import pytest

torch = pytest.importorskip("torch")

from model.discriminator import evidence_of_refined  # noqa: E402
from model.variety import VarietyDiscriminator, variety  # noqa: E402

pytestmark = pytest.mark.train


Draw = Callable[[], tuple["torch.Tensor", "torch.Tensor"]]


def taken_apart(draw: Draw, updates: int = 60) -> float:
    """Share of new images told right, after learning from groups of 4 that `draw` gives, refined and real."""
    torch.manual_seed(0)
    discriminator = VarietyDiscriminator(channels=1, group=4, negative_slope=0.2)
    optimiser = torch.optim.Adam(discriminator.parameters(), lr=3e-3)
    for _ in range(updates):
        refined, real = (evidence_of_refined(discriminator(images)) for images in draw())
        loss = torch.nn.functional.softplus(torch.cat([-refined, real])).mean()
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
    refined, real = (evidence_of_refined(discriminator(images)) for images in draw())
    return (torch.cat([refined, -real]) > 0).float().mean().item()


def levels(*values: float) -> "torch.Tensor":
    return torch.tensor(values)[:, None, None, None].expand(-1, 1, 16, 16)


def test_variety_is_the_spread_of_each_feature_within_a_group_of_images() -> None:
    features = torch.tensor([[1.0, 5.0], [3.0, 5.0], [0.0, 2.0], [0.0, 6.0]])

    spread = variety(features, 2)

    assert spread.flatten().tolist() == pytest.approx(
        [1.0, 0.001, 1.0, 0.001, 0.001, 2.0, 0.001, 2.0], abs=1e-4
    )


def test_images_that_are_all_alike_give_variety_a_finite_slope() -> None:
    features = torch.ones(4, 2, requires_grad=True)

    (slope,) = torch.autograd.grad(variety(features, 4).sum(), features)

    assert bool(slope.isfinite().all())


def test_images_that_do_not_fill_their_groups_are_refused() -> None:
    with pytest.raises(ValueError, match="6 images cannot be cut into groups of 4"):
        variety(torch.zeros(6, 1), 4)


def test_a_group_is_judged_the_same_whatever_other_groups_share_its_batch() -> None:
    torch.manual_seed(0)
    discriminator = VarietyDiscriminator(channels=2, group=4, negative_slope=0.2)
    images = torch.randn(8, 2, 20, 13)
    logits = discriminator(images)

    assert logits.shape == (8, 2, 1, 1)
    assert torch.allclose(logits[:4], discriminator(images[:4]), atol=1e-6)
    assert not torch.allclose(logits[:2], discriminator(images[[0, 1, 4, 5]])[:2], atol=1e-4)


def test_groups_of_one_look_each_are_told_from_mixed_ones_though_the_images_are_the_same() -> None:
    alike, mixed = levels(*[0.5] * 4, *[-0.5] * 4), levels(*[0.5, -0.5] * 4)

    assert taken_apart(lambda: (alike, mixed)) == 1.0

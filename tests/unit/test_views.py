"""Views: what the discriminator is shown, and that a gradient finds its way back."""

import pytest

torch = pytest.importorskip("torch")

from trainer.views import Views, draw_views  # noqa: E402

pytestmark = pytest.mark.train


def images(height: int = 6, width: int = 6, count: int = 16) -> "torch.Tensor":
    return torch.rand(count, 2, height, width, generator=torch.Generator().manual_seed(0)) - 0.5


def turned(count: int = 16) -> Views:
    return Views(torch.arange(count) % 8, torch.ones(count), torch.zeros(count))


def source(seed: int) -> "torch.Generator":
    return torch.Generator().manual_seed(seed)


def test_with_probability_0_everything_is_shown_as_it_is() -> None:
    assert torch.equal(draw_views(16, 0.0, source(0)).show(images()), images())


def test_the_eight_turns_are_all_different_and_each_image_stays_at_its_place() -> None:
    same = images(count=1).expand(16, -1, -1, -1)
    seen = turned().show(same)
    assert len({tuple(one.flatten().tolist()) for one in seen[:8]}) == 8
    assert torch.equal(seen[:8], seen[8:])
    several = turned().show(images())
    for place in range(16):
        assert torch.equal(several[place].flatten().sort().values, images()[place].flatten().sort().values)


def test_an_oblong_image_is_never_laid_on_its_side() -> None:
    oblong = images(height=4, width=9)
    seen = turned().show(oblong)
    assert seen.shape == oblong.shape
    assert torch.equal(seen[1], oblong[1])
    assert torch.equal(seen[2], oblong[2].flip(1, 2))


def test_the_mean_moves_by_the_offset_and_contrast_grows_by_the_gain() -> None:
    views = Views(torch.zeros(16, dtype=torch.int64), torch.full((16,), 1.5), torch.full((16,), 0.25))
    seen = views.show(images())
    assert torch.allclose(seen.mean(dim=(1, 2, 3)), images().mean(dim=(1, 2, 3)) + 0.25, atol=1e-6)
    assert torch.allclose(seen.std(dim=(1, 2, 3)), 1.5 * images().std(dim=(1, 2, 3)), atol=1e-6)


def test_each_change_comes_as_often_as_asked_for() -> None:
    views = draw_views(20_000, 0.3, source(1))
    for changed in (views.turns != 0, views.gains != 1, views.offsets != 0):
        assert changed.float().mean().item() == pytest.approx(0.3, abs=0.02)
    together = (views.turns != 0) & (views.gains != 1)
    assert together.float().mean().item() == pytest.approx(0.09, abs=0.02), "each by itself"


def test_the_gradient_comes_back_to_where_it_belongs() -> None:
    shown = images().requires_grad_()
    views = turned()
    views.show(shown)[:, :, 0, 1].sum().backward()
    assert shown.grad is not None
    marked = torch.zeros_like(images())
    marked[:, :, 0, 1] = 1.0
    there = Views(-views.turns % 4 + views.turns // 4 * 4, views.gains, views.offsets)
    # A turn is undone by its opposite; a mirrored turn undoes itself.
    undone = Views(torch.where(views.turns < 4, there.turns, views.turns), views.gains, views.offsets)
    assert torch.equal(shown.grad, undone.show(marked))


def test_parts_of_a_batch_are_seen_as_in_the_whole() -> None:
    views = draw_views(16, 0.5, source(2))
    whole = views.show(images())
    parts = [views[half].show(images()[half]) for half in (slice(0, 8), slice(8, 16))]
    assert torch.equal(torch.cat(parts), whole)

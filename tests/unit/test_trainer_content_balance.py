"""Content balance: erasing what a set shows must not be the way to look like an emptier one."""

import pytest

torch = pytest.importorskip("torch")

from model.discriminator import REAL, REFINED  # noqa: E402
from model.feature_transform import make_feature_transform  # noqa: E402
from model.losses import discriminator_loss  # noqa: E402
from trainer.content_balance import ContentBalance, balance_content, otsu_threshold, structure  # noqa: E402

pytestmark = pytest.mark.train
PATCHES = (8, 8)
FIELD = 13


def cells(count: int, share: float, contrast: float = 0.8, level: float = 0.0) -> torch.Tensor:
    """Images of 16 px, of which `share` show a square; the rest is empty, but for grain."""
    random = torch.Generator().manual_seed(count)
    images = torch.full((count, 1, 16, 16), level) + 0.004 * torch.randn(count, 1, 16, 16, generator=random)
    images[: round(share * count), :, 5:11, 5:11] -= contrast
    return images


def balance(synthetic: torch.Tensor, real: torch.Tensor, limit: float = 10) -> ContentBalance | None:
    return balance_content(
        make_feature_transform("local_contrast", 1), FIELD, synthetic, real, patches=PATCHES, limit=limit
    )


def test_real_patches_with_structure_weigh_more_where_they_are_rarer() -> None:
    real = cells(400, 0.25)
    found = balance(cells(400, 0.75), real)
    assert found is not None
    weights = found(real, PATCHES)
    shows = weights[:100, 4, 4]
    assert torch.equal(shows, torch.full((100,), found.weight_full))
    assert torch.equal(weights[200:, 4, 4], torch.full((200,), found.weight_empty))
    assert found.weight_full == pytest.approx(3.0, rel=0.02)
    assert found.weight_empty == pytest.approx(1 / 3, rel=0.02)
    assert weights.mean().item() == pytest.approx(1.0, abs=0.02)


def test_fainter_structure_counts_like_any_other() -> None:
    found = balance(cells(400, 0.5, contrast=0.9), cells(400, 0.5, contrast=0.12, level=-0.6))
    assert found is not None
    assert (found.weight_full, found.weight_empty) == (
        pytest.approx(1.0, abs=0.03),
        pytest.approx(1.0, abs=0.03),
    )


def test_no_weight_exceeds_the_limit_by_more_than_the_mean_needs() -> None:
    found = balance(cells(400, 0.9), cells(400, 0.1), limit=2)
    assert found is not None
    assert found.weight_full / found.weight_empty == pytest.approx(4.0)


def test_sets_that_do_not_fall_into_two_groups_are_left_alone() -> None:
    assert balance(torch.zeros(50, 1, 16, 16), cells(50, 0.5)) is None


def test_structure_does_not_depend_on_exposure() -> None:
    images, transform = cells(4, 1.0), make_feature_transform("local_contrast", 1)
    one, other = (structure(transform, part, FIELD, PATCHES) for part in (images, images - 0.15))
    assert torch.allclose(one, other, atol=1e-4)
    assert one.shape == (4, 8, 8)


def test_otsu_parts_two_groups() -> None:
    values = torch.cat([torch.linspace(0, 0.2, 100), torch.linspace(0.7, 0.8, 30)])
    assert 0.2 <= otsu_threshold(values) <= 0.7
    assert otsu_threshold(torch.full((5,), 0.4)) == pytest.approx(0.4)


def test_weights_multiply_the_loss_of_real_patches_alone() -> None:
    logits = torch.zeros(1, 2, 1, 2)
    logits[:, REFINED, :, 1] = 2.0
    logits[:, REAL, :, 0] = 2.0
    right_only = discriminator_loss(logits, logits, "cross_entropy", torch.tensor([[[2.0, 0.0]]]))
    wrong_only = discriminator_loss(logits, logits, "cross_entropy", torch.tensor([[[0.0, 2.0]]]))
    even = discriminator_loss(logits, logits, "cross_entropy", torch.ones(1, 1, 2))
    assert right_only < even < wrong_only
    assert even.item() == pytest.approx(discriminator_loss(logits, logits).item())

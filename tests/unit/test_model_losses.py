"""The losses: Eq. 2, 3 and 4 worked out by hand."""

import math

import pytest

torch = pytest.importorskip("torch")

from model.discriminator import GAZE_LAYERS, DiscriminatorConfig, LocalDiscriminator  # noqa: E402
from model.feature_transform import make_feature_transform  # noqa: E402
from model.losses import (  # noqa: E402
    discriminator_accuracy,
    discriminator_loss,
    gradient_penalty_r1,
    patch_sum_scale,
    realism_loss,
    self_regularization_loss,
)
from model.refiner import Refiner, RefinerConfig  # noqa: E402

pytestmark = pytest.mark.train


def logits_of(probabilities: list[list[float]]) -> "torch.Tensor":
    """Logits [1, 2, h, w] of a D that gives these probabilities of being refined, shifted patch by patch."""
    probability = torch.tensor(probabilities, dtype=torch.float64)
    offset = torch.arange(probability.numel(), dtype=torch.float64).reshape(probability.shape) - 1.0
    return torch.stack([(1.0 - probability).log() + offset, probability.log() + offset])[None]


def test_eq_2_by_hand_refined_counts_as_class_1_and_real_as_class_0() -> None:
    refined, real = logits_of([[0.9, 0.6]]), logits_of([[0.2, 0.7]])

    loss = discriminator_loss(refined, real)

    by_hand = -(math.log(0.9) + math.log(0.6)) / 2 - (math.log(0.8) + math.log(0.3)) / 2
    assert loss.item() == pytest.approx(by_hand, rel=1e-6)


def test_eq_3_by_hand_the_refiner_wants_class_0() -> None:
    loss = realism_loss(logits_of([[0.9, 0.6], [0.5, 0.1]]))

    by_hand = -(math.log(0.1) + math.log(0.4) + math.log(0.5) + math.log(0.9)) / 4
    assert loss.item() == pytest.approx(by_hand, rel=1e-6)


def test_eq_4_by_hand_is_the_mean_absolute_difference() -> None:
    synthetic = torch.tensor([[[[0.0, 0.5]]], [[[-1.0, 1.0]]]])
    refined = torch.tensor([[[[0.25, 0.5]]], [[[-0.5, 0.0]]]])

    loss = self_regularization_loss(make_feature_transform("identity", 1), refined, synthetic)

    assert loss.item() == pytest.approx((0.25 + 0.0 + 0.5 + 1.0) / 4)


def test_a_discriminator_that_knows_nothing_has_a_loss_of_two_log_two() -> None:
    undecided = torch.full((4, 2, 9, 14), 3.0)

    assert discriminator_loss(undecided, undecided).item() == pytest.approx(2 * math.log(2))
    assert realism_loss(undecided).item() == pytest.approx(math.log(2))


def test_the_softmax_runs_over_the_class_axis_not_over_neighbouring_patches() -> None:
    # What ports compute, logits.reshape(-1, 2) of NCHW, pairs neighbours along a row instead of the classes.
    logits = torch.randn(3, 2, 4, 6, generator=torch.Generator().manual_seed(0))

    loss = realism_loss(logits)

    right = -torch.log_softmax(logits, dim=1)[:, 0].mean()
    of_the_ports = -torch.log_softmax(logits.reshape(-1, 2), dim=1)[:, 0].mean()
    assert loss.item() == pytest.approx(right.item(), rel=1e-6)
    assert abs(right - of_the_ports) > 0.01


def test_every_patch_counts_alike_whatever_the_batch() -> None:
    one, other = logits_of([[0.9, 0.6]]), logits_of([[0.3, 0.8]])

    together = realism_loss(torch.cat([one, other]))

    assert together.item() == pytest.approx((realism_loss(one) + realism_loss(other)).item() / 2)


def test_the_patch_scale_turns_the_mean_over_patches_into_the_papers_sum() -> None:
    logits = torch.randn(5, 2, 9, 14, generator=torch.Generator().manual_seed(0))

    summed = patch_sum_scale(logits) * realism_loss(logits)

    of_the_paper = -torch.log_softmax(logits, dim=1)[:, 0].sum(dim=(1, 2)).mean()
    assert patch_sum_scale(logits) == 126
    assert summed.item() == pytest.approx(of_the_paper.item(), rel=1e-5)


def test_the_mean_reduction_makes_the_papers_sgd_step_126_times_smaller() -> None:
    discriminator = LocalDiscriminator(DiscriminatorConfig(layers=GAZE_LAYERS))
    images = torch.randn(2, 1, 35, 55, generator=torch.Generator().manual_seed(0))
    logits = discriminator(images)
    bias = discriminator.answer.bias

    (of_mean,) = torch.autograd.grad(discriminator_loss(logits[:1], logits[1:]), bias, retain_graph=True)
    log_odds = torch.log_softmax(logits, dim=1)
    paper = -log_odds[:1, 1].sum() - log_odds[1:, 0].sum()
    (of_paper,) = torch.autograd.grad(paper, bias)

    torch.testing.assert_close(of_paper, 126 * of_mean, rtol=1e-3, atol=1e-4)


def test_lambda_on_sums_is_lambda_on_means_divided_by_15_3_for_the_gaze_networks() -> None:
    # One λ on both scales needs the whole loss multiplied by the patches, not only its adversarial part.
    pixels, patches = 35 * 55, 126
    refined, synthetic = torch.rand(1, 1, 35, 55), torch.rand(1, 1, 35, 55)
    logits = torch.randn(1, 2, 9, 14)
    mean_scale = realism_loss(logits) + 0.5 * self_regularization_loss(lambda x: x, refined, synthetic)

    lambda_on_sums = 0.5 / (pixels / patches)
    summed = (
        -torch.log_softmax(logits, dim=1)[:, 0].sum() + lambda_on_sums * (refined - synthetic).abs().sum()
    )

    assert pixels / patches == pytest.approx(15.3, abs=0.05)
    assert (patch_sum_scale(logits) * mean_scale).item() == pytest.approx(summed.item(), rel=1e-4)


def test_the_realism_loss_reaches_every_weight_of_the_refiner() -> None:
    torch.manual_seed(0)
    refiner = Refiner(RefinerConfig(width=8, blocks=1))
    discriminator = LocalDiscriminator(DiscriminatorConfig(layers=GAZE_LAYERS)).requires_grad_(False)

    realism_loss(discriminator(refiner(torch.rand(2, 1, 16, 16)))).backward()

    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in refiner.parameters())


@pytest.mark.parametrize("adversarial", ["cross_entropy", "least_squares"])
def test_descent_on_realism_raises_the_discriminators_loss_on_refined_images(adversarial: str) -> None:
    logits = logits_of([[0.9]]).requires_grad_()
    real = logits_of([[0.1]])

    (for_refiner,) = torch.autograd.grad(realism_loss(logits, adversarial), logits)
    (for_discriminator,) = torch.autograd.grad(
        discriminator_loss(logits_of([[0.3]]).requires_grad_(), real, adversarial) + 0 * logits.sum(), logits
    )
    moved = logits - 0.1 * for_refiner

    assert for_discriminator.abs().sum() == 0
    assert discriminator_loss(moved, real, "cross_entropy") > discriminator_loss(
        logits, real, "cross_entropy"
    )


def test_least_squares_by_hand_on_the_logit_difference() -> None:
    refined = torch.tensor([[[[0.0, 1.0]], [[3.0, 1.5]]]])  # differences 3 and 0.5
    real = torch.tensor([[[[1.0]], [[0.0]]]])  # difference -1

    assert discriminator_loss(refined, real, "least_squares").item() == pytest.approx((4 + 0.25) / 2 + 1)
    assert realism_loss(refined, "least_squares").item() == pytest.approx((9 + 0.25) / 2)


def test_accuracy_is_balanced_and_a_constant_discriminator_has_one_half() -> None:
    refined, real = logits_of([[0.9, 0.6, 0.4, 0.8]]), logits_of([[0.1, 0.7]])
    always_refined = torch.tensor([0.0, 1.0]).reshape(1, 2, 1, 1).expand(3, 2, 4, 4)

    assert discriminator_accuracy(refined, real).item() == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert discriminator_accuracy(always_refined, always_refined[:1]).item() == 0.5
    assert discriminator_accuracy(torch.zeros(1, 2, 3, 3), torch.zeros(1, 2, 3, 3)).item() == 0.5


def test_r1_of_a_linear_discriminator_by_hand() -> None:
    real = torch.randn(3, 1, 2, 2, requires_grad=True)
    slope = torch.tensor([[1.0, 2.0], [3.0, -4.0]], requires_grad=True)
    logits = torch.stack([-slope * real[:, 0], slope * real[:, 0]], dim=1)  # difference 2 · slope · real

    penalty = gradient_penalty_r1(logits, real)
    penalty.backward()

    # The gradient of the sum is 2 · slope; its squared norm is divided by the four patches.
    assert penalty.item() == pytest.approx(4 * (1 + 4 + 9 + 16) / 4)
    torch.testing.assert_close(slope.grad, 8 * slope.detach() / 4)


def test_half_precision_logits_give_a_float32_loss_that_does_not_overflow() -> None:
    logits = torch.tensor([-60000.0, 60000.0], dtype=torch.float16).reshape(1, 2, 1, 1)

    loss = realism_loss(logits / 4)

    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(30000.0)

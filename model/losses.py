"""The losses of SimGAN: what D and R minimise, as the mean over patches and over the batch.

On this scale λ weighs the mean |ψ(x̃) − ψ(x)| against a cross-entropy averaged over patches. The paper sums
over patches: multiply the whole loss, λ term included, by `patch_sum_scale` to get its steps at the same λ.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from model.discriminator import evidence_of_refined

AdversarialLoss = Literal["cross_entropy", "least_squares"]
"""`cross_entropy`: the paper's. `least_squares`: squared distance of D's logit from its target (LSGAN)."""


def discriminator_loss(
    logits_refined: Tensor,
    logits_real: Tensor,
    adversarial: AdversarialLoss = "cross_entropy",
    real_weights: Tensor | None = None,
) -> Tensor:
    """Loss of D (paper, Eq. 2): −mean log D(x̃) − mean log(1 − D(y)); D is the probability of REFINED.

    Takes two logit maps [N, 2, h, w]; their batches may differ. Returns a float32 scalar ≥ 0, which is
    2 log 2 where D knows nothing. `least_squares`: mean (d(x̃) − 1)² + mean d(y)², d being the logit of D.
    `real_weights`: a weight for each real patch, float [N, h, w], 1 on average.
    """
    refined = evidence_of_refined(logits_refined).float()
    real = evidence_of_refined(logits_real).float()
    if adversarial == "least_squares":
        on_refined, on_real = (refined - 1.0).square(), real.square()
    else:
        on_refined, on_real = functional.softplus(-refined), functional.softplus(real)
    if real_weights is not None:
        on_real = on_real * real_weights
    return on_refined.mean() + on_real.mean()


def realism_loss(logits_refined: Tensor, adversarial: AdversarialLoss = "cross_entropy") -> Tensor:
    """Adversarial loss of R (paper, Eq. 3): −mean log(1 − D(R(x))), low where D takes refined for real.

    Takes a logit map [N, 2, h, w] of refined images whose graph leads back to R. Returns a float32
    scalar ≥ 0. `least_squares`: mean d(R(x))².
    """
    refined = evidence_of_refined(logits_refined).float()
    if adversarial == "least_squares":
        return refined.square().mean()
    return functional.softplus(refined).mean()


def self_regularization_loss(
    feature_transform: Callable[[Tensor], Tensor | Sequence[Tensor]], refined: Tensor, synthetic: Tensor
) -> Tensor:
    """How far R moved away in the space of ψ (paper, Eq. 4, without its λ): mean |ψ(x̃) − ψ(x)|.

    Takes images [N, C, H, W] in [-1, 1]. A ψ with several parts gives the sum of the parts' means. Returns a
    float32 scalar ≥ 0.
    """
    before = _parts(feature_transform(synthetic))
    after = _parts(feature_transform(refined))
    distances = [(a.float() - b.float()).abs().mean() for a, b in zip(after, before, strict=True)]
    return torch.stack(distances).sum()


def patch_sum_scale(logits: Tensor) -> int:
    """The h · w patches of logits [N, 2, h, w]: times this, a mean over patches becomes the paper's sum."""
    patches: int = evidence_of_refined(logits)[0].numel()
    return patches


def discriminator_accuracy(logits_refined: Tensor, logits_real: Tensor) -> Tensor:
    """Balanced accuracy of D over the patches of logits [N, 2, h, w].

    Returns a float32 scalar in [0, 1] without gradient: the mean of the fractions of refined and of real
    patches that are told right. A tie counts one half, so a D that always answers the same has 0.5.
    """
    with torch.no_grad():
        refined_right = (evidence_of_refined(logits_refined).float().sign() + 1.0).mean() / 2.0
        real_right = (1.0 - evidence_of_refined(logits_real).float().sign()).mean() / 2.0
        return (refined_right + real_right) / 2.0


def gradient_penalty_r1(logits_real: Tensor, real: Tensor) -> Tensor:
    """R1 penalty (Mescheder et al. 2018) without its γ/2: batch mean of ‖∂ Σ_patches d(y) / ∂y‖² / patches.

    Divided by the number of patches, because the squared norm grows with it: so one γ serves all image sizes.

    real: float [N, C, H, W] that required a gradient before D judged it; logits_real: D's answer
    [N, 2, h, w]. Returns a float32 scalar that can be differentiated once more.
    """
    total = evidence_of_refined(logits_real).float().sum()
    (gradient,) = torch.autograd.grad(total, real, create_graph=True)
    return gradient.float().square().sum(dim=(1, 2, 3)).mean() / patch_sum_scale(logits_real)


def _parts(features: Tensor | Sequence[Tensor]) -> Sequence[Tensor]:
    return [features] if isinstance(features, Tensor) else features

"""Owns the two updates of Algorithm 1: one of the refiner, one of the discriminator."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from model.discriminator import evidence_of_refined
from model.losses import (
    AdversarialLoss,
    discriminator_loss,
    gradient_penalty_r1,
    realism_loss,
    self_regularization_loss,
)
from model.noise_reader import noise_recovery_loss
from trainer.consistency import Comparison
from trainer.content_balance import ContentBalance
from trainer.views import Views

Terms = dict[str, Tensor]
"""Scalars of one update, float32 on the device, without gradient."""
REFINER_TERMS = (
    "refiner_loss",
    "realism_loss",
    "variety_realism_loss",
    "wide_realism_loss",
    "looks_distance",
    "self_regularization_loss",
    "noise_recovery_loss",
    "label_divergence",
    "mean_absolute_change",
    "edge_agreement",
    "refiner_gradient_norm",
)
DISCRIMINATOR_TERMS = (
    "discriminator_loss",
    "r1_penalty",
    "accuracy_on_refined",
    "accuracy_on_real",
    "discriminator_gradient_norm",
)
VARIETY_TERMS = ("variety_loss", "variety_accuracy")
WIDE_TERMS = ("wide_loss", "wide_accuracy")


@dataclass(frozen=True)
class Objective:
    """What both networks minimise."""

    feature_transform: nn.Module
    adversarial_loss: AdversarialLoss
    r1_weight: float
    r1_every: int
    """Discriminator updates from one with R1 to the next, which counts for all of them."""
    scale: int
    """Factor on both whole losses: the number of patches (`patch_reduction` sum), or 1 (mean)."""
    noise_recovery_weight: float
    variety_weight: float
    labels_weight: float
    looks_weight: float
    looks: Callable[[Tensor], Tensor] | None
    """How far the looks of this process's refined images are from those of the real ones."""
    content_balance: ContentBalance | None
    autocast: Callable[[], AbstractContextManager[object]]


@dataclass(frozen=True)
class Learner:
    """One network under training: `module` owns the weights, `forward` averages gradients over processes."""

    module: nn.Module
    forward: nn.Module
    optimiser: torch.optim.Optimizer


def refiner_step(
    refiner: Learner,
    discriminator: nn.Module,
    objective: Objective,
    synthetic: Tensor,
    noise: Tensor | None,
    *,
    self_regularization_weight: float,
    noise_reader: Learner | None = None,
    variety: nn.Module | None = None,
    wide: nn.Module | None = None,
    wide_weight: float = 0.0,
    views: Views | None = None,
    comparison: Comparison | None = None,
    adversarial: bool = True,
) -> tuple[Terms, Tensor]:
    """Update R on Eq. 4: realism + λ · self-regularization; without `adversarial` on the second term alone.

    More terms, each with its weight, where there is what they need: the error of a reader of noise, which is
    updated on it as well; the realism that a discriminator of groups sees, and a wide one; the distance to
    the looks of real images; the divergence of what an estimator says before and after, with a comparison.

    synthetic: float [N, C, H, W] in [-1, 1]; noise: float [N, K, H, W] or None. D stays as it is: gradients
    pass through it to R, none is computed for its weights. Returns REFINER_TERMS (losses as means over
    patches and batch, before `scale`; the change in units of [-1, 1]) and the refined images from before the
    update, float32 [N, C, H, W], without gradient.
    """
    others = nn.ModuleList(other for other in (variety, wide) if other is not None)
    with frozen(discriminator), frozen(others):
        with objective.autocast():
            refined = refiner.forward(synthetic, noise)
            distance = self_regularization_loss(objective.feature_transform, refined, synthetic)
            realism = of_groups = of_wide = distance.new_zeros(())
            if adversarial:
                seen = refined if views is None else views.show(refined)
                realism = realism_loss(discriminator(seen), objective.adversarial_loss)
                of_groups = _realism_to(variety, objective.variety_weight, refined, objective)
                of_wide = _realism_to(wide, wide_weight, seen, objective)
            recovery = _recovery(noise_reader, refined, noise)
        looks = distance.new_zeros(())
        if adversarial and objective.looks is not None:
            looks = objective.looks(refined)
        of_labels = _label_divergence(refiner, objective, comparison, synthetic, refined)
        loss = realism + objective.variety_weight * of_groups + wide_weight * of_wide
        loss = loss + self_regularization_weight * distance
        loss = loss + objective.noise_recovery_weight * recovery + objective.looks_weight * looks
        loss = loss + objective.labels_weight * of_labels
        learners = (refiner,) if noise_reader is None else (refiner, noise_reader)
        for learner in learners:
            learner.optimiser.zero_grad()
        torch.autograd.backward(objective.scale * loss)
    gradient_norm, *_ = [_update(learner) for learner in learners]
    refined = refined.detach().float()
    values = (
        *(loss, realism, of_groups, of_wide, looks, distance, recovery, of_labels),
        *((refined - synthetic).abs().mean(), edge_agreement(refined, synthetic), gradient_norm),
    )
    return _terms(REFINER_TERMS, values), refined


def _realism_to(other: nn.Module | None, weight: float, seen: Tensor, objective: Objective) -> Tensor:
    """The realism that a further discriminator sees, 0 where it has no weight."""
    if other is None or weight == 0:
        return seen.new_zeros(())
    return realism_loss(other(seen), objective.adversarial_loss)


def _recovery(reader: Learner | None, refined: Tensor, noise: Tensor | None) -> Tensor:
    """How badly the noise can be read from refined images, 0 where nobody reads it."""
    if reader is None or noise is None:
        return refined.new_zeros(())
    return noise_recovery_loss(reader.forward(refined), noise)


def _label_divergence(
    refiner: Learner, objective: Objective, comparison: Comparison | None, synthetic: Tensor, refined: Tensor
) -> Tensor:
    """Of this update's comparison, if any, as many times as strong as there are updates until the next."""
    if comparison is None:
        return refined.new_zeros(())
    if comparison.synthetic is not None:
        synthetic = comparison.synthetic
        with objective.autocast():
            refined = refiner.forward(synthetic, comparison.noise)
    return comparison.every * comparison.divergence(synthetic, refined)


def discriminator_step(
    discriminator: Learner,
    objective: Objective,
    refined: Tensor,
    real: Tensor,
    *,
    views: tuple[Views, Views] | None = None,
    update: int = 0,
) -> Terms:
    """Update D on Eq. 2, plus R1 if asked for, with the content of real images balanced if asked for.

    update: the number of this one, from 0; one in `r1_every` has R1, that many times as strong (Karras et al.
    2020: nearly the same effect at a part of the cost). refined: float [N, C, H, W] without gradient, half of
    it from the history; real: the same shape; views: how D is shown both. The refiner is not here, so nothing
    of it can learn. Returns DISCRIMINATOR_TERMS.
    """
    if views is not None:
        refined, real = (one.show(images) for one, images in zip(views, (refined, real), strict=True))
    penalised = objective.r1_weight > 0 and update % objective.r1_every == 0
    real = real.detach().requires_grad_(penalised)
    with objective.autocast():
        logits_refined, logits_real = discriminator.forward(torch.cat([refined, real])).chunk(2)
        weights = None
        if objective.content_balance is not None:
            height, width = logits_real.shape[2:]
            weights = objective.content_balance(real.detach(), (height, width))
        loss = discriminator_loss(logits_refined, logits_real, objective.adversarial_loss, weights)
        # Times r1_every here, so that its mean over updates, in the log too, is that of the penalty itself.
        penalty = loss.new_zeros(())
        if penalised:
            penalty = objective.r1_every * gradient_penalty_r1(logits_real, real)
    discriminator.optimiser.zero_grad()
    torch.autograd.backward(objective.scale * (loss + 0.5 * objective.r1_weight * penalty))
    gradient_norm = _update(discriminator)
    on_refined, on_real = _accuracies(logits_refined.detach(), logits_real.detach())
    return _terms(DISCRIMINATOR_TERMS, (loss, penalty, on_refined, on_real, gradient_norm))


def wide_step(
    wide: Learner, objective: Objective, refined: Tensor, real: Tensor, *, views: tuple[Views, Views] | None
) -> Terms:
    """Update the wide discriminator as `discriminator_step` does its own; returns WIDE_TERMS."""
    terms = discriminator_step(wide, objective, refined, real, views=views)
    told_right = (terms["accuracy_on_refined"] + terms["accuracy_on_real"]) / 2.0
    return {"wide_loss": terms["discriminator_loss"], "wide_accuracy": told_right}


def variety_step(variety: Learner, objective: Objective, refined: Tensor, real: Tensor) -> Terms:
    """Update the second discriminator on Eq. 2 over groups; returns VARIETY_TERMS.

    refined, real: float [N, C, H, W] without gradient, N a multiple of its group. No history: images of many
    refiners differ more than those of one.
    """
    with objective.autocast():
        logits_refined, logits_real = variety.forward(torch.cat([refined, real])).chunk(2)
        loss = discriminator_loss(logits_refined, logits_real, objective.adversarial_loss, None)
    variety.optimiser.zero_grad()
    torch.autograd.backward(loss)
    _update(variety)
    on_refined, on_real = _accuracies(logits_refined.detach(), logits_real.detach())
    return _terms(VARIETY_TERMS, (loss, (on_refined + on_real) / 2.0))


@torch.no_grad()
def refine(refiner: nn.Module, objective: Objective, synthetic: Tensor, noise: Tensor | None) -> Tensor:
    """Refined images for the discriminator, float32 [N, C, H, W] in [-1, 1], without gradient."""
    with objective.autocast():
        refined: Tensor = refiner(synthetic, noise)
    return refined.float()


def edge_agreement(refined: Tensor, synthetic: Tensor) -> Tensor:
    """How far the edges of a batch are still where they were, whatever happened to exposure, contrast, grain.

    The cosine between the neighbour differences of both, [N, C, H, W], averaged over 3x3 px before, over the
    whole batch, so that an image without edges does not count: 1 where all are kept, about 0 where none is.
    """
    before, after = (_neighbour_differences(_averaged(images)) for images in (synthetic, refined))
    return torch.nn.functional.cosine_similarity(before, after, dim=0)


def _averaged(images: Tensor) -> Tensor:
    """Means over 3x3 px, [N * C, 1, H, W]: channels last, pooling one channel takes five times as long."""
    planes = images.float().flatten(0, 1).unsqueeze(1)
    return torch.nn.functional.avg_pool2d(planes, 3, 1, 1, count_include_pad=False)


def _neighbour_differences(images: Tensor) -> Tensor:
    return torch.cat([images.diff(dim=2).flatten(), images.diff(dim=3).flatten()])


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Within this block the network stays as it is: no gradient for weights, its spectral norm at rest."""
    network.requires_grad_(False).eval()
    try:
        yield
    finally:
        network.requires_grad_(True).train()


def _update(learner: Learner) -> Tensor:
    gradients = [weight.grad for weight in learner.module.parameters() if weight.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    learner.optimiser.step()
    return norm


def _accuracies(logits_refined: Tensor, logits_real: Tensor) -> tuple[Tensor, Tensor]:
    """Fractions of refined and of real patches told right; a tie counts one half."""
    on_refined = (1.0 + evidence_of_refined(logits_refined).float().sign().mean()) / 2.0
    on_real = (1.0 - evidence_of_refined(logits_real).float().sign().mean()) / 2.0
    return on_refined, on_real


def _terms(names: Sequence[str], values: Sequence[Tensor]) -> Terms:
    return {name: value.detach().float() for name, value in zip(names, values, strict=True)}

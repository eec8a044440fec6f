"""The two updates of Algorithm 1. Most of these are faults that public implementations have."""

import contextlib
import copy
from dataclasses import replace
from statistics import fmean

import pytest

torch = pytest.importorskip("torch")

from model.feature_transform import make_feature_transform  # noqa: E402
from model.looks import Looks  # noqa: E402
from model.losses import discriminator_accuracy, patch_sum_scale  # noqa: E402
from model.noise_reader import noise_recovery_loss  # noqa: E402
from trainer.config import TrainConfig  # noqa: E402
from trainer.networks import build_networks  # noqa: E402
from trainer.options import resolve  # noqa: E402
from trainer.step import (  # noqa: E402
    DISCRIMINATOR_TERMS,
    REFINER_TERMS,
    VARIETY_TERMS,
    WIDE_TERMS,
    Learner,
    Objective,
    discriminator_step,
    edge_agreement,
    refine,
    refiner_step,
    variety_step,
    wide_step,
)

pytestmark = pytest.mark.train
SIZE = (16, 16)


def settings(**changes: object) -> TrainConfig:
    small = {"synthetic": "a", "real": "b", "preset": "gaze", "refiner_width": 8, "refiner_blocks": 1}
    return resolve({**small, **changes})


class Pair:
    """Both networks of a config and what they minimise."""

    def __init__(self, config: TrainConfig) -> None:
        networks = build_networks(config, 1, torch.device("cpu"))
        self.refiner = Learner(networks.refiner, networks.refiner, networks.refiner_optimiser)
        self.discriminator = Learner(
            networks.discriminator, networks.discriminator, networks.discriminator_optimiser
        )
        self.noise_reader = None
        if networks.noise_reader is not None and networks.noise_reader_optimiser is not None:
            self.noise_reader = Learner(
                networks.noise_reader, networks.noise_reader, networks.noise_reader_optimiser
            )
        self.variety = None
        if networks.variety is not None and networks.variety_optimiser is not None:
            self.variety = Learner(networks.variety, networks.variety, networks.variety_optimiser)
        self.wide = None
        if networks.wide is not None and networks.wide_optimiser is not None:
            self.wide = Learner(networks.wide, networks.wide, networks.wide_optimiser)
        self.weight = config.self_regularization_weight
        height, width = networks.discriminator.config.output_size(*SIZE)
        self.objective = Objective(
            make_feature_transform(config.feature_transform, 1),
            config.adversarial_loss,
            config.r1_weight,
            config.r1_every,
            height * width if config.patch_reduction == "sum" else 1,
            config.noise_recovery_weight,
            config.variety_weight,
            config.labels_weight,
            config.looks_weight,
            None,
            None,
            contextlib.nullcontext,
        )


def weights(learner: Learner) -> list[torch.Tensor]:
    return [value.detach().clone() for value in learner.module.state_dict().values()]


def changed(before: list[torch.Tensor], learner: Learner) -> bool:
    return any(not torch.equal(one, other) for one, other in zip(before, weights(learner), strict=True))


def images(seed: int, count: int = 8) -> torch.Tensor:
    return torch.rand(count, 1, *SIZE, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def edges(count: int = 32) -> tuple[torch.Tensor, torch.Tensor]:
    """Synthetic squares, and the same ones blurred and noisy: a difference that a discriminator can learn."""
    source = torch.Generator().manual_seed(5)
    synthetic = torch.full((count, 1, *SIZE), 0.7)
    for image in synthetic:
        top, left = torch.randint(2, 8, (2,), generator=source).tolist()
        image[0, top : top + 6, left : left + 6] = -0.7
    noise = 0.1 * torch.randn(synthetic.shape, generator=source)
    real = (torch.nn.functional.avg_pool2d(synthetic, 3, 1, 1) * 0.6 + noise).clamp(-1, 1)
    return synthetic, real


def test_the_refiners_gradient_has_an_adversarial_term() -> None:
    gradients = []
    for adversarial in (True, False):
        pair = Pair(settings())
        terms, _ = refiner_step(
            pair.refiner,
            pair.discriminator.module,
            pair.objective,
            images(0),
            None,
            self_regularization_weight=pair.weight,
            adversarial=adversarial,
        )
        gradients.append([weight.grad.clone() for weight in pair.refiner.module.parameters()])
        assert (terms["realism_loss"].item() > 0) is adversarial
    assert any(not torch.allclose(one, other) for one, other in zip(*gradients, strict=True))


def test_the_refiner_learns_to_look_real_to_a_fixed_discriminator() -> None:
    pair = Pair(settings(optimiser="adam", self_regularization_weight=0, warmup_refiner_steps=0))
    synthetic, real = edges()
    for _ in range(60):
        discriminator_step(pair.discriminator, pair.objective, synthetic, real)
    losses = [
        refiner_step(
            pair.refiner,
            pair.discriminator.module,
            pair.objective,
            synthetic,
            None,
            self_regularization_weight=0.0,
        )[0]["realism_loss"].item()
        for _ in range(30)
    ]
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize("spectral_norm", [False, True])
def test_the_refiners_step_leaves_the_discriminator_alone(spectral_norm: bool) -> None:
    pair = Pair(settings(discriminator_spectral_norm=spectral_norm))
    before = weights(pair.discriminator)
    refiner_step(
        pair.refiner,
        pair.discriminator.module,
        pair.objective,
        images(0),
        None,
        self_regularization_weight=pair.weight,
    )
    assert not changed(before, pair.discriminator)
    assert all(weight.grad is None for weight in pair.discriminator.module.parameters())
    assert all(weight.requires_grad for weight in pair.discriminator.module.parameters())


def test_the_discriminators_step_leaves_the_refiner_alone() -> None:
    pair = Pair(settings())
    before = weights(pair.refiner)
    refined = refine(pair.refiner.module, pair.objective, images(0), None)
    assert not refined.requires_grad
    discriminator_step(pair.discriminator, pair.objective, refined, images(1))
    assert not changed(before, pair.refiner)
    assert all(weight.grad is None for weight in pair.refiner.module.parameters())


def test_each_step_moves_its_own_network() -> None:
    pair = Pair(settings())
    before = weights(pair.refiner), weights(pair.discriminator)
    refiner_step(
        pair.refiner,
        pair.discriminator.module,
        pair.objective,
        images(0),
        None,
        self_regularization_weight=pair.weight,
    )
    discriminator_step(pair.discriminator, pair.objective, images(0), images(1))
    assert changed(before[0], pair.refiner)
    assert changed(before[1], pair.discriminator)


def test_a_reader_of_noise_makes_the_refiner_use_it() -> None:
    def difference_by_noise(weight: float) -> float:
        """Mean difference of the same images refined with two looks, after some updates without D."""
        config = settings(
            noise_image_channels=1, noise_recovery_weight=weight, refiner_output="residual",
            self_regularization_weight=0.05, patch_reduction="mean",
            optimiser="adam", refiner_learning_rate=0.003, discriminator_learning_rate=0.01,
        )  # fmt: skip
        pair = Pair(config)
        synthetic, one, other = edges()[0], torch.full((32, 1, *SIZE), -1.0), torch.full((32, 1, *SIZE), 1.0)
        for update in range(150):
            noise = torch.randn(32, 1, 1, 1, generator=torch.Generator().manual_seed(update))
            refiner_step(
                pair.refiner, pair.discriminator.module, pair.objective, synthetic,
                noise.expand(-1, -1, *SIZE), self_regularization_weight=pair.weight,
                noise_reader=pair.noise_reader, adversarial=False,
            )  # fmt: skip
        looks = [refine(pair.refiner.module, pair.objective, synthetic, noise) for noise in (one, other)]
        return (looks[0] - looks[1]).abs().mean().item()

    assert difference_by_noise(0.3) > 0.1
    assert difference_by_noise(0.0) < 0.01


def test_noise_is_read_of_the_last_channels() -> None:
    noise = torch.cat(
        [torch.zeros(2, 1, 4, 4), torch.tensor([1.0, -2.0]).view(2, 1, 1, 1).expand(2, 1, 4, 4)], 1
    )
    assert noise_recovery_loss(torch.tensor([[1.0], [-2.0]]), noise).item() == 0.0
    assert noise_recovery_loss(torch.zeros(2, 1), noise).item() == pytest.approx(2.5)


def test_a_discriminator_of_groups_makes_the_refiner_draw_all_looks_there_are() -> None:
    def looks_drawn(weight: float) -> float:
        """Spread of the levels of refined images, where real ones have -0.5 or 0.5 and D sees nothing.

        The mean while it learns: from update to update it comes and goes, and not alike on every machine.
        """
        config = settings(
            noise_image_channels=1, refiner_output="residual", variety_weight=weight, variety_group=4,
            self_regularization_weight=0, patch_reduction="mean", warmup_refiner_steps=0,
            optimiser="adam", refiner_learning_rate=0.003, discriminator_learning_rate=0.01,
        )  # fmt: skip
        pair = Pair(config)
        with torch.no_grad():
            for value in pair.discriminator.module.parameters():
                value.zero_()  # it cannot tell anything, and so asks for nothing
        synthetic = torch.zeros(16, 1, *SIZE)
        real = torch.tensor([-0.5, 0.5]).repeat(8)[:, None, None, None].expand_as(synthetic)
        spreads = []
        for update in range(100):
            source = torch.Generator().manual_seed(update)
            noise = torch.randn(16, 1, 1, 1, generator=source).expand(-1, -1, *SIZE)
            variety = None if pair.variety is None else pair.variety.module
            _, refined = refiner_step(
                pair.refiner, pair.discriminator.module, pair.objective, synthetic, noise,
                self_regularization_weight=0, variety=variety,
            )  # fmt: skip
            if pair.variety is not None:
                variety_step(pair.variety, pair.objective, refined, real)
            spreads.append(refined.mean(dim=(1, 2, 3)).std().item())
        return fmean(spreads)

    assert looks_drawn(1.0) > 0.15
    assert looks_drawn(0.0) < 0.05


def test_the_refiner_draws_looks_as_different_as_they_are() -> None:
    def looks_drawn(weight: float) -> tuple[float, float]:
        """Mean and spread of refined levels, where those of real images are -0.2 and 0.3, and D is blind."""
        config = settings(
            noise_image_channels=1, refiner_output="residual", looks_weight=weight, patch_reduction="mean",
            optimiser="adam", refiner_learning_rate=0.003,
        )  # fmt: skip
        pair = Pair(config)
        with torch.no_grad():
            for value in pair.discriminator.module.parameters():
                value.zero_()  # it cannot tell anything, and so asks for nothing
        levels = torch.randn(200, generator=torch.Generator().manual_seed(0)) * 0.3 - 0.2
        real = levels[:, None, None, None].expand(-1, 1, *SIZE)
        objective = replace(pair.objective, looks=Looks.of(real).distance)
        synthetic, shown = torch.full((16, 1, *SIZE), 0.3), []
        for update in range(200):
            source = torch.Generator().manual_seed(update)
            noise = torch.randn(16, 1, 1, 1, generator=source).expand(-1, -1, *SIZE)
            terms, refined = refiner_step(
                pair.refiner, pair.discriminator.module, objective, synthetic, noise,
                self_regularization_weight=0,
            )  # fmt: skip
            assert tuple(terms) == REFINER_TERMS
            shown.append(refined.mean(dim=(1, 2, 3)))
        drawn = torch.cat(shown[-50:])
        return drawn.mean().item(), drawn.std().item()

    mean, spread = looks_drawn(1.0)
    assert mean == pytest.approx(-0.2, abs=0.05)
    assert spread == pytest.approx(0.3, abs=0.1)
    mean, spread = looks_drawn(0.0)
    assert mean > 0.2
    assert spread < 0.05


def test_the_step_of_groups_moves_their_discriminator_alone_and_says_how_it_went() -> None:
    pair = Pair(settings(variety_weight=1.0, variety_group=4))
    assert pair.variety is not None
    before = weights(pair.refiner), weights(pair.discriminator), weights(pair.variety)
    terms = variety_step(pair.variety, pair.objective, images(0), images(1))
    assert [
        changed(*each) for each in zip(before, (pair.refiner, pair.discriminator, pair.variety), strict=True)
    ] == [
        False,
        False,
        True,
    ]
    assert tuple(terms) == VARIETY_TERMS
    assert all(value.isfinite() for value in terms.values())


def test_the_step_of_the_wide_discriminator_moves_it_alone_and_says_how_many_it_told() -> None:
    pair = Pair(settings(wide_weight=1.0))
    assert pair.wide is not None
    with torch.no_grad():
        for name, value in pair.wide.module.named_parameters():
            if name.startswith("answer"):
                value.zero_()  # it tells nothing yet
    before = weights(pair.refiner), weights(pair.discriminator), weights(pair.wide)
    terms = wide_step(pair.wide, pair.objective, images(0), images(1), views=None)
    assert [
        changed(*each) for each in zip(before, (pair.refiner, pair.discriminator, pair.wide), strict=True)
    ] == [False, False, True]
    assert tuple(terms) == WIDE_TERMS
    assert terms["wide_accuracy"].item() == 0.5


def test_what_the_wide_discriminator_asks_for_counts_as_its_weight_says() -> None:
    def gradient(weight: float) -> tuple[float, torch.Tensor, bool]:
        pair = Pair(settings(wide_weight=1.0, noise_pixel_channels=0))
        assert pair.wide is not None
        with torch.no_grad():
            for value in pair.discriminator.module.parameters():
                value.zero_()  # it asks for nothing
        before = weights(pair.wide)
        terms, _ = refiner_step(
            pair.refiner, pair.discriminator.module, pair.objective, images(0), None,
            self_regularization_weight=0, wide=pair.wide.module, wide_weight=weight,
        )  # fmt: skip
        slopes = torch.cat(
            [one.grad.flatten() for one in pair.refiner.module.parameters() if one.grad is not None]
        )
        return terms["wide_realism_loss"].item(), slopes, changed(before, pair.wide)

    (nothing, none, _), (one, single, moved), (_, twice, _) = (gradient(weight) for weight in (0.0, 1.0, 2.0))
    assert nothing == 0
    assert none.abs().max() == 0
    assert one > 0
    assert single.abs().max() > 0
    torch.testing.assert_close(twice, 2 * single)
    assert not moved


def accuracy_after(updates: int, **changes: object) -> float:
    pair = Pair(settings(**changes))
    synthetic, real = edges()
    for _ in range(updates):
        discriminator_step(pair.discriminator, pair.objective, synthetic, real)
    with torch.no_grad():
        refined_logits, real_logits = (pair.discriminator.module(part) for part in (synthetic, real))
    return discriminator_accuracy(refined_logits, real_logits).item()


def test_summed_over_patches_the_papers_rate_teaches_the_discriminator() -> None:
    assert accuracy_after(150, patch_reduction="sum") > 0.8


def test_averaged_over_patches_the_papers_rate_does_not_move_it() -> None:
    assert accuracy_after(150, patch_reduction="mean") < 0.65


def test_the_scale_of_a_sum_is_the_number_of_patches() -> None:
    pair = Pair(settings())
    assert pair.objective.scale == patch_sum_scale(pair.discriminator.module(images(0))) == 16


def test_the_discriminator_takes_refined_for_refined() -> None:
    pair = Pair(settings(optimiser="adam", refiner_learning_rate=1e-3))
    synthetic, real = edges()
    for _ in range(60):
        terms = discriminator_step(pair.discriminator, pair.objective, synthetic, real)
    assert terms["accuracy_on_refined"].item() > 0.8
    assert terms["accuracy_on_real"].item() > 0.8
    with torch.no_grad():
        logits = pair.discriminator.module(synthetic)
    assert (logits[:, 1] > logits[:, 0]).float().mean().item() > 0.8


def test_training_and_evaluation_see_the_same_refiner() -> None:
    pair = Pair(settings())
    twin = copy.deepcopy(pair.refiner.module).eval()
    torch.testing.assert_close(pair.refiner.module.train()(images(0)), twin(images(0)), rtol=0, atol=0)


def test_the_penalty_pulls_the_discriminators_slope_down() -> None:
    free, penalised = (Pair(settings(optimiser="adam", r1_weight=weight)) for weight in (0.0, 10.0))
    synthetic, real = edges()
    for _ in range(40):
        assert discriminator_step(free.discriminator, free.objective, synthetic, real)["r1_penalty"] == 0
        discriminator_step(penalised.discriminator, penalised.objective, synthetic, real)

    def slope(pair: Pair) -> float:
        inputs = real.clone().requires_grad_()
        logits = pair.discriminator.module(inputs)
        (gradient,) = torch.autograd.grad((logits[:, 1] - logits[:, 0]).sum(), inputs)
        return gradient.square().sum().item()

    assert slope(penalised) < 0.5 * slope(free)


def test_a_penalty_of_some_updates_counts_for_all_of_them() -> None:
    synthetic, real = edges()

    def gradients(update: int, **changes: object) -> tuple[float, list[torch.Tensor]]:
        pair = Pair(settings(**changes))
        terms = discriminator_step(pair.discriminator, pair.objective, synthetic, real, update=update)
        return terms["r1_penalty"].item(), [
            weight.grad.clone() for weight in pair.discriminator.module.parameters()
        ]

    none, always = gradients(0, r1_weight=0.0), gradients(0, r1_weight=0.1)
    due, skipped = (gradients(update, r1_weight=0.1, r1_every=4) for update in (4, 5))

    assert skipped[0] == 0.0
    assert due[0] == pytest.approx(4 * always[0], rel=1e-5)
    for plain, left_out, each, fourth in zip(none[1], skipped[1], always[1], due[1], strict=True):
        torch.testing.assert_close(left_out, plain, rtol=0, atol=0)
        torch.testing.assert_close(fourth - plain, 4 * (each - plain), rtol=1e-3, atol=1e-6)


def test_edges_agree_through_exposure_and_contrast_but_not_when_erased_or_moved() -> None:
    synthetic = torch.full((2, 1, 12, 12), 0.5)
    synthetic[0, :, 3:9, 4:6] = -0.8
    grain = 0.4 * torch.randn(synthetic.shape, generator=torch.Generator().manual_seed(0))

    assert edge_agreement(0.4 * synthetic - 0.3, synthetic).item() == pytest.approx(1.0)
    assert edge_agreement(grain, synthetic).abs().item() < 0.2
    assert edge_agreement(synthetic.roll(3, dims=3), synthetic).item() < 0.5


def test_edges_agree_through_grain_that_hides_none_of_them() -> None:
    # The grain and the low contrast of a dark microscope image: steps of 25 grey levels, grain of 12.
    synthetic = torch.full((4, 1, 32, 32), -0.6)
    synthetic[:, :, 8:24, 8:24] = -0.4
    grain = 12 / 127.5 * torch.randn(synthetic.shape, generator=torch.Generator().manual_seed(0))

    assert edge_agreement(synthetic + grain, synthetic).item() > 0.6


def test_both_steps_report_finite_numbers_under_their_names() -> None:
    pair = Pair(settings())
    refined_terms, _ = refiner_step(
        pair.refiner,
        pair.discriminator.module,
        pair.objective,
        images(0),
        None,
        self_regularization_weight=pair.weight,
    )
    terms = discriminator_step(pair.discriminator, pair.objective, images(0), images(1))
    assert tuple(refined_terms) == REFINER_TERMS
    assert tuple(terms) == DISCRIMINATOR_TERMS
    assert all(
        value.isfinite() and not value.requires_grad for value in (*refined_terms.values(), *terms.values())
    )

"""Lambda under a preservation budget."""

import pytest

from trainer.preservation_budget import LOWER, MOST, PATIENCE, RAISE, Regularization


def test_lambda_rises_while_content_is_lost_and_comes_back_when_it_is_not() -> None:
    weight = Regularization.of(2.0, 0.01)
    weight.observe(0.02)
    assert weight.weight == pytest.approx(2.0 * RAISE)
    weight.observe(0.008)
    assert weight.weight == pytest.approx(2.0 * RAISE)
    weight.observe(0.002)
    assert weight.weight == pytest.approx(2.0 * RAISE / LOWER)
    for _ in range(9):
        weight.observe(0.0)
    assert weight.weight == 2.0


def test_lambda_has_a_bound() -> None:
    weight = Regularization.of(2.0, 0.01)
    for step in range(30):
        weight.observe(1.0 - step / 100)
    assert weight.weight == 2.0 * MOST


def test_lambda_rises_no_further_where_that_saves_nothing() -> None:
    weight = Regularization.of(2.0, 0.01)
    for _ in range(20):
        weight.observe(0.012)
    assert weight.weight == pytest.approx(2.0 * RAISE**PATIENCE)
    weight.observe(0.011)
    assert weight.weight == pytest.approx(2.0 * RAISE ** (PATIENCE + 1)), "it was lessened: go on"


def test_a_loss_within_the_budget_begins_anew() -> None:
    weight = Regularization.of(2.0, 0.01)
    for lost in (0.02, 0.02, 0.009, 0.02, 0.02, 0.02, 0.02):
        weight.observe(lost)
    assert weight.weight == pytest.approx(2.0 * RAISE**5)


def test_a_budget_of_one_leaves_lambda_alone() -> None:
    weight = Regularization.of(2.0, 1.0)
    weight.observe(1.0)
    assert weight.weight == 2.0


def test_a_saved_weight_is_gone_on_with() -> None:
    one, other = Regularization.of(2.0, 0.01), Regularization.of(2.0, 0.01)
    one.observe(0.5)
    other.load_state_dict(one.state_dict())
    assert other == one
    other.load_state_dict({"weight": 5.0})
    assert other == Regularization(2.0, 0.01, 5.0), "a checkpoint from before"

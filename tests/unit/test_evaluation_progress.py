"""How far an evaluation is: which piece of how many, of which refiner, and what time is left."""

from collections.abc import Sequence

import pytest

from trainer.evaluation.progress import Piece, Progress, Work


class Clock:
    """Stands still until it is moved."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def begun(works: Sequence[Work], seconds: Sequence[float]) -> list[Piece]:
    """What is told of pieces that take so long, in this order."""
    told: list[Piece] = []
    clock = Clock()
    progress = Progress(works, told.append, clock)
    for work, lasted_s in zip(works, seconds, strict=True):
        progress.begin(work, work)
        clock.now_s += lasted_s
    return told


def test_pieces_are_counted() -> None:
    told = begun(["refining", "judge", "judge"], [1, 1, 1])
    assert [(piece.what, piece.number, piece.total) for piece in told] == [
        ("refining", 1, 3),
        ("judge", 2, 3),
        ("judge", 3, 3),
    ]


def test_the_time_left_is_that_of_all_pieces_to_come_by_the_mean_of_their_kind() -> None:
    told = begun(["judge", "estimator", "judge", "estimator", "estimator"], [100, 20, 300, 40, 0])
    # After 100 and 20 s: a judge and two estimators; then two estimators; then one of the mean of 20 and 40.
    assert [piece.left_s for piece in told[2:]] == [100 + 2 * 20, 2 * 20, 30]


def test_no_time_is_promised_before_every_kind_of_work_to_come_was_timed() -> None:
    told = begun(["judge", "judge", "estimator", "estimator"], [5, 5, 5, 5])
    assert [piece.left_s for piece in told] == [None, None, None, 5]
    assert begun(["judge", "judge"], [5, 5])[1].left_s == 5


def test_pieces_say_of_which_refiner_they_are_unless_they_are_of_all() -> None:
    told: list[Piece] = []
    progress = Progress(["judge", "estimator"], told.append)
    progress.turn_to("mine")
    progress.begin("judge", "realism")
    progress.begin("estimator", "usefulness, real", of_all=True)
    assert [str(piece) for piece in told] == ["[1/2] mine: realism", "[2/2] usefulness, real"]


def test_what_was_found_is_told_with_the_time_it_took() -> None:
    told: list[Piece] = []
    clock = Clock()
    progress = Progress(["estimator"], told.append, clock)
    progress.begin("estimator", "usefulness, both")
    clock.now_s = 61.4
    progress.found("accuracy 0.9000")
    assert (told[1].what, told[1].found) == ("usefulness, both", "accuracy 0.9000 (61 s)")
    assert str(told[1]) == "    accuracy 0.9000 (61 s)"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0, ", a few seconds left"),
        (44.0, ", about 40 s left"),
        (89.0, ", about 90 s left"),
        (200.0, ", about 3 min left"),
        (5399.0, ", about 90 min left"),
        (9000.0, ", about 2.5 h left"),
        (None, ""),
    ],
)
def test_the_time_left_is_told_as_roughly_as_it_is_known(seconds: float | None, words: str) -> None:
    piece = Piece("preservation", 3, 9, seconds)
    assert (piece.left, str(piece)) == (words, f"[3/9] preservation{words}")

"""Usefulness: metrics with known values, augmentation whose labels follow, and the arms of a trial."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch")

from trainer.errors import DataError  # noqa: E402
from trainer.evaluation.progress import Piece, Progress  # noqa: E402
from trainer.evaluation.results import Augmentation  # noqa: E402
from trainer.evaluation.usefulness import trials  # noqa: E402
from trainer.evaluation.usefulness.augmentation import draw_moves, restyle  # noqa: E402
from trainer.evaluation.usefulness.boxes import Boxes, box_iou  # noqa: E402
from trainer.evaluation.usefulness.change import _halves, measure_estimator_change  # noqa: E402
from trainer.evaluation.usefulness.frame import Frame, to_float  # noqa: E402
from trainer.evaluation.usefulness.harmless import seen_otherwise  # noqa: E402
from trainer.evaluation.usefulness.keypoints import Keypoints  # noqa: E402
from trainer.evaluation.usefulness.kinds import estimation_for  # noqa: E402
from trainer.evaluation.usefulness.learning import Learning  # noqa: E402
from trainer.evaluation.usefulness.segmentation import Segmentation  # noqa: E402
from trainer.evaluation.usefulness.statistics import average_precision, estimate, rank_agreement, spearman  # noqa: E402
from trainer.evaluation.usefulness.training import Pool, ask, augment, train  # noqa: E402
from trainer.evaluation.usefulness.trials import Trials, gap_closed, score_by_group  # noqa: E402
from trainer.labels.labels import Labels, labels_of  # noqa: E402
from trainer.labels.regions import whole_images  # noqa: E402
from trainer.labels.task import LabelledImages, Rank, Task  # noqa: E402
from trainer.sampling import generator  # noqa: E402

pytestmark = pytest.mark.train
Pixels = NDArray[Any]
CPU = torch.device("cpu")
SIDE = 16


def squares(seed: int, count: int = 48, channels: int = 1) -> tuple[Pixels, dict[str, Labels]]:
    """Dark squares of 5 px on a bright ground, in the left or the right half, and all their labels."""
    rng = np.random.default_rng(seed)
    images = np.full((count, SIDE, SIDE, channels), 180.0)
    corners = rng.integers(0, (4, SIDE - 5), (count, 2))
    side = np.arange(count) % 2
    corners[:, 0] += 7 * side
    masks = np.zeros((count, SIDE, SIDE), np.uint8)
    for image, mask, (x, y) in zip(images, masks, corners, strict=True):
        image[y : y + 5, x : x + 5] = 40
        mask[y : y + 5, x : x + 5] = 1
    images = np.clip(images + rng.normal(0, 5, images.shape), 0, 255).astype(np.uint8)
    corners = corners.astype(np.float32)
    arrays: dict[Any, Pixels] = {
        "classification": side,
        "segmentation": masks,
        "boxes": np.concatenate([corners, corners + 5], axis=1),
        "keypoints": np.stack([corners, corners + 5], axis=1),
        "regression": corners,
    }
    return images, {kind: labels_of(kind, array, kind) for kind, array in arrays.items()}


def learnt(kind: str, updates: int, *, augmentation: Augmentation = "none") -> dict[str, float]:
    """The scores of an estimator trained on squares, on other squares."""
    (images, labels), (others, truth) = squares(0, 64), squares(1, 40)
    frame = Frame.of(images, 96)
    estimation = replace(estimation_for(labels[kind], frame), batch_size=16)  # type: ignore[type-var]
    pool = Pool(frame.take(images), estimation.targets(labels[kind]), np.arange(len(images)))
    network = train(estimation, pool, 0, augmentation=augmentation, updates=updates, device=CPU)
    return estimation.score(ask(estimation, network, frame.take(others), CPU), truth[kind])


@pytest.mark.parametrize(
    ("kind", "metric", "updates", "least"),
    [
        ("classification", "accuracy", 40, 0.95),
        ("segmentation", "foreground IoU", 60, 0.85),
        ("boxes", "average precision at IoU 0.5", 80, 0.7),
        ("keypoints", "points within 5 %", 80, 0.5),
        ("regression", "1 - MAE / std", 60, 0.7),
    ],
)
def test_an_estimator_learns_its_kind_of_label(kind: str, metric: str, updates: int, least: float) -> None:
    scores = learnt(kind, updates)
    assert next(iter(scores)) == metric
    assert scores[metric] > least


def test_the_same_seed_gives_the_same_estimator() -> None:
    assert learnt("classification", 3, augmentation="strong") == learnt(
        "classification", 3, augmentation="strong"
    )


@pytest.mark.parametrize("freedom", ["axes", "all"])
def test_points_move_with_their_image(freedom: Any) -> None:
    """A bright dot at each point: after the move, the brightest place is where the point says."""
    images, points = torch.zeros(8, 1, 32, 48), torch.empty(8, 1, 2)
    for image in range(8):
        x, y = 16 + 2 * image, 20 - image
        images[image, 0, y - 1 : y + 1, x - 1 : x + 1] = 1.0
        points[image, 0] = torch.tensor((x, y))
    moves = draw_moves(images, freedom, generator(3, "usefulness/augmentation"))
    assert moves is not None
    moved, wanted = moves.images(images)[:, 0], moves.points(points)[:, 0]
    columns, rows = torch.arange(48) + 0.5, torch.arange(32) + 0.5
    mass = moved.sum(dim=(1, 2))
    centre = torch.stack([(moved.sum(1) * columns).sum(1) / mass, (moved.sum(2) * rows).sum(1) / mass], 1)
    assert (wanted - points[:, 0]).abs().max() > 1
    torch.testing.assert_close(centre, wanted, atol=0.15, rtol=0)


@pytest.mark.parametrize("contrast", [1.0, 0.05])
def test_restyled_images_differ_but_faint_ones_are_not_drowned(contrast: float) -> None:
    images = torch.zeros(40, 3, 20, 24)
    images[:, :, 5:15, 6:18] = 1.0
    styled = restyle(0.5 + contrast * (images - 0.5), 0.2, generator(0, "usefulness/augmentation"))
    assert styled.shape == images.shape
    assert styled.isfinite().all()
    pairs = zip(images.flatten(1), styled.flatten(1), strict=True)
    likeness = torch.stack([torch.corrcoef(torch.stack(pair))[0, 1] for pair in pairs])
    assert float(likeness.max()) < 0.99
    assert float(likeness.median()) > 0.6


@pytest.mark.parametrize("size", [192, 288])
def test_the_masks_of_a_smaller_frame_lie_neither_left_nor_right_of_the_original(size: int) -> None:
    masks = np.zeros((1, size, size), np.uint8)
    part = slice(size // 2 - 25, size // 2 + 25)
    masks[:, part, part] = 1
    labels = labels_of("segmentation", masks, "x")
    frame = Frame.of(np.zeros((1, size, size, 1), np.uint8), 96)
    targets = estimation_for(labels, frame).targets(labels)
    assert frame.factor == size // 96
    assert torch.equal(targets, targets.flip(1, 2))
    assert targets.sum() * frame.factor**2 == pytest.approx(2500, rel=0.1)


def test_answers_are_in_px_of_the_original_where_the_frame_is_smaller() -> None:
    images, labels = squares(0, 6)
    large = images.repeat(3, axis=1).repeat(3, axis=2)
    frame = Frame.of(large, 20)
    assert (frame.factor, frame.height) == (3, SIDE)
    np.testing.assert_allclose(frame.take(large).numpy()[:, 0], images[..., 0])
    tripled = labels_of("segmentation", labels["segmentation"].values.repeat(3, 1).repeat(3, 2), "x")
    estimation = Segmentation.of(frame, tripled)
    targets = estimation.targets(tripled)
    np.testing.assert_array_equal(targets.numpy(), labels["segmentation"].values)
    perfect = estimation.answers((targets[:, None].float() - 0.5) * 20)
    assert estimation.score(perfect, tripled)["foreground IoU"] > 0.85
    keypoints = Keypoints.of(frame, labels["keypoints"])
    heat = torch.full((1, 2, 8, 8), -50.0)
    heat[0, :, 2, 5] = 50.0
    np.testing.assert_allclose(keypoints.answers(heat)[0, 0], (5.5 * 2 * 3, 2.5 * 2 * 3))


def test_only_known_points_say_how_far_keypoints_moved() -> None:
    """Nobody taught the estimator what to say of a point that is hidden: it may say anything."""
    hidden = [np.nan, np.nan]
    truth = labels_of("keypoints", np.array([[[4, 4], hidden], [[8, 8], [2, 2]]]), "x")
    before, after = np.full((2, 2, 2), 6.0), np.full((2, 2, 2), 6.0)
    after[:, 0, 0] += 1.0
    after[:, 1, 1] += 30.0
    change = Keypoints.of(Frame(1, 32, 32, 1), truth).change(before, after, truth)
    np.testing.assert_array_equal(change.values, [1.0, 15.5])


def test_pixels_of_no_class_count_nowhere() -> None:
    truth = labels_of("segmentation", np.array([[[0, 1, 2, 255], [0, 1, 2, 255]]]), "x", classes=True)
    estimation = Segmentation.of(Frame(1, 2, 4, 1), truth)
    assert (estimation.classes, estimation.metric) == (3, "mean IoU")
    said = np.array([[[0, 1, 2, 1], [1, 1, 2, 2]]], np.uint8)
    # Background 1 of 2, class 1 2 of 3, class 2 whole.
    assert estimation.score(said, truth)["mean IoU"] == pytest.approx((1 / 2 + 2 / 3 + 1) / 3)
    logits = torch.nn.functional.one_hot(torch.tensor(said).long(), 3).permute(0, 3, 1, 2) * 9.0
    right = estimation.loss(logits[..., :3], estimation.targets(truth)[..., :3])
    assert float(estimation.loss(logits, estimation.targets(truth))) == pytest.approx(float(right))


@pytest.mark.parametrize("kind", ["classification", "segmentation", "boxes", "keypoints", "regression"])
def test_an_answer_for_all_images_shows_no_skill_and_the_truth_shows_all(kind: str) -> None:
    images, labels = squares(0, 24)
    estimation, truth = estimation_for(labels[kind], Frame.of(images, 96)), labels[kind]
    values = truth.values
    right, blind = values, np.broadcast_to(values.astype(np.float64).mean(axis=0), values.shape)
    if kind == "boxes":
        right, blind = (np.insert(said, 4, 0.9, axis=2) for said in (right, blind))
    elif kind == "classification":
        blind = np.ones_like(values)
    elif kind == "segmentation":
        blind = np.ones_like(values)
        assert estimation.skill(np.zeros_like(values), truth) < 0
    assert estimation.skill(right, truth) == pytest.approx(1.0)
    assert abs(estimation.skill(blind, truth)) < 0.06


def test_where_labels_are_all_alike_skill_cannot_be_told() -> None:
    images, labels = squares(0, 24)
    for kind in ("classification", "keypoints", "regression"):
        same = labels[kind].of(np.zeros(24, np.int64))
        estimation = estimation_for(labels[kind], Frame.of(images, 96))
        assert np.isnan(estimation.skill(same.values, same))
    empty = labels_of("segmentation", np.zeros((24, SIDE, SIDE), int), "x")
    assert np.isnan(estimation_for(labels["segmentation"], Frame.of(images, 96)).skill(empty.values, empty))


def test_of_several_classes_the_most_frequent_for_every_pixel_shows_no_skill() -> None:
    truth = labels_of("segmentation", np.array([[[0, 1, 1, 255], [2, 1, 1, 255]]]), "x", classes=True)
    estimation = Segmentation.of(Frame(1, 2, 4, 1), truth)
    assert estimation.skill(np.ones((1, 2, 4), np.uint8), truth) == pytest.approx(0.0)
    assert estimation.skill(truth.values.astype(np.uint8), truth) == pytest.approx(1.0)


def test_a_column_that_never_changes_is_refused_by_name() -> None:
    images, labels = squares(0, 24)
    values = labels["regression"].values.copy()
    values[:, 1] = 0.1
    constant = labels_of("regression", values, "x", names=("yaw", "pitch"))
    with pytest.raises(DataError, match=r"column pitch is 0\.1 in every image"):
        estimation_for(constant, Frame.of(images, 96))


@pytest.mark.parametrize("kind", ["boxes", "segmentation"])
def test_images_without_an_object_are_nothing_to_learn_from(kind: Any) -> None:
    images, labels = squares(0, 64)
    values = labels[kind].values.copy()
    values[15:] = -1 if kind == "boxes" else 0
    few = labels_of(kind, values, "x")
    with pytest.raises(DataError, match="needs 16 images whose labels show something, not 15"):
        measure_estimator_change(few, images, images, Learning(updates=1))


def test_average_precision_is_the_area_under_the_curve() -> None:
    """Right, wrong, right of 2: precision 1 up to recall 1/2, then 2/3."""
    area = average_precision(np.array([0.9, 0.8, 0.7]), np.array([True, False, True]), 2)
    assert area == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert average_precision(np.array([0.1, 0.9]), np.array([True, False]), 2) == pytest.approx(0.25)


def test_a_second_box_on_the_same_object_is_wrong() -> None:
    truth = labels_of("boxes", np.array([[[0, 0, 4, 4], [8, 8, 12, 12]]]), "x")
    estimation = Boxes(Frame(1, SIDE, SIDE, 1), 2)
    said = np.array([[[0, 0, 4, 4, 0.9], [0, 0, 4, 3, 0.8], [8, 8, 12, 11, 0.7], [np.nan] * 5]])
    scores = estimation.score(said, truth)
    assert scores[estimation.metric] == pytest.approx(0.5 + 0.5 * 2 / 3)
    assert scores["mean IoU"] == pytest.approx(0.5)
    assert estimation.score(said[:, :1], truth)[estimation.metric] == pytest.approx(0.5)


def test_where_there_is_no_object_precision_and_overlap_are_not_defined() -> None:
    images = np.zeros((4, SIDE, SIDE, 1), np.uint8)
    labels = labels_of("boxes", np.array([[2, 2, 9, 9]] * 2 + [[-1] * 4] * 2), "x")
    found = np.full((4, 1, 5), np.nan, np.float32)
    found[:2] = (2, 2, 9, 9, 0.9)
    frame, halves = Frame.of(images, 96), np.array([0, 0, 1, 1])
    test = LabelledImages(images, labels, halves, None)
    scores = score_by_group(estimation_for(labels, frame), found, test)
    assert scores == {"average precision at IoU 0.5": 1.0, "mean IoU": pytest.approx(1.0)}
    masks = np.zeros((4, SIDE, SIDE), np.uint8)
    masks[:2, 2:9, 2:9] = 1
    labels = labels_of("segmentation", masks, "x")
    test, estimation = LabelledImages(images, labels, halves, None), estimation_for(labels, frame)
    assert score_by_group(estimation, masks, test)["foreground IoU"] == 1.0
    invented = np.maximum(
        masks, np.eye(SIDE, dtype=np.uint8) * np.array([0, 0, 1, 1], np.uint8)[:, None, None]
    )
    assert score_by_group(estimation, invented, test)["foreground IoU"] == 0.5


def test_overlap_of_boxes() -> None:
    one, other = np.array([[0, 0, 4, 4]]), np.array([[2, 0, 6, 4], [4, 4, 5, 5]])
    np.testing.assert_allclose(box_iou(one, other), [[8 / 24, 0]])


def test_rank_correlation_shares_ranks_between_ties() -> None:
    assert spearman(np.array([1.0, 2, 3]), np.array([10.0, 20, 90])) == pytest.approx(1.0)
    # Ranks 0, 1, 2, 3 against 0.5, 0.5, 2.5, 2.5: 4 / sqrt(5 * 4).
    assert spearman(np.arange(4.0), np.array([1.0, 1, 2, 2])) == pytest.approx(4 / 20**0.5)
    assert np.isnan(spearman(np.arange(3.0), np.zeros(3)))


def test_values_in_the_order_of_an_ordinal_with_ties_agree_fully() -> None:
    ordinal = np.repeat([1.0, 3.0, 4.0], [5, 1, 14])
    values = np.arange(20.0)
    assert spearman(values, ordinal) < 0.9
    assert rank_agreement(values, ordinal) == pytest.approx(1.0)
    assert rank_agreement(-values, ordinal) == pytest.approx(-1.0)
    swapped = values.copy()
    swapped[[0, 19]] = swapped[[19, 0]]
    assert 0 < rank_agreement(swapped, ordinal) < 0.95
    assert np.isnan(rank_agreement(values, np.ones(20)))


def test_the_interval_of_the_gap_closed_holds_how_uncertain_the_gap_is() -> None:
    sure = gap_closed({"synthetic": (0.5, 0.5), "refined": (0.8, 0.8), "real": (1.0, 1.0)})
    unsure = gap_closed({"synthetic": (0.5, 0.5), "refined": (0.8, 0.8), "real": (0.98, 1.02)})
    assert sure is not None
    assert unsure is not None
    assert (sure.low, sure.high) == pytest.approx((0.6, 0.6))
    assert unsure.mean == pytest.approx(0.6)
    half = 12.706 * 0.02 / 0.5 * 0.6  # Student's t, the error of the mean gap over the gap, the ratio
    assert (unsure.low, unsure.high) == pytest.approx((0.6 - half, 0.6 + half))


def test_the_gap_is_divided_by_its_mean_over_seeds() -> None:
    closed = gap_closed({"synthetic": (0.5, 0.7), "refined": (0.8, 0.7), "real": (1.0, 1.0)})
    assert closed is not None
    assert closed.values == pytest.approx((0.75, 0.0))
    assert gap_closed({"synthetic": (0.9,), "refined": (0.9,), "real": (0.9,)}) is None
    assert gap_closed({"synthetic": (0.9,), "refined": (0.9,)}) is None
    assert estimate([0.7, 0.74, 0.78]).high == pytest.approx(0.74 + 4.303 * 0.04 / 3**0.5, rel=1e-3)


@pytest.mark.parametrize(
    ("freedom", "quantile"), [(1, 12.706), (10, 2.228), (11, 2.201), (29, 2.045), (127, 1.979)]
)
def test_intervals_have_the_width_of_students_t(freedom: int, quantile: float) -> None:
    values = np.random.default_rng(0).normal(size=freedom + 1)
    half_width = quantile * values.std(ddof=1) / (freedom + 1) ** 0.5
    assert estimate(values.tolist()).high == pytest.approx(values.mean() + half_width, abs=0.002)


def test_scores_are_averaged_over_groups() -> None:
    images = np.zeros((7, SIDE, SIDE, 1), np.uint8)
    labels = labels_of("regression", np.array([1, 2, 3, 1, 2, 4, 4]), "x")
    test = LabelledImages(images, labels, np.array([0, 0, 0, 7, 7, 9, 9]), Rank(column=0, sign=-1))
    frame = Frame.of(images, 96)
    estimation = estimation_for(labels, frame, rank=test.rank)
    answers = np.array([[9.0], [5.0], [1.0], [3.0], [4.0], [3.0], [4.0]])
    # 1 and -1; the ordinal of the third group never changes.
    assert score_by_group(estimation, answers, test) == {"rank correlation": pytest.approx(0.0)}


def task(kind: str = "classification", test_channels: int = 1) -> tuple[Task, Pixels]:
    (images, labels), (real, truth) = squares(0), squares(1, 30, test_channels)
    labelled = LabelledImages(real, truth[kind], None, None)
    regions = whole_images(len(images), SIDE, SIDE)
    return Task(kind, labels[kind], regions, True, labelled, labelled), images  # type: ignore[arg-type]


def test_a_trial_trains_every_arm_and_keeps_what_does_not_depend_on_the_refiner() -> None:
    told: list[Piece] = []
    progress = Progress(watch=told.append)
    setting, images = task()
    trials = Trials(setting, images, Learning(seeds=2, updates=2, variants=3))
    usefulness = trials.measure(lambda part, _seed: part, progress)
    arms = [(score.arm, score.augmentation) for score in usefulness.scores]
    augmentations = ("none", "moves", "strong")
    every = {(a, b) for a in ("synthetic", "refined", "both", "real") for b in augmentations}
    assert set(arms) == every - {("both", "moves")}
    scored = [piece for piece in told if piece.found is not None]
    assert (len(arms), len(scored), usefulness.metric, usefulness.test_images) == (11, 22, "accuracy", 30)
    plain = {score.arm: score.primary.values for score in usefulness.scores if score.augmentation == "none"}
    assert plain["synthetic"] == plain["refined"], "an identity refiner gives the synthetic arm again"
    trials.measure(lambda part, _seed: 255 - part, progress)
    again = [piece.what for piece in told if piece.found is not None][22:]
    assert len(again) == 10, "synthetic and real were known"
    assert again[0] == "usefulness, refined, seed 0"


def test_moves_alone_move_images_with_their_labels_and_change_no_light() -> None:
    images, labels = squares(3)
    estimation = estimation_for(labels["keypoints"], Frame.of(images, 96))
    shown, targets = to_float(Frame.of(images, 96).take(images), CPU), estimation.targets(labels["keypoints"])
    same, points = augment(estimation, shown, targets, 0, 0, augmentation="none")
    assert torch.equal(same, shown)
    assert torch.equal(points, targets)
    moved, points = augment(estimation, shown, targets, 0, 0, augmentation="moves")
    assert not torch.equal(points, targets)
    assert moved.amin() >= shown.amin()
    assert moved.amax() <= shown.amax()
    strong, others = augment(estimation, shown, targets, 0, 0, augmentation="strong")
    assert torch.allclose(others, points, rtol=0, atol=0, equal_nan=True), (
        "strong augmentation moves an image as moves alone do"
    )
    assert not torch.equal(strong, moved)


def test_where_labels_cannot_follow_a_move_none_is_tried() -> None:
    setting, images = task("regression")
    fixed = replace(setting, survives_moves=False)
    usefulness = Trials(fixed, images, Learning(seeds=1, updates=1)).measure(lambda part, _seed: part)
    assert {score.augmentation for score in usefulness.scores} == {"none", "strong"}
    assert usefulness.gap_closed_moved is None


def test_large_images_are_refined_part_by_part_with_the_noise_of_their_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(trials, "MOST_PIXELS_AT_ONCE", 5 * SIDE * SIDE)
    seen: list[tuple[int, int]] = []
    task_, images = task()

    def refine(part: Pixels, seed: int) -> Pixels:
        seen.append((seed, len(part)))
        return part

    Trials(task_, images, Learning(seeds=1, updates=1, variants=1)).measure(refine)
    assert [seed for seed, _ in seen] == list(range(0, 48, 5))
    assert {count for _, count in seen} == {5, 3}


def test_an_upper_bound_that_learns_the_ordinal_itself_is_not_turned_round() -> None:
    task_, images = task("regression")
    ordinal = labels_of("regression", np.arange(30) // 8, "x")
    test = LabelledImages(task_.test.images, ordinal, None, Rank(column=1, sign=-1))
    trial = Trials(replace(task_, test=test, upper_bound=test), images, Learning(seeds=1))
    assert trial._real is not None
    estimation, _ = trial._real
    assert estimation.score(ordinal.values, ordinal) == {"rank correlation": pytest.approx(1.0)}


def test_a_refiner_with_noise_gives_several_variants() -> None:
    setting, images = task()
    trials = Trials(setting, images, Learning(seeds=1, updates=1, variants=3))
    seeds: list[int] = []

    def refine(part: Pixels, seed: int) -> Pixels:
        seeds.append(seed)
        noisy: Pixels = part // 2 + np.uint8(seed % 7)
        return noisy

    trials.measure(refine)
    assert seeds == [0, 48, 48, 96, 96]


def test_test_images_of_another_kind_are_refused_before_anything_is_trained() -> None:
    setting, images = task(test_channels=3)
    with pytest.raises(DataError, match="test images have 3 channels"):
        Trials(setting, images, Learning())
    setting, images = task()
    unknown = replace(setting.test.labels, values=setting.test.labels.values + 1)
    with pytest.raises(DataError, match="images of class 2"):
        Trials(replace(setting, test=replace(setting.test, labels=unknown)), images, Learning())


def test_an_estimator_sees_that_content_moved_and_that_nothing_changed() -> None:
    images, labels = squares(0, 64)
    learning = Learning(updates=50)
    same = measure_estimator_change(labels["classification"], images, images, learning)
    assert (same.mean, same.median, same.measure) == (1.0, 1.0, "same class")
    assert same.of_both is not None
    assert same.of_harmless is not None
    assert 0.5 < same.of_harmless.mean <= 1.0
    moved = measure_estimator_change(labels["classification"], images, images[:, :, ::-1], learning)
    assert moved.mean < 0.3
    assert set(moved.per_class) == {"0", "1"}
    assert moved.score_before is not None
    assert moved.score_after is not None
    assert moved.score_after < 0.3
    assert moved.score_before > 0.8
    assert moved.metric == "accuracy"
    assert moved.skill_before == pytest.approx(2 * moved.score_before - 1, abs=0.1)


def test_what_no_label_minds_changes_the_look_and_leaves_the_place() -> None:
    images, _ = squares(2, 24, channels=3)
    seen = seen_otherwise(images, 0)
    assert (seen.shape, seen.dtype) == (images.shape, images.dtype)
    np.testing.assert_array_equal(seen, seen_otherwise(images, 0))
    assert np.abs(seen.astype(float) - images).mean() > 10
    for before, after in zip(images, seen, strict=True):
        darker = [one.mean(2) < (one.mean(2).max() + one.mean(2).min()) / 2 for one in (before, after)]
        assert np.mean(darker[0] == darker[1]) > 0.9
    deep = seen_otherwise(images.astype(np.uint16) * 257, 0)
    assert deep.dtype == np.uint16
    assert np.abs(deep / 257 - seen).max() <= 0.51


def test_a_class_that_only_the_images_asked_about_show_stops_no_evaluation() -> None:
    images, labels = squares(0, 20)
    masks = labels["segmentation"].values.copy()
    _, asked = _halves(labels["segmentation"], 20)
    masks[asked[0], 0, 0] = 2
    classes = labels_of("segmentation", masks, "x", classes=True)
    assert measure_estimator_change(classes, images, images, Learning(updates=1)).mean == 1.0

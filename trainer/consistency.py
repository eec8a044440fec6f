"""Owns task-aware training: what an estimator reads in a synthetic image, it must read in the refined one.

The estimator learns the synthetic labels alone, strongly augmented, before the refiner learns anything, and
then stays as it is: one that learned from refined images, too, could agree with the refiner on new signs for
the old labels. Semantic consistency of CyCADA (Hoffman et al., arXiv 1711.03213, Eq. 4) but for two things:
it compares with the whole answer about the synthetic image instead of with its most likely class, so that it
holds for masks, boxes, keypoints and angles, too; and both images are moved a little, alike and each time
anew, so that no pattern of single pixels can stand for a label. Not part of the paper, which uses no labels.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model.refiner import Refiner
from trainer.batches import Batches
from trainer.config import TrainConfig
from trainer.data import TrainingData
from trainer.distributed import World
from trainer.errors import DataError
from trainer.evaluation.alarms import LEAST_OVERLAP, MOST_CHANGE
from trainer.evaluation.usefulness.augmentation import draw_moves
from trainer.evaluation.usefulness.estimation import Change, Estimation
from trainer.evaluation.usefulness.frame import Frame
from trainer.evaluation.usefulness.kinds import estimation_for
from trainer.evaluation.usefulness.learning import Learning
from trainer.evaluation.usefulness.training import Pool, ask, train
from trainer.labels.labels import Labels
from trainer.labels.task import Lesson
from trainer.samples import fitting_at_once, refine_levels
from trainer.sampling import Sampler, generator, stream_seed
from trainer.sources import Images

HELD_OUT = 256
"""Labelled images that the estimator does not learn from, at most: of them it is asked."""
HELD_OUT_SHARE = 8
"""At most one in so many."""
MOST_PIXELS_ASKED = 1 << 21
"""Of all held-out images together, at least FEWEST_ASKED of them: they are refined at every validation."""
FEWEST_ASKED = 8
FEWEST_LABELLED = 16
MOST_PIXELS_AT_ONCE = 1 << 26
"""Of the images in memory beside what the estimator sees of them."""
MOST_SIDE_PX = 512
"""Of larger images a part of this side is compared: the memory of a refiner grows with the pixels."""
FEWEST = 2
"""Images compared at once; where they have more pixels than a batch, they are compared more rarely."""


@dataclass(frozen=True)
class Kept:
    """What the estimator says of held-out images before and after refinement."""

    measure: str
    unit: str
    more_is_better: bool
    """A fraction that agrees, not a distance."""
    mean: float
    median: float

    @property
    def drifting(self) -> bool:
        """Whether labels can hardly hold: the limits of the alarms of an evaluation."""
        if self.more_is_better:
            return self.mean < LEAST_OVERLAP
        return self.median > MOST_CHANGE.get(self.unit, math.inf)

    def __str__(self) -> str:
        if self.more_is_better:
            return f"{self.measure} {self.mean:.1%}"
        return f"{self.measure} {self.median:.2g}{self.unit and ' '}{self.unit} (median)"


@dataclass(frozen=True)
class Comparison:
    """Images of one update whose labels are compared."""

    synthetic: Tensor | None
    """float32 [n, C, H, W] in [-1, 1]; None: the images that the update is made on anyway."""
    noise: Tensor | None
    divergence: Callable[[Tensor, Tensor], Tensor]
    """Of synthetic and refined images, with gradient for the latter: a mean over the batch."""
    every: int
    """Updates from one comparison to the next, which counts for all of them."""


@dataclass
class Consistency:
    """The estimator of a run, and which images are compared when."""

    estimation: Estimation
    frame: Frame
    network: nn.Module
    """In eval mode and without gradients for its weights."""
    images: Images
    """All synthetic ones, whole: grey levels [N, H, W, C]."""
    lesson: Lesson
    learned: NDArray[np.int64]
    """Rows that it learns from."""
    asked: NDArray[np.int64]
    """Rows that are held out."""
    updates: int
    """In which it learns."""
    seed: int
    batches: Batches | None
    """This process's share of the images compared; None where every batch has whole images."""
    count: int
    """Images compared at once, over all processes."""
    shard: slice
    """Those of this process."""
    every: int
    device: torch.device
    score: float | None = None
    """Of held-out images, by the estimation's primary metric; None as long as nothing was learned."""
    skill: float | None = None
    """Of those, how much better than without looking: 0 no better, 1 all right; None once resumed."""

    def learn(self, world: World) -> None:
        """Let the main process's estimator learn the labels; all others get its weights."""
        state = None
        if world.is_main:
            state = self._taught()
        self.load_state_dict(world.from_main(state))

    def _taught(self) -> dict[str, Any]:
        labels = self.lesson.labels
        pool = Pool(
            self._taken(self.learned),
            self.estimation.targets(labels.of(self.learned)),
            np.arange(len(self.learned)),
        )
        network = train(
            self.estimation,
            pool,
            self.seed,
            augmentation="strong",
            updates=self.updates,
            device=self.device,
        )
        answers = ask(self.estimation, network, self._taken(self.asked), self.device)
        truth = labels.of(self.asked)
        score = next(iter(self.estimation.score(answers, truth).values()))
        weights = {name: value.cpu() for name, value in network.state_dict().items()}
        return {"network": weights, "score": score, "skill": self.estimation.skill(answers, truth)}

    def _taken(self, rows: NDArray[np.int64]) -> Tensor:
        """Images in the frame, part by part: the set may be a file that is larger than memory."""
        at_once = fitting_at_once(self.images, len(rows), MOST_PIXELS_AT_ONCE)
        parts = (rows[start : start + at_once] for start in range(0, len(rows), at_once))
        return torch.cat([self.frame.take(self.images[part]) for part in parts])

    def comparison(
        self,
        update: int,
        rows: NDArray[np.int64],
        noise: Callable[[tuple[int, int, int], torch.Generator], Tensor | None],
    ) -> Comparison | None:
        """What is compared in an update of the refiner; None where nothing is due.

        rows: the images that the update is made on, in this process.
        noise: draws a global batch's of (N, H, W); this process takes its share.
        """
        if update % self.every:
            return None
        number = update // self.every
        labels = self.lesson.labels.of(rows if self.batches is None else self.batches.rows(number))

        def divergence(synthetic: Tensor, refined: Tensor) -> Tensor:
            return self._divergence(synthetic, refined, labels, update)

        if self.batches is None:
            return Comparison(None, None, divergence, self.every)
        synthetic = self.batches.draw(number)
        drawn = noise(
            (self.count, *self.batches.window),
            generator(self.seed, "labels/noise", number, self.device),
        )
        return Comparison(synthetic, None if drawn is None else drawn[self.shard], divergence, self.every)

    def _divergence(self, synthetic: Tensor, refined: Tensor, labels: Labels, update: int) -> Tensor:
        """In float32 whatever the refiner computes in: small changes of an answer count."""
        before, after = (self._view(images.float()) for images in (synthetic, refined))
        source = generator(self.seed, "labels/moves", update)
        # Drawn for the global batch, so that the number of processes does not matter.
        whole = before[:1].expand(self.count, -1, -1, -1)
        moves = draw_moves(whole, self.estimation.freedom, source)
        if moves is not None:
            mine = moves[self.shard]
            before, after = mine.images(before), mine.images(after)
        with torch.no_grad():
            said = self.network(before)
        return self.estimation.divergence(said, self.network(after), labels)

    def _view(self, images: Tensor) -> Tensor:
        """[-1, 1] → [0, 1], averaged down to the estimator's frame."""
        images = (images + 1.0) / 2.0
        if self.frame.factor > 1:
            images = nn.functional.avg_pool2d(
                images, self.frame.factor, ceil_mode=True, count_include_pad=False
            )
        return images.contiguous(memory_format=torch.channels_last)

    def kept(self, refiner: Refiner) -> Kept:
        """Ask about held-out images before and after refinement."""
        images = self.images[self.asked]
        refined = refine_levels(refiner, images, self.seed)
        before, after = (
            ask(self.estimation, self.network, self.frame.take(one), self.device) for one in (images, refined)
        )
        return _summary(self.estimation.change(before, after, self.lesson.labels.of(self.asked)))

    def state_dict(self) -> dict[str, Any] | None:
        """The estimator, once it has learned."""
        return None if self.score is None else {"network": self.network.state_dict(), "score": self.score}

    def load_state_dict(self, state: Mapping[str, Any] | None) -> None:
        """Take an estimator that has learned."""
        if state is not None:
            self.network.load_state_dict(state["network"])
            self.score, self.skill = state["score"], state.get("skill")


def make_consistency(
    lesson: Lesson, data: TrainingData, config: TrainConfig, world: World, device: torch.device
) -> Consistency:
    """For the labels of a run's synthetic images; DataError where there is too little to learn."""
    seed, batch_size = config.seed, config.batch_size
    # Classes that are no answer are learned as well: an erased object must be able to look like one.
    lesson = replace(lesson, labels=replace(lesson.labels, leave_out=()))
    frame = Frame.of(data.synthetic, Learning().most_side)
    estimation = estimation_for(lesson.labels, frame, survives_moves=lesson.survives_moves)
    learned, asked = _divided(lesson, data.synthetic, seed)
    size = _compared_size(data, frame)
    whole = size == data.window
    count, every = (batch_size, 1) if whole else _rhythm(size, data.window, batch_size, world.size)
    batches = Batches(
        data.synthetic,
        Sampler(seed, "labels/synthetic", len(data.synthetic)),
        size,
        count,
        data.peak,
        world.shard(count),
        device,
    )
    network = estimation.network().to(device).eval().requires_grad_(False)
    return Consistency(
        estimation,
        frame,
        network.to(memory_format=torch.channels_last),  # type: ignore[call-overload]
        data.synthetic,
        lesson,
        learned,
        asked,
        config.labels_updates or estimation.updates,
        seed,
        None if whole else batches,
        count,
        world.shard(count),
        every,
        device,
    )


def _divided(lesson: Lesson, images: Images, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows to learn from, and rows to be asked about; DataError where there are too few."""
    if (showing := int(lesson.labels.showing.sum())) < FEWEST_LABELLED:
        raise DataError(
            f"--labels needs {FEWEST_LABELLED} synthetic images whose labels show something, not {showing}"
        )
    rows = np.flatnonzero(lesson.labels.answers).astype(np.int64)
    rows = np.random.default_rng(stream_seed(seed, "labels/rows")).permutation(rows)
    most = max(FEWEST_ASKED, fitting_at_once(images, HELD_OUT, MOST_PIXELS_ASKED))
    held_out = min(most, len(rows) // HELD_OUT_SHARE)
    return np.sort(rows[held_out:][: Learning().most_images]), np.sort(rows[:held_out])


def _compared_size(data: TrainingData, frame: Frame) -> tuple[int, int]:
    """Height and width, px: of whole images, as far as memory goes; whole squares of the frame."""
    height, width = (
        side if side <= MOST_SIDE_PX else MOST_SIDE_PX // frame.factor * frame.factor
        for side in data.synthetic.shape[1:3]
    )
    return height, width


def _rhythm(
    size: tuple[int, int], window: tuple[int, int], batch_size: int, processes: int
) -> tuple[int, int]:
    """How many images are compared at once, and every how many updates, to cost about a batch an update."""
    pixels, of_batch = size[0] * size[1], batch_size * window[0] * window[1]
    count = min(max(of_batch // pixels, FEWEST), batch_size)
    count = max(1, count // processes) * processes
    return count, max(1, round(count * pixels / of_batch))


def _summary(change: Change) -> Kept:
    mean, median = float(np.mean(change.values)), float(np.median(change.values))
    return Kept(change.measure, change.unit, change.more_is_better, mean, median)

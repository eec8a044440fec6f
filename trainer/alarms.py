"""Owns the alarms: what a run says in words when it goes wrong although every number is finite."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypedDict

LONGEST_PATIENCE_STEPS = 500
SHORTEST_PATIENCE_STEPS = 50
"""A condition must hold at every log line over a quarter of the run, within these bounds, to be told."""
IDENTITY_LEVELS = 0.25
"""Mean absolute change, in grey levels of 255, below which refined = synthetic."""
LOST_EDGES = 0.5
"""Agreement of edges before and after below which refined no longer shows what synthetic does."""
CERTAIN = 0.995
"""Accuracy of D on both sides from which its gradient vanishes."""
CONSTANT = 0.99
"""D calls this fraction of all patches, refined and real, by the same name."""

SENTENCES = {
    "identity_refiner": (
        "the refiner does nothing: refined = synthetic; lower --self-regularization-weight, raise "
        "--refiner-learning-rate, or with --optimiser sgd use --patch-reduction sum"
    ),
    "certain_discriminator": (
        "the discriminator has won: it tells nearly every patch, so the refiner gets no gradient; lower "
        "--discriminator-learning-rate, raise --r1-weight or --refiner-updates-per-step"
    ),
    "constant_discriminator": (
        "the discriminator has collapsed: it gives every patch the same answer; raise "
        "--discriminator-learning-rate, or with --optimiser sgd use --patch-reduction sum"
    ),
    "erased_content": (
        "content is being erased: more than 2 % of the measured regions moved or lost more than the service "
        "accepts; lower --preservation-budget, so that lambda rises sooner, or raise --content-balance-limit"
    ),
    "lost_colours": (
        "things take the colours of others: in more than 2 % of the measured regions colours cannot be told "
        "apart as before; give the simulator the colours of the real images, as often as there, or raise "
        "--self-regularization-weight"
    ),
    "drifting_labels": (
        "labels are drifting: the estimator that learned them says something else of refined images; raise "
        "--labels-weight, and look whether it reads synthetic images well at all"
    ),
    "lost_content": (
        "the refiner loses the content: its edges are no longer those of the synthetic images, nor are the "
        "labels; raise --self-regularization-weight, or lower --preservation-budget or "
        "--refiner-learning-rate"
    ),
}


@dataclass(frozen=True)
class Alarm:
    """One thing that went wrong, told once a run."""

    name: str
    step: int
    sentence: str


class AlarmsState(TypedDict):
    """Since which step each condition has held, and what has been told."""

    since: dict[str, int]
    told: dict[str, int]


@dataclass
class Alarms:
    """Watches the log lines of Algorithm 1 and speaks once about each condition that lasts."""

    steps: int
    """Steps of Algorithm 1 that the run was asked for."""
    _since: dict[str, int] = field(default_factory=dict)
    _told: dict[str, int] = field(default_factory=dict)

    def observe(self, step: int, means: Mapping[str, float]) -> list[Alarm]:
        """Alarms that become due at `step`, from the means of a log line (change in grey levels of 255)."""
        due = []
        for name, holds in _conditions(means).items():
            if not holds:
                self._since.pop(name, None)
                continue
            since = self._since.setdefault(name, step)
            if step - since >= self._patience() and name not in self._told:
                self._told[name] = step
                due.append(Alarm(name, step, f"step {step}: {SENTENCES[name]}"))
        return due

    def observe_validation(self, step: int, beyond: Mapping[str, bool], *, last: bool) -> list[Alarm]:
        """Alarms that become due when refiners, measured without labels, go on losing content or colours.

        `beyond` tells by the name of its alarm whether a loss is too large. A single one may be followed by a
        higher lambda and a better refiner; the `last` of a run may not.
        """
        due = []
        for name, lost in beyond.items():
            if not lost:
                self._since.pop(name, None)
                continue
            since = self._since.setdefault(name, step)
            if name not in self._told and (last or step - since >= self._patience()):
                self._told[name] = step
                due.append(Alarm(name, step, f"step {step}: {SENTENCES[name]}"))
        return due

    def _patience(self) -> int:
        return min(LONGEST_PATIENCE_STEPS, max(SHORTEST_PATIENCE_STEPS, self.steps // 4))

    def told(self) -> list[Alarm]:
        """Everything said so far in this run, for its summary."""
        return [Alarm(name, step, f"step {step}: {SENTENCES[name]}") for name, step in self._told.items()]

    def state_dict(self) -> AlarmsState:
        """What must survive a restart."""
        return {"since": dict(self._since), "told": dict(self._told)}

    def load_state_dict(self, state: AlarmsState) -> None:
        """Go on from a saved state."""
        self._since, self._told = dict(state["since"]), dict(state["told"])


def _conditions(means: Mapping[str, float]) -> dict[str, bool]:
    change = means["mean_absolute_change_of_255"]
    on_refined, on_real = means["accuracy_on_refined"], means["accuracy_on_real"]
    called_refined = (on_refined + 1.0 - on_real) / 2.0
    return {
        "identity_refiner": change < IDENTITY_LEVELS,
        "lost_content": means["edge_agreement"] < LOST_EDGES,
        "certain_discriminator": min(on_refined, on_real) >= CERTAIN,
        "constant_discriminator": max(called_refined, 1.0 - called_refined) >= CONSTANT,
    }

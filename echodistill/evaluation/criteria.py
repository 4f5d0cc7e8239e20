"""What a student must reach to be promoted, and what it came to. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from echodistill.evaluation.intervals import Interval

Opponent = Literal["base", "champion"]
Metric = Literal["acc", "acc_forced", "gsr", "clean_acc"]
Differences = Mapping[Metric, Interval]
"""Of a student less another system, on the decision split."""
FEWEST_GROUPS = 2
"""One group says nothing about others."""
RELIABLE_GROUPS = 10
"""With fewer the intervals themselves are uncertain."""
MORE_TO_DECIDE_ON = (
    "more decision clips (corpus.clips.decision, or more recordings) or more groups"
    " (corpus.decision_share)"
)


@dataclass(frozen=True)
class DecisionSize:
    """How much a decision rests on."""

    clips: int
    groups: int
    """Speakers, places, or the clips themselves where the source names no group."""


@dataclass(frozen=True)
class Criterion:
    """A difference whose interval must lie above a bound: the margin that may be lost, or 0 where
    there is none.
    """

    name: str
    """A sentence, which names the criterion in ``promotion.json`` too."""
    opponent: Opponent
    metric: Metric
    non_inferior: bool = False
    """The student need not be better: it must not be worse by more than the margin."""

    def bound(self, margin: float) -> float:
        """Return what the interval's low end is held against."""
        return -margin if self.non_inferior else 0.0

    def is_met(self, low: float, bound: float) -> bool:
        """Return whether the low end is good enough. Equal to the base is not better; a loss of
        just the margin is allowed.
        """
        return low >= bound if self.non_inferior else low > bound


AGAINST_BASE = (
    Criterion("Acc in noise is better than the base's", "base", "acc"),
    Criterion(
        "forced-choice Acc in noise is better than the base's, so that more than the format was"
        " learned",
        "base",
        "acc_forced",
    ),
    Criterion("GSR in noise is better than the base's", "base", "gsr"),
    Criterion(
        "clean accuracy is not worse than the base's by more than the margin",
        "base",
        "clean_acc",
        non_inferior=True,
    ),
)
AGAINST_CHAMPION = (
    Criterion("Acc in noise is better than the champion's", "champion", "acc"),
    Criterion(
        "clean accuracy is not worse than the champion's by more than the margin",
        "champion",
        "clean_acc",
        non_inferior=True,
    ),
)
CRITERIA = (*AGAINST_BASE, *AGAINST_CHAMPION)


@dataclass(frozen=True)
class Judged:
    """A criterion and the difference that it was held against."""

    criterion: Criterion
    difference: Interval
    bound: float

    @property
    def met(self) -> bool:
        """Whether the interval's low end reaches the bound."""
        return self.criterion.is_met(self.difference.low, self.bound)

    def as_dict(self) -> dict[str, object]:
        """Return the criterion as ``promotion.json`` has it."""
        found = {
            "against": self.criterion.opponent,
            "metric": self.criterion.metric,
            **self.difference.as_dict(),
        }
        return {"name": self.criterion.name, **found, "bound": self.bound, "met": self.met}


def judge(differences: Mapping[Opponent, Differences], margin: float) -> list[Judged]:
    """Return every criterion against the systems that there are, judged; in the order of
    ``CRITERIA``.
    """
    return [
        Judged(
            criterion, differences[criterion.opponent][criterion.metric], criterion.bound(margin)
        )
        for criterion in CRITERIA
        if criterion.opponent in differences
    ]


def obstacles(size: DecisionSize, champion_fault: str) -> list[str]:
    """Return what forbids a promotion whatever the figures are, each with its cure.

    ``champion_fault`` says why there is a champion and yet no answers of it; empty where nothing is
    wrong with it.
    """
    found = []
    if not size.clips:
        found.append(
            "there is no decision split: give the source four groups or more"
            " (corpus.decision_share), or name rows of one in its column `split`: decision"
        )
    elif size.groups < FEWEST_GROUPS:
        found.append(
            "the decision split has one group, which says nothing about others: raise"
            " corpus.decision_share, or give more groups"
        )
    if champion_fault:
        found.append(
            f"the champion cannot be compared with: {champion_fault}. To replace it all the same,"
            " enter the student with `echodistill register` and say `echodistill champion --set"
            " VERSION`"
        )
    return found


def remarks(size: DecisionSize, judged: Sequence[Judged]) -> list[str]:
    """Return what people should know of a decision: too few groups, or an interval wider than the
    margin allows.
    """
    found = []
    if FEWEST_GROUPS <= size.groups < RELIABLE_GROUPS:
        found.append(
            f"the decision rests on {size.groups} groups; below {RELIABLE_GROUPS} the intervals"
            " themselves are uncertain"
        )
    for one in judged:
        reach, margin = one.difference.value - one.difference.low, -one.bound
        if one.criterion.non_inferior and not one.met and reach > margin:
            found.append(
                f"the interval of clean accuracy against the {one.criterion.opponent} reaches"
                f" {100 * reach:.1f} points below its value, more than the margin of"
                f" {100 * margin:g}: a student that loses nothing would not pass either. What helps"
                f" is {MORE_TO_DECIDE_ON}"
            )
    return found

"""The criteria for promoting a student, and their results. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from echodistill.core.counted import counted
from echodistill.evaluation.intervals import Interval

Opponent = Literal["base", "champion"]
Metric = Literal["acc", "acc_forced", "gsr", "clean_acc"]
Differences = Mapping[Metric, Interval]
"""The differences of a student minus another system on the decision split, by metric."""
MIN_GROUPS = 2
"""Fewest groups that a promotion needs: results on one group do not generalise to others."""
RELIABLE_GROUPS = 10
"""Number of groups below which the intervals themselves are uncertain."""
MORE_DECISION_DATA = (
    "more decision clips (corpus.clips.decision, or more recordings) or more groups"
    " (corpus.decision_share)"
)


@dataclass(frozen=True)
class DecisionSize:
    """The number of clips and groups that a decision is based on."""

    clips: int
    groups: int
    """Number of groups: speakers, places, or the clips themselves where the source names no group.
    """


@dataclass(frozen=True)
class Criterion:
    """A difference whose interval must be above a bound: minus the margin that may be lost, or 0
    where no loss is allowed.
    """

    name: str
    """The criterion as a sentence; ``promotion.json`` has it too."""
    opponent: Opponent
    metric: Metric
    non_inferior: bool = False
    """Whether the student need not be better and must only not be worse by more than the margin."""

    def bound(self, margin: float) -> float:
        """Return the bound that the interval's low end is compared with."""
        return -margin if self.non_inferior else 0.0

    def is_met(self, low: float, bound: float) -> bool:
        """Return whether the low end meets the bound. A difference equal to 0 is not better; a loss
        of exactly the margin is allowed.
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
    """A criterion with the measured difference and the bound that it is compared with."""

    criterion: Criterion
    difference: Interval
    bound: float

    @property
    def met(self) -> bool:
        """Whether the interval's low end meets the bound."""
        return self.criterion.is_met(self.difference.low, self.bound)

    def as_dict(self) -> dict[str, object]:
        """Return the judged criterion as it is written to ``promotion.json``."""
        found = {
            "against": self.criterion.opponent,
            "metric": self.criterion.metric,
            **self.difference.as_dict(),
        }
        return {"name": self.criterion.name, **found, "bound": self.bound, "met": self.met}


def judge(differences: Mapping[Opponent, Differences], margin: float) -> list[Judged]:
    """Return the judged criteria against the systems of ``differences``, in the order of
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
    """Return the reasons that prevent a promotion whatever the figures are, each with its remedy.

    ``champion_fault`` states why there are no answers of an existing champion; it is empty if
    nothing is wrong.
    """
    found = []
    if not size.clips:
        found.append(
            "there is no decision split: give the source four groups or more"
            " (corpus.decision_share), or name rows of one in its column `split`: decision"
        )
    elif size.groups < MIN_GROUPS:
        found.append(
            "the decision split has one group, which does not generalise to others: raise"
            " corpus.decision_share, or give more groups"
        )
    if champion_fault:
        found.append(
            f"the champion cannot be compared with: {champion_fault}. To replace it all the same,"
            " register the student with `echodistill register` and run `echodistill champion --set"
            " VERSION`"
        )
    return found


def remarks(size: DecisionSize, judged: Sequence[Judged]) -> list[str]:
    """Return warnings about a decision: too few groups, or an interval wider than the margin
    allows.
    """
    found = []
    if MIN_GROUPS <= size.groups < RELIABLE_GROUPS:
        found.append(
            f"the decision rests on {counted(size.groups, 'group')}; below {RELIABLE_GROUPS} the"
            f" intervals"
            " themselves are uncertain"
        )
    for one in judged:
        reach, margin = one.difference.value - one.difference.low, -one.bound
        if one.criterion.non_inferior and not one.met and reach > margin:
            found.append(
                f"the interval of clean accuracy against the {one.criterion.opponent} reaches"
                f" {100 * reach:.1f} points below its value, more than the margin of"
                f" {100 * margin:g}: a student that loses nothing would not pass either. What helps"
                f" is {MORE_DECISION_DATA}"
            )
    return found

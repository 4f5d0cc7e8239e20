"""Explain why a student is not promoted, and what to try next. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from echodistill.core.counted import counted
from echodistill.evaluation.criteria import MORE_DECISION_DATA, DecisionSize, Judged
from echodistill.evaluation.skill import MEMORISED, NOTABLE, Skill, skill_text

MAX_TIMES = 20.0
"""Largest multiple of the decision's groups that is still given as advice."""


@dataclass(frozen=True)
class Faults:
    """Shares of a system's answers that could not be used."""

    truncated: float
    """Share of the answers that were cut at the length limit."""
    unparsed: float
    """Share of the answers that name no choice, or several."""


def explain(
    size: DecisionSize, judged: Sequence[Judged], student: Faults, base: Faults, skill: Skill
) -> list[str]:
    """Return explanations of the criteria that were not met; ``skill`` is the base's."""
    found = [_too_few(one, size) for one in judged if _may_be_chance(one)]
    if student.truncated > NOTABLE:
        found.append(
            f"{_percent(student.truncated)} of the student's answers were cut at the length limit"
        )
    if student.unparsed > NOTABLE:
        found.append(
            f"{_percent(student.unparsed)} of the student's answers name no choice, and"
            f" {_percent(base.unparsed)} of the base's"
        )
    if (
        skill.train_acc is not None
        and skill.clean_acc is not None
        and skill.train_acc - skill.clean_acc > MEMORISED
    ):
        found.append(
            "the base has memorised its training clips, and a student can hardly be better:"
            f" {skill_text(skill)}"
        )
    return found


def next_steps(judged: Sequence[Judged], student: Faults, skill: Skill) -> list[str]:
    """Return suggestions of what to try, the cheapest first."""
    unmet = [one for one in judged if not one.met]
    found = []
    if student.truncated > NOTABLE:
        found.append("give answers more room: -S generation.max_new_tokens=...")
    if any(_may_be_chance(one) for one in unmet):
        found.append(f"decide on more: {MORE_DECISION_DATA}")
    if any(one.criterion.non_inferior and not _may_be_chance(one) for one in unmet):
        found.append(
            "keep clean skill: raise mixes.train_clean_share, or lower the method's learning rate"
            " (train.methods)"
        )
    if any(not one.criterion.non_inferior and one.difference.value <= one.bound for one in unmet):
        found.append(
            "train longer (-S train.steps=...), or see which method helps here: `echodistill"
            " compare --quick`"
        )
    if (
        skill.train_acc is not None
        and skill.clean_acc is not None
        and skill.train_acc - skill.clean_acc > MEMORISED
    ):
        found.append(
            "give the base more training clips of more groups, fewer steps (-S"
            " base.nano.steps=...), or name a pre-trained one"
        )
    return found


def _may_be_chance(one: Judged) -> bool:
    """Return whether the value itself is above the bound and only its interval's low end is not."""
    return not one.met and one.difference.value > one.bound


def _too_few(one: Judged, size: DecisionSize) -> str:
    """Return a sentence that the result may be chance, with the number of groups that would decide
    it: intervals narrow with the square root of the number of groups.
    """
    gain, reach = one.difference.value - one.bound, one.difference.value - one.difference.low
    sentence = (
        f"{one.criterion.name}: {100 * one.difference.value:+.1f} points on"
        f" {counted(size.clips, 'clip')} of"
        f" {counted(size.groups, 'group')} may be chance"
    )
    times = (reach / gain) ** 2
    if times > MAX_TIMES or not math.isfinite(times):
        return sentence
    return (
        f"{sentence}; a difference like this would be significant with about"
        f" {counted(math.ceil(size.groups * times), 'group')}"
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"

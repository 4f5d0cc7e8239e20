"""Describe in words how well a base answers questions about clean clips (from ``base.json``), and
how to improve it. Pure.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from scipy.special import bdtrc  # scipy.stats would take seconds to load, in every gate

from echodistill.core.counted import counted

MAX_P_BY_GUESSING = 0.05
"""Largest probability that guessing gives as many right answers, for these to be evidence of skill.
"""
MEMORISED = 0.15
"""Lead in accuracy on its training clips over other clips from which a base counts as having
memorised them.
"""
NOTABLE = 0.05
"""Share of answers above which a fault is reported."""
ANOTHER_MODEL = "a pre-trained base (-S base.model=FOLDER, or a hub id)"


@dataclass(frozen=True)
class Skill:
    """Accuracy on clean clips; without arguments, that of a base which could not be judged because
    all clips belong to the test.
    """

    clean_acc: float | None = None
    """Accuracy on clips of groups that the base was not trained on."""
    clean_n: int = 0
    """Number of questions about these clips."""
    judged_on: str | None = None
    """Splits of these clips."""
    chance: float | None = None
    """Accuracy of guessing on these questions."""
    unparsed: float | None = None
    """Share of the answers that name no choice."""
    truncated: float | None = None
    """Share of the answers that were cut at the length limit."""
    train_acc: float | None = None
    """Accuracy on the clips that the base was trained on; ``None`` for a base that was not trained
    here.
    """
    train_n: int = 0


@dataclass(frozen=True)
class SampledSkill:
    """Rates over questions about clean clips."""

    questions: int
    samples: int
    """K, the number of samples of each question."""
    pass_at_1: float
    """Share of right samples."""
    pass_at_k: float
    """Share of questions with a right sample."""
    mixed_share: float
    """Share of questions with both right and wrong samples."""
    clean_acc: float
    """Share of right greedy responses."""
    text_acc: float | None
    """The same with a transcript or caption in place of the clip; ``None`` where a clip has
    neither.
    """


FIELDS = tuple(field.name for field in fields(Skill))


def skill_of(facts: Mapping[str, Any]) -> Skill:
    """Return the fields of ``Skill`` from the facts of ``base.json``."""
    return Skill(**{name: facts[name] for name in FIELDS})


def p_by_guessing(skill: Skill) -> float:
    """Return the probability that guessing gives at least as many right answers (a binomial tail);
    NaN if the facts are incomplete.
    """
    if skill.clean_acc is None or skill.chance is None:
        return float("nan")
    return float(bdtrc(round(skill.clean_acc * skill.clean_n) - 1, skill.clean_n, skill.chance))


def fewest_questions(chance: float) -> int:
    """Return the fewest questions for which right answers to all of them are unlikely by chance."""
    return next(count for count in range(1, 1_000) if chance**count <= MAX_P_BY_GUESSING)


def skill_text(skill: Skill) -> str:
    """Return a sentence on how well the base answers, on unseen groups and on its own training
    clips.
    """
    if skill.judged_on is None or skill.clean_acc is None:
        return (
            "not judged: there are no clips but the test's, whose table shows how well it answers"
        )
    unseen = (
        f"{_percent(skill.clean_acc)} % of {counted(skill.clean_n, 'question')} about clips of"
        f" unseen groups"
        f" ({skill.judged_on})"
    )
    if skill.train_acc is None:
        return f"right answers on clean clips: {unseen}"
    return (
        f"right answers on clean clips: {_percent(skill.train_acc)} % of {skill.train_n} training"
        f" questions, {unseen}"
    )


def advice(skill: Skill, margin: float) -> str:
    """Return advice for a base whose clean accuracy is not reliably ``margin`` above chance."""
    found = [skill_text(skill)]
    if skill.clean_acc is None or skill.chance is None:
        return found[0]
    if skill.clean_n < (fewest := fewest_questions(skill.chance)):
        found.append(
            f"{counted(skill.clean_n, 'question', 'is/are')} too few to tell skill from chance:"
            f" give more clips,"
            f" {counted(fewest, 'question')} at least"
        )
    found += [
        f"{_percent(share)} % of the answers {fault}"
        for share, fault in _faults(skill)
        if share is not None and share > NOTABLE
    ]
    needed = skill.chance + margin
    if skill.train_acc is None:
        found.append(
            f"it was not trained here: take another base ({ANOTHER_MODEL}), or check the corpus's"
            " answers"
        )
    elif skill.train_acc - skill.clean_acc > MEMORISED:
        found.append(
            f"it has memorised its training clips ({_percent(skill.train_acc - skill.clean_acc)}"
            " points better there): give more training clips of more groups, fewer steps (-S"
            f" base.nano.steps=...), or {ANOTHER_MODEL}"
        )
    elif skill.train_acc < needed:
        found.append(
            "it has not learned its training clips either: more steps (-S base.nano.steps=...), or"
            f" {ANOTHER_MODEL}"
        )
    else:
        found.append(f"give more training clips, or {ANOTHER_MODEL}")
    return "; ".join(found)


def _faults(skill: Skill) -> tuple[tuple[float | None, str], ...]:
    return (
        (skill.truncated, "were cut at the length limit (raise generation.max_new_tokens)"),
        (skill.unparsed, "name no choice"),
    )


def sampled_text(found: SampledSkill) -> str:
    """Return a sentence on the base's sampled responses."""
    text = ""
    if found.text_acc is not None:
        text = f", {_percent(found.text_acc)} % with text for the clip"
    return (
        f"of {counted(found.questions, 'question')} about clean clips"
        f" {_percent(found.clean_acc)} % are answered rightly{text}; of {found.samples} samples"
        f" each {_percent(found.pass_at_1)} % are right, {_percent(found.pass_at_k)} % of the"
        " questions have a right one and"
        f" {_percent(found.mixed_share)} % have right and wrong ones"
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"

"""Check that a base model is worth making robust: its training went well, and it is good at clean
audio.

Accuracy is judged on clips of groups that the base was not trained on, however few these are:
beside the margin above chance, a binomial tail limits the probability that so many right answers
are luck. If all clips belong to the test, nothing is trained, and a poor base is a result of the
evaluation and no fault.
"""

import math
from collections.abc import Sequence
from pathlib import Path

from echodistill.evaluation.skill import (
    FIELDS,
    MAX_P_BY_GUESSING,
    SampledSkill,
    Skill,
    advice,
    p_by_guessing,
    sampled_text,
    skill_of,
    skill_text,
)
from echodistill.gates.expect import HOLDS, Between, Expect, Table, number, read_json
from echodistill.params.gates import PolicyGate
from echodistill.params.whole import Params

NANO = "nano"
KEYS = ("model", "parameters", *FIELDS, "losses", "sampled")


def base_checks(folder: Path, params: Params) -> list[Expect]:
    """Return expectations about a base folder, from its ``base.json``."""
    facts = read_json(folder / "base.json", *KEYS)
    losses = [number(loss) for loss in facts["losses"]]
    skill = skill_of(facts)
    table = Table.of(
        "base",
        "model",
        {
            "model": [facts["model"]],
            "parameters": [number(facts["parameters"])],
            "loss_fall": [_fall(losses)],
            "above_chance": [number(skill.clean_acc) - number(skill.chance)],
            "p_by_guessing": [p_by_guessing(skill)],
        },
    )
    checks = [table.expect("parameters", Between(1), "the base has parameters")]
    if losses:
        steps = Table.of(
            "losses",
            "step",
            {"step": range(1, len(losses) + 1), "finite": [math.isfinite(loss) for loss in losses]},
        )
        cure = "lower base.nano.learning_rate"
        checks.append(
            steps.expect("finite", HOLDS, "every pre-training loss is a finite number", cure)
        )
    if facts["model"] == NANO:
        description = "the last tenth of the pre-training losses lies below the first tenth"
        cure = "lower base.nano.learning_rate, or raise base.nano.steps"
        checks.append(
            table.expect("loss_fall", Between(0.0, strict_minimum=True), description, cure)
        )
    if facts["model"] == NANO or skill.judged_on is not None:
        checks += _skilled(table, skill, params.gates.above_chance)
    if facts["sampled"] is not None:
        checks += _sampled(SampledSkill(**facts["sampled"]), params.gates.policy)
    return checks


def base_notes(folder: Path) -> list[str]:
    """Return one sentence on how well the base answers, on unseen groups and on its training clips,
    whether it passes or not.
    """
    facts = read_json(folder / "base.json", *KEYS)
    notes = [skill_text(skill_of(facts))]
    if facts["sampled"] is not None:
        notes.append(sampled_text(SampledSkill(**facts["sampled"])))
    return notes


def _skilled(table: Table, skill: Skill, margin: float) -> list[Expect]:
    cure = advice(skill, margin)
    description = f"clean accuracy on unseen groups lies at least {margin:g} above chance"
    by_guessing = (
        f"guessing gives so many right answers in at most {100 * MAX_P_BY_GUESSING:g} % of cases"
    )
    return [
        table.expect("above_chance", Between(margin), description, cure),
        table.expect("p_by_guessing", Between(0.0, MAX_P_BY_GUESSING), by_guessing, cure),
    ]


def _sampled(found: SampledSkill, limits: PolicyGate) -> list[Expect]:
    """Return the expectations on the base's sampled responses."""
    low, high = limits.clean_acc
    text_lead = 0.0 if found.text_acc is None else found.text_acc - found.clean_acc
    table = Table.of(
        "sampled",
        "model",
        {
            "model": ["base"],
            "clean_acc": [found.clean_acc],
            "pass_ratio": [found.pass_at_k / max(found.pass_at_1, 1e-9)],
            "mixed_share": [found.mixed_share],
            "text_lead": [text_lead],
        },
    )
    cure = f"{sampled_text(found)}; change base.nano.steps, or the words of corpus.reason_words"
    checks = [
        table.expect(
            "clean_acc", Between(low, high), f"clean accuracy is {low:g} to {high:g}", cure
        ),
        table.expect(
            "pass_ratio",
            Between(limits.min_pass_ratio),
            f"pass@{found.samples} is at least {limits.min_pass_ratio:g} times pass@1",
            cure,
        ),
        table.expect(
            "mixed_share",
            Between(limits.min_mixed_share),
            f"at least {100 * limits.min_mixed_share:g} % of the groups have right and wrong"
            " samples",
            cure,
        ),
    ]
    if limits.text_above_audio:
        text_cure = "raise base.nano.transcript_share"
        if found.text_acc is None:
            text_cure = "its clips have neither transcript nor caption: fill them in"
        checks.append(
            table.expect(
                "text_lead",
                Between(0.0, strict_minimum=True),
                "the base answers better with text in place of the clip",
                f"{sampled_text(found)}; {text_cure}",
            )
        )
    return checks


def _fall(losses: Sequence[float]) -> float:
    """Return the mean of the first tenth of the losses minus that of the last; 0 without losses.
    Another expectation checks that losses are finite, so others are skipped here.
    """
    finite = [loss for loss in losses if math.isfinite(loss)]
    if not finite:
        return 0.0
    tenth = max(1, len(finite) // 10)
    return sum(finite[:tenth]) / tenth - sum(finite[-tenth:]) / tenth

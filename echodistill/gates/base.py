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
    Skill,
    advice,
    p_by_guessing,
    skill_of,
    skill_text,
)
from echodistill.gates.expect import HOLDS, Between, Expect, Table, number, read_json
from echodistill.params.whole import Params

NANO = "nano"
KEYS = ("model", "parameters", *FIELDS, "losses")


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
    return checks


def base_notes(folder: Path) -> list[str]:
    """Return one sentence on how well the base answers, on unseen groups and on its training clips,
    whether it passes or not.
    """
    return [skill_text(skill_of(read_json(folder / "base.json", *KEYS)))]


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


def _fall(losses: Sequence[float]) -> float:
    """Return the mean of the first tenth of the losses minus that of the last; 0 without losses.
    Another expectation checks that losses are finite, so others are skipped here.
    """
    finite = [loss for loss in losses if math.isfinite(loss)]
    if not finite:
        return 0.0
    tenth = max(1, len(finite) // 10)
    return sum(finite[:tenth]) / tenth - sum(finite[-tenth:]) / tenth

"""What a base model must be to be worth making robust: trained without accident, and good at clean audio."""

import math
from collections.abc import Sequence
from pathlib import Path

from echodistill.gates.expect import HOLDS, Between, Expect, Table, number, read_json
from echodistill.params import Params

MIN_QUESTIONS = 20  # accuracy on fewer says nothing
NANO = "nano"


def base_checks(folder: Path, params: Params) -> list[Expect]:
    """Expectations about a base folder, by its ``base.json``."""
    facts = read_json(folder / "base.json", "model", "parameters", "clean_acc", "clean_n", "chance", "losses")
    losses = [number(loss) for loss in facts["losses"]]
    lead = number(facts["clean_acc"]) - number(facts["chance"])
    table = Table.of(
        "base",
        "model",
        {
            "model": [facts["model"]],
            "parameters": [number(facts["parameters"])],
            "loss_fall": [_fall(losses)],
            "above_chance": [lead],
        },
    )
    checks = [table.expect("parameters", Between(1), "the base has parameters")]
    if losses:
        steps = Table.of(
            "losses",
            "step",
            {"step": range(1, len(losses) + 1), "finite": [math.isfinite(loss) for loss in losses]},
        )
        checks.append(steps.expect("finite", HOLDS, "every pre-training loss is a finite number"))
    if facts["model"] == NANO:
        says = "the last tenth of the pre-training losses lies below the first tenth"
        checks.append(table.expect("loss_fall", Between(0.0, strict_minimum=True), says))
    if number(facts["clean_n"]) >= MIN_QUESTIONS:
        margin = params.gates.above_chance
        says = f"clean accuracy lies at least {margin:g} above chance"
        checks.append(table.expect("above_chance", Between(margin), says))
    return checks


def _fall(losses: Sequence[float]) -> float:
    """Mean of the first tenth less mean of the last; 0 without losses. Losses that are no numbers are judged elsewhere."""
    finite = [loss for loss in losses if math.isfinite(loss)]
    if not finite:
        return 0.0
    tenth = max(1, len(finite) // 10)
    return sum(finite[:tenth]) / tenth - sum(finite[-tenth:]) / tenth

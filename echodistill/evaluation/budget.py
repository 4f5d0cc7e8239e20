"""Compute the cost of each system's training; the methods are compared at equal optimizer steps.
Pure.
"""

from collections.abc import Mapping, Sequence

Steps = Sequence[Mapping[str, float]]
"""The metrics of a training, one entry for each step."""


def budget_of(trainings: Sequence[Steps], prompts_per_step: int) -> dict[str, float]:
    """Return a system's means over its seeds: optimizer steps, prompts, tokens that the student
    sampled, and target tokens that it was trained on.

    The targets are the teacher's references or the gold answers; those of a control are the
    references of its own teacher.
    """
    seeds = len(trainings)
    steps = sum(len(rows) for rows in trainings) / seeds
    totals = {
        name: sum(row.get(name, 0.0) for rows in trainings for row in rows) / seeds
        for name in ("sampled_tokens", "target_tokens")
    }
    return {"steps": steps, "prompts": steps * prompts_per_step} | totals

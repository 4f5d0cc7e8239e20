"""What each system's training cost: the methods are compared at the same optimizer steps. Pure."""

from collections.abc import Mapping, Sequence

Steps = Sequence[Mapping[str, float]]
"""A training's metrics, one entry a step."""


def budget_of(trainings: Sequence[Steps], prompts_per_step: int) -> dict[str, float]:
    """A system's mean over its seeds: optimizer steps, prompts, tokens the student sampled, tokens
    it was given to learn from.

    Given are the teacher's references, or the gold answers; a control's are those of its teacher.
    """
    seeds = len(trainings)
    steps = sum(len(rows) for rows in trainings) / seeds
    totals = {
        name: sum(row.get(name, 0.0) for rows in trainings for row in rows) / seeds
        for name in ("sampled_tokens", "target_tokens")
    }
    return {"steps": steps, "prompts": steps * prompts_per_step} | totals

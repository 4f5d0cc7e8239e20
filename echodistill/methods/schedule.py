"""Weights of two loss terms over the course of a training. Pure Python."""


def term_weights(schedule: str, distill_share: float, progress: float) -> tuple[float, float]:
    """Return the factors of the policy term and of the distillation term.

    ``progress`` is the share of the steps that are done. ``constant`` keeps both at 1 (as
    published). ``distill_first`` distils alone over the first ``distill_share`` of the steps, and
    trains on the policy term alone after that, in the order of arXiv 2605.12483 (abstract-level
    knowledge: check the source). ``crossfade`` moves linearly from the one to the other [ours].
    """
    if schedule == "constant":
        return 1.0, 1.0
    if schedule == "crossfade":
        return progress, 1.0 - progress
    if schedule == "distill_first":
        return (0.0, 1.0) if progress < distill_share else (1.0, 0.0)
    raise ValueError(f"unknown schedule {schedule!r}")

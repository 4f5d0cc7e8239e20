"""The rewards that a method may name, by name."""

from collections.abc import Callable, Iterable
from inspect import signature

from echodistill.rewards.choice import choice_reward

REWARDS: dict[str, Callable[..., list[float]]] = {"choice": choice_reward}
ANSWER = "answer_index"
"""Column of the training rows with the right answer."""


def needs_answer(names: Iterable[str]) -> bool:
    """Return whether one of the rewards ``names`` judges by the right answer: it takes its column
    by name.
    """
    return any(ANSWER in signature(REWARDS[name]).parameters for name in names)

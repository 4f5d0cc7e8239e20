"""The rewards that a method may name, by name."""

from collections.abc import Callable

from echodistill.rewards.choice import choice_reward

REWARDS: dict[str, Callable[..., list[float]]] = {"choice": choice_reward}

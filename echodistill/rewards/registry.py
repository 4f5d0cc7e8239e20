"""The rewards that a method may name, by name."""

from collections.abc import Callable, Sequence

from echodistill.params.train import RewardParams
from echodistill.rewards.answer import answer_reward, format_reward, overlap_reward

Reward = Callable[..., list[float]]
REWARDS: dict[str, Reward] = {
    "answer": answer_reward,
    "format": format_reward,
    "overlap": overlap_reward,
}


def chosen_rewards(names: Sequence[str], settings: RewardParams) -> list[tuple[Reward, float]]:
    """Return the rewards of a method with the weight of each in their sum.

    The reward ``answer`` is computed as ``settings`` state, and the reward ``format`` is added to
    it.
    """
    chosen: list[tuple[Reward, float]] = []
    for name in names:
        if name == "answer":
            chosen.append((REWARDS["overlap" if settings.open == "overlap" else "answer"], 1.0))
            if settings.format_weight:
                chosen.append((REWARDS["format"], settings.format_weight))
        else:
            chosen.append((REWARDS[name], 1.0))
    return chosen

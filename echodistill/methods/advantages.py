"""Turn the rewards of a group of rollouts into advantages, and add the consistency bonus. Pure
torch.

Shapes: B prompts, K candidates for each prompt.
"""

import torch

REWARD_FLOOR, REWARD_CEILING = -1.0, 2.0


def shape_rewards(rewards: torch.Tensor, consistency: torch.Tensor, bonus: float) -> torch.Tensor:
    """Return rewards with the task-gated consistency bonus, ``clip(r + β·1[r>0]·s, -1, 2)``.

    ``rewards`` is (B, K); ``consistency`` is s in (0, 1], of shape (B, K) or (B, 1), without
    gradient. Source: arXiv 2605.23954 [paper], β [code].
    """
    return (rewards + bonus * (rewards > 0) * consistency).clamp(REWARD_FLOOR, REWARD_CEILING)


def group_advantages(rewards: torch.Tensor) -> torch.Tensor:
    """Return ``(r - mean) / std`` within each group, with the population std; (B, K) to (B, K).

    ``echodistill`` and ``grpo`` share this definition; TRL divides by the sample std + 1e-4
    instead. K = 1 gives the reward itself; a group whose rewards are all equal gives zeros. Source:
    arXiv 2605.23954 [paper].
    """
    if rewards.shape[1] == 1:
        return rewards.clone()
    centred = rewards - rewards.mean(dim=1, keepdim=True)
    std = rewards.std(dim=1, keepdim=True, correction=0)
    return torch.where(
        zero_variance(rewards)[:, None], torch.zeros_like(centred), centred / std.clamp_min(1e-12)
    )


def centred_advantages(rewards: torch.Tensor) -> torch.Tensor:
    """Return ``r - mean`` within each group, without a division by the std; (B, K) to (B, K).

    Source: arXiv 2601.16547 [paper].
    """
    return rewards - rewards.mean(dim=1, keepdim=True)


def zero_variance(rewards: torch.Tensor) -> torch.Tensor:
    """Return which groups have rewards that are all equal and so give no policy gradient, (B,)
    bool.
    """
    return (rewards.max(dim=1).values - rewards.min(dim=1).values) < 1e-6


def shaping_has_no_effect(rewards: torch.Tensor, shaped: torch.Tensor) -> torch.Tensor:
    """Return the groups in which shaping changed no advantage, (B,) bool [ours].

    Where a group's rewards have two levels, an instance-level bonus is an affine map of them, which
    normalising by the std undoes.
    """
    return (group_advantages(rewards) - group_advantages(shaped)).abs().max(dim=1).values < 1e-5

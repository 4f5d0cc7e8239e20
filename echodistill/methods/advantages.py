"""Rewards of a group of rollouts to advantages, and the consistency bonus. Pure torch.

Shapes: B prompts, K candidates a prompt.
"""

import torch

REWARD_FLOOR, REWARD_CEILING = -1.0, 2.0


def shape_rewards(rewards: torch.Tensor, consistency: torch.Tensor, bonus: float) -> torch.Tensor:
    """Task-gated consistency bonus: ``clip(r + β·1[r>0]·s, -1, 2)``. Source: arXiv 2605.23954
    [paper], β [code].

    ``rewards`` (B, K); ``consistency`` s in (0, 1], (B, K) or (B, 1), without gradient.
    """
    return (rewards + bonus * (rewards > 0) * consistency).clamp(REWARD_FLOOR, REWARD_CEILING)


def group_advantages(rewards: torch.Tensor) -> torch.Tensor:
    """``(r - mean) / std`` within each group, population std; (B, K) to (B, K). Source: arXiv
    2605.23954 [paper].

    The one definition for ``echodistill`` and ``grpo``; TRL's divides by the sample std + 1e-4.
    K = 1 gives the reward itself; a group whose rewards are all equal gives zeros.
    """
    if rewards.shape[1] == 1:
        return rewards.clone()
    centred = rewards - rewards.mean(dim=1, keepdim=True)
    std = rewards.std(dim=1, keepdim=True, correction=0)
    return torch.where(
        zero_variance(rewards)[:, None], torch.zeros_like(centred), centred / std.clamp_min(1e-12)
    )


def zero_variance(rewards: torch.Tensor) -> torch.Tensor:
    """Groups whose rewards are all equal, (B,) bool: they carry no policy gradient."""
    return (rewards.max(dim=1).values - rewards.min(dim=1).values) < 1e-6


def shaping_has_no_effect(rewards: torch.Tensor, shaped: torch.Tensor) -> torch.Tensor:
    """Groups in which shaping changed no advantage, (B,) bool [ours].

    With rewards of two levels an instance-level bonus is an affine map of the group's rewards,
    which std-normalising undoes.
    """
    return (group_advantages(rewards) - group_advantages(shaped)).abs().max(dim=1).values < 1e-5

"""Audio-aware reward shaping of EchoDistill (arXiv 2605.23954, step 5). Pure torch."""

from dataclasses import dataclass

import torch

from echodistill.methods.advantages import (
    group_advantages,
    shape_rewards,
    shaping_has_no_effect,
    zero_variance,
)


def consistency(loss: torch.Tensor) -> torch.Tensor:
    """Return ``s = exp(-L_distill)``, without gradient."""
    return torch.exp(-loss.detach())


@dataclass(frozen=True)
class ShapedAdvantages:
    """Advantages of the groups of one generation batch, B prompts with K candidates each."""

    advantages: torch.Tensor
    """(B, K) advantages."""
    rewards: torch.Tensor
    """(B, K) shaped rewards."""
    share_without_effect: float
    """Share of the groups with a positive reward in which the bonus changed no advantage."""
    zero_variance_share: float
    """Share of the groups without any policy gradient."""


def shaped_advantages(
    rewards: torch.Tensor, consistency_s: torch.Tensor | None, bonus: float
) -> ShapedAdvantages:
    """Return the advantages of task rewards (B, K), shaped and normalised within each group.

    ``consistency_s`` is (B, K) or (B, 1), or ``None`` for no shaping.
    """
    shaped = rewards if consistency_s is None else shape_rewards(rewards, consistency_s, bonus)
    rewarded = (rewards > 0).any(dim=1)
    without_effect = shaping_has_no_effect(rewards, shaped)[rewarded]
    share = float(without_effect.float().mean()) if len(without_effect) else 1.0
    return ShapedAdvantages(
        advantages=group_advantages(shaped),
        rewards=shaped,
        share_without_effect=share,
        zero_variance_share=float(zero_variance(shaped).float().mean()),
    )

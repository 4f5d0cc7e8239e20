"""EchoDistill (arXiv 2605.23954): a teacher given the clean clip guides a student given the noisy
one.

How this differs from the paper and its released code:
1. The distillation KL is aligned by response offset, so clips and prompts of different length work;
   the code needs equal lengths.
2. It is masked to response tokens; the code takes the shaping KL unmasked over prompt and audio
   placeholders.
3. ``shaping: candidate`` is a variant of ours: the consistency of each candidate's own tokens, not
   one number a prompt.
4. The ratio has a dual clip, on by default; see ``ratio.policy_term``.
5. The KL's direction is a parameter. Forward (teacher‖student) is what the code computes, although
   its docstring says reverse.
6. A token's divergence may be taken over the teacher's top-k and a tail bucket.
7. The cached reference is of the clip as it is stored; where a mix had to be scaled to stay below
   full scale, the student hears it that much quieter. The teacher that scores the student's samples
   receives the clip scaled alike.
"""

from dataclasses import dataclass

import torch

from echodistill.objectives.advantages import (
    group_advantages,
    shape_rewards,
    shaping_has_no_effect,
    zero_variance,
)
from echodistill.objectives.divergences import divergence, sequence_mean


def distill_loss(
    kind: str, teacher_log: torch.Tensor, student_log: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    """``L_distill`` of each row: mean divergence over the teacher's response tokens.

    ``teacher_log`` and ``student_log`` (B, T, buckets) log-probabilities, ``mask`` (B, T); gives
    (B,).
    """
    return sequence_mean(divergence(kind, teacher_log, student_log), mask)


def consistency(loss: torch.Tensor) -> torch.Tensor:
    """``s = exp(-L_distill)``, without gradient."""
    return torch.exp(-loss.detach())


@dataclass(frozen=True)
class ShapedAdvantages:
    """What the groups of one generation batch learn from; B prompts, K candidates."""

    advantages: torch.Tensor
    """(B, K)."""
    rewards: torch.Tensor
    """Shaped, (B, K)."""
    inert_share: float
    """Share of groups with a positive reward in which the bonus changed nothing."""
    zero_variance_share: float
    """Share of groups without any policy gradient."""


def shaped_advantages(
    rewards: torch.Tensor, consistency_s: torch.Tensor | None, bonus: float
) -> ShapedAdvantages:
    """Shape task rewards (B, K) with ``consistency_s`` (B, K) or (B, 1), ``None`` for no shaping,
    and normalise by group.
    """
    shaped = rewards if consistency_s is None else shape_rewards(rewards, consistency_s, bonus)
    rewarded = (rewards > 0).any(dim=1)
    groups_without_effect = shaping_has_no_effect(rewards, shaped)[rewarded]
    return ShapedAdvantages(
        advantages=group_advantages(shaped),
        rewards=shaped,
        inert_share=float(groups_without_effect.float().mean())
        if len(groups_without_effect)
        else 1.0,
        zero_variance_share=float(zero_variance(shaped).float().mean()),
    )

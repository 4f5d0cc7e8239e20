"""The clipped policy term. Pure torch.

Shapes: N candidates, which may belong to different prompts.
"""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class PolicyTerm:
    """The policy loss and the shares of candidates that were clipped."""

    loss: torch.Tensor
    """Scalar policy loss, a mean over the candidates."""
    clip_share: torch.Tensor
    """Share of the given candidates whose gradient the ratio clip removed."""
    dual_clip_share: torch.Tensor
    """Share of the given candidates whose gradient the dual clip removed."""
    ratio_mean: torch.Tensor


def policy_term(
    log_prob: torch.Tensor,
    reference_log_prob: torch.Tensor,
    advantages: torch.Tensor,
    clip: float,
    dual_clip: float,
) -> PolicyTerm:
    """Return the policy loss ``-mean min(ρA, clip(ρ, 1-ε, 1+ε)A)`` with ``ρ = exp(ℓ_θ - sg
    ℓ_ref)``; all inputs are (N,).

    ``log_prob`` is the student's mean token log-probability of its own sample on the noisy clip,
    ``reference_log_prob`` is the clean teacher's of the same sample. Source: arXiv 2605.23954
    [paper+code].

    The dual clip [ours] is needed because ρ is unbounded against the clean teacher, which gives a
    noisy student's wrong sample almost no probability. For A < 0 the surrogate is therefore never
    below ``dual_clip``·A; 0 switches it off.
    """
    # The exponent is at most 20, because exp overflows in float32 beyond about 88 and a clipped
    # candidate would then give 0 * inf = nan.
    ratio = (log_prob - reference_log_prob.detach()).clamp(max=20.0).exp()
    clipped = ratio.clamp(1.0 - clip, 1.0 + clip)
    surrogate = torch.minimum(ratio * advantages, clipped * advantages)
    ratio_clipped = ((advantages > 0) & (ratio > 1.0 + clip)) | (
        (advantages < 0) & (ratio < 1.0 - clip)
    )
    dual_clipped = torch.zeros_like(ratio_clipped)
    if dual_clip > 0:
        dual_clipped = (advantages < 0) & (ratio > dual_clip)
        surrogate = torch.where(
            advantages < 0, torch.maximum(surrogate, dual_clip * advantages), surrogate
        )
    return PolicyTerm(
        loss=-surrogate.mean(),
        clip_share=ratio_clipped.float().mean(),
        dual_clip_share=dual_clipped.float().mean(),
        ratio_mean=ratio.detach().mean(),
    )

"""Divergences between next-token distributions. Pure torch.

Shapes: B rows, T response tokens, V vocabulary, K top tokens. Distributions are log-probabilities
over the last axis. A mask is 1 on response tokens; the caller gives it.
"""

import math

import torch

KINDS = ("forward", "reverse", "jsd")


def kl(p_log: torch.Tensor, q_log: torch.Tensor) -> torch.Tensor:
    """Return ``KL(p‖q)`` in nats over the last axis.

    An entry with ``p = 0`` adds nothing, neither to the value nor to the gradient.
    """
    p = p_log.exp()
    # `where` is applied before the product, because 0 * inf would be nan, also in the gradient.
    return (p * torch.where(p > 0, p_log - q_log, 0.0)).sum(dim=-1)


def jsd(p_log: torch.Tensor, q_log: torch.Tensor) -> torch.Tensor:
    """Return the Jensen–Shannon divergence in nats over the last axis, at most ln 2."""
    # The gradient of logaddexp at two -inf is nan, so the inputs are clamped.
    lowest = torch.finfo(p_log.dtype).min
    middle = torch.logaddexp(p_log.clamp_min(lowest), q_log.clamp_min(lowest)) - math.log(2.0)
    return 0.5 * (kl(p_log, middle) + kl(q_log, middle))


def divergence(kind: str, teacher_log: torch.Tensor, student_log: torch.Tensor) -> torch.Tensor:
    """Return the divergence of each token, (..., V) to (...).

    ``forward`` is KL(teacher‖student), ``reverse`` is KL(student‖teacher), ``jsd`` is symmetric.
    """
    if kind == "forward":
        return kl(teacher_log, student_log)
    if kind == "reverse":
        return kl(student_log, teacher_log)
    if kind == "jsd":
        return jsd(teacher_log, student_log)
    raise ValueError(f"unknown divergence {kind!r}; known: {KINDS}")


def with_tail(log_probs: torch.Tensor, token_ids: torch.Tensor) -> torch.Tensor:
    """Reduce (B, T, V) to the K tokens ``token_ids`` (B, T, K) and one bucket with the mass of all
    others, (B, T, K+1).

    The top-k is not renormalised, so that probability mass which the student puts outside the
    teacher's top-k raises the divergence.
    """
    limits = torch.finfo(log_probs.dtype)
    # The tail is the sum over the other tokens and not 1 minus the top-k: where the top-k holds
    # nearly all mass, float32 would leave no correct digit of that difference, nor of its gradient.
    tail = log_probs.scatter(-1, token_ids, limits.min).logsumexp(dim=-1, keepdim=True)
    return torch.cat(
        [log_probs.gather(-1, token_ids), tail.clamp_min(math.log(limits.tiny))], dim=-1
    )


def sequence_sum(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return the sum over each row's response tokens, (B, T) with mask (B, T) to (B,).

    A row without tokens gives 0. Values at masked positions have no effect, even infinite ones.
    """
    return values.masked_fill(mask == 0, 0.0).sum(dim=1)


def sequence_mean(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return the mean over each row's response tokens, as ``sequence_sum`` returns their sum."""
    return sequence_sum(values, mask) / mask.sum(dim=1).clamp_min(1)


def distill_loss(
    kind: str, teacher_log: torch.Tensor, student_log: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    """Return ``L_distill`` of each row, (B,): the mean divergence over its response tokens.

    ``teacher_log`` and ``student_log`` are (B, T, buckets) log-probabilities, ``mask`` is (B, T).
    """
    return sequence_mean(divergence(kind, teacher_log, student_log), mask)

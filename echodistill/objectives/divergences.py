"""Divergences between next-token distributions. Pure torch.

Shapes: B rows, T response tokens, V vocabulary, K top tokens. Distributions are log-probabilities over the last axis; a mask is 1
on response tokens and never derived here.
"""

import torch

KINDS = ("forward", "reverse", "jsd")


def kl(p_log: torch.Tensor, q_log: torch.Tensor) -> torch.Tensor:
    """``KL(p‖q)`` in nats over the last axis. A bucket with ``p = 0`` adds nothing."""
    p = p_log.exp()
    return torch.where(p > 0, p * (p_log - q_log), torch.zeros_like(p)).sum(dim=-1)


def jsd(p_log: torch.Tensor, q_log: torch.Tensor) -> torch.Tensor:
    """Jensen–Shannon divergence in nats, at most ln 2."""
    middle = torch.logaddexp(p_log, q_log) - torch.log(torch.tensor(2.0, dtype=p_log.dtype, device=p_log.device))
    return 0.5 * (kl(p_log, middle) + kl(q_log, middle))


def divergence(kind: str, teacher_log: torch.Tensor, student_log: torch.Tensor) -> torch.Tensor:
    """Divergence of each token, (..., V) to (...): ``forward`` is KL(teacher‖student), ``reverse`` KL(student‖teacher)."""
    if kind == "forward":
        return kl(teacher_log, student_log)
    if kind == "reverse":
        return kl(student_log, teacher_log)
    if kind == "jsd":
        return jsd(teacher_log, student_log)
    raise ValueError(f"unknown divergence {kind!r}; known: {KINDS}")


def with_tail(log_probs: torch.Tensor, token_ids: torch.Tensor) -> torch.Tensor:
    """Coarsen (B, T, V) to the K tokens ``token_ids`` (B, T, K) and one bucket for the mass of all others: (B, T, K+1).

    The top-k is not renormalised: a student that puts its mass outside the teacher's top-k pays for it.
    """
    top = log_probs.gather(-1, token_ids)
    tail_mass = (1.0 - top.exp().sum(dim=-1, keepdim=True)).clamp_min(torch.finfo(log_probs.dtype).tiny)
    return torch.cat([top, tail_mass.log()], dim=-1)


def sequence_mean(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean over each row's response tokens: (B, T) and mask (B, T) to (B,). A row without tokens gives 0."""
    return (values * mask).sum(dim=1) / mask.sum(dim=1).clamp_min(1)

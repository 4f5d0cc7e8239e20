"""Cross-entropy on given answers, for the SFT baseline and pre-training. Pure torch."""

import torch

from echodistill.methods.divergences import sequence_mean


def token_log_probs(logits: torch.Tensor, token_ids: torch.Tensor) -> torch.Tensor:
    """Return the log-probability of each token, (B, T, V) and (B, T) to (B, T)."""
    return torch.log_softmax(logits, dim=-1).gather(-1, token_ids[..., None])[..., 0]


def cross_entropy(
    logits: torch.Tensor, token_ids: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    """Return the mean negative log-probability of each row's tokens in nats, (B,)."""
    return -sequence_mean(token_log_probs(logits, token_ids), mask)


def token_entropy(logits: torch.Tensor) -> torch.Tensor:
    """Return the entropy of each position's distribution in nats, (B, T, V) to (B, T)."""
    log_probs = torch.log_softmax(logits, dim=-1)
    probs = log_probs.exp()
    return -(probs * torch.where(probs > 0, log_probs, 0.0)).sum(dim=-1)

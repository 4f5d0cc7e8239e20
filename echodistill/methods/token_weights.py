"""The weights of a response's tokens in CORD (arXiv 2601.16547). Pure torch.

Shapes: B rows, T response tokens. A mask is 1 on response tokens, which need not begin at the first
position. Weights have no gradient, and are 0 where the mask is.
"""

import torch

from echodistill.methods.divergences import sequence_sum


def critical_weights(
    divergence: torch.Tensor, mask: torch.Tensor, count: int, weight: float
) -> torch.Tensor:
    """Return ``w^KL``, (B, T): ``weight`` on the ``count`` tokens of each row with the largest
    divergence (B, T), 1 on the others.

    A response of ``count`` tokens or fewer has ``weight`` on all. Of tokens with equal divergences
    the earlier ones come first [ours]. Source: [paper].
    """
    ranked = divergence.masked_fill(mask == 0, -torch.inf)
    order = ranked.argsort(dim=1, descending=True, stable=True)
    rank = order.argsort(dim=1)
    weights = torch.where(rank < count, weight, 1.0).to(divergence.dtype)
    return weights.masked_fill(mask == 0, 0.0)


def position_weights(mask: torch.Tensor, first: float, dtype: torch.dtype) -> torch.Tensor:
    """Return ``w^pos = β - (β - 1)(t - 1)/(T - 1)`` with β = ``first``, (B, T).

    T is the row's number of tokens and t the place of a token among them, from 1. The last token
    has 1; a single token has β. Source: [paper].
    """
    place = mask.cumsum(dim=1) - 1
    last = (mask.sum(dim=1, keepdim=True) - 1).clamp_min(1)
    weights = first - (first - 1.0) * place.to(dtype) / last.to(dtype)
    return weights.masked_fill(mask == 0, 0.0)


def weighted_sum(
    divergence: torch.Tensor, mask: torch.Tensor, count: int, critical: float, first: float
) -> torch.Tensor:
    """Return ``sum_t w_t^KL w_t^pos D_t`` of each row's divergences D (B, T), (B,). Source:
    [paper].
    """
    weights = critical_weights(divergence, mask, count, critical)
    weights = weights * position_weights(mask, first, divergence.dtype)
    return sequence_sum(weights * divergence, mask)

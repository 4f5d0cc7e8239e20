"""Responses that a student learns from, and the student's divergence from the teacher on them. Pure
torch.

Shapes: B rows, T response tokens, V vocabulary, K top tokens.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from echodistill.methods.divergences import distill_loss, with_tail

if TYPE_CHECKING:
    from echodistill.methods.base import Forward
    from echodistill.models.base import PromptBatch


@dataclass(frozen=True)
class Targets:
    """Responses aligned by their first token and right-padded to T tokens."""

    token_ids: torch.Tensor
    """(B, T) int64 token ids."""
    mask: torch.Tensor
    """(B, T) int64, 1 on response tokens."""
    log_probs: torch.Tensor | None = None
    """(B, T, buckets) float32: the teacher's log-probabilities, zero where the mask is 0; ``None``
    for gold answers. The buckets are the whole vocabulary, or the top tokens and one for all
    others.
    """
    top_ids: torch.Tensor | None = None
    """(B, T, K) int64 ids of the top tokens; ``None`` where the whole vocabulary was kept."""

    def take(self, rows: torch.Tensor) -> "Targets":
        """Return the rows that ``rows`` (B,) bool selects."""
        return self._each(lambda tensor: tensor[rows])

    def to(self, device: torch.device) -> "Targets":
        """Return the targets on a device."""
        return self._each(lambda tensor: tensor.to(device))

    def repeat(self, times: int) -> "Targets":
        """Return the targets with each row repeated ``times`` times, next to each other."""
        return self._each(lambda tensor: tensor.repeat_interleave(times, dim=0))

    def _each(self, change: Callable[[torch.Tensor], torch.Tensor]) -> "Targets":
        return Targets(
            change(self.token_ids),
            change(self.mask),
            None if self.log_probs is None else change(self.log_probs),
            None if self.top_ids is None else change(self.top_ids),
        )


def target_divergence(
    kind: str, student: "Forward", prompts: "PromptBatch", targets: Targets
) -> torch.Tensor:
    """Return ``L_distill`` of each row on the targets, (B,). Source: arXiv 2605.23954, step 4
    [paper+code].

    Raise ``ValueError`` where there is no row or no teacher's distribution.
    """
    logits = student.logits(prompts, targets.token_ids, targets.mask)
    if logits is None or targets.log_probs is None:
        raise ValueError("a divergence needs rows, and a teacher's distribution along them")
    log_probs = logits.log_softmax(dim=-1)
    if targets.top_ids is not None:
        log_probs = with_tail(log_probs, targets.top_ids)
    return distill_loss(kind, targets.log_probs, log_probs, targets.mask)

"""Compute teacher-forced logits of given responses.

Shapes: B rows, P prompt tokens (left-padded), T response tokens (right-padded), V vocabulary.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import torch

from echodistill.models.base import PromptBatch


class ScoredFamily(Protocol):
    """The members of ``AudioFamily`` that scoring needs; a language model without audio has them
    too.
    """

    @property
    def audio_token_id(self) -> int:
        """Id of the placeholder of an audio token."""
        ...

    @property
    def never_sample(self) -> list[int]:
        """Ids of all tokens that no response may have."""
        ...

    def forward_inputs(
        self, batch: PromptBatch, response_ids: torch.Tensor, response_mask: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Return the arguments of the model's forward pass; see ``AudioFamily``."""
        ...


def score(
    model: Any,
    batch: PromptBatch,
    response_ids: torch.Tensor,
    response_mask: torch.Tensor,
    family: ScoredFamily,
) -> torch.Tensor:
    """Return teacher-forced logits (B, T, V) float32: position t predicts response token t, given
    the batch's audio.

    ``response_ids`` and ``response_mask`` are (B, T) int64. The logits of ``never_sample`` are
    ``-inf``, so that the probabilities equal those that responses are sampled with. The model's own
    forward is called, so adapters, DDP and autocast apply.
    """
    inputs = family.forward_inputs(batch, response_ids, response_mask)
    logits = model(**inputs, use_cache=False).logits
    width = response_ids.shape[1]
    return without(logits[:, -width - 1 : -1].float(), family.never_sample)


def without(logits: torch.Tensor, token_ids: Sequence[int]) -> torch.Tensor:
    """Return ``logits`` (..., V) with those of ``token_ids`` at ``-inf``."""
    forbidden = torch.zeros(logits.shape[-1], dtype=torch.bool, device=logits.device)
    forbidden[list(token_ids)] = True
    return logits.masked_fill(forbidden, -torch.inf)

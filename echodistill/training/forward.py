"""Score responses for a method with a model: the student, or its teacher."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch

from echodistill.methods.base import Forward
from echodistill.models.base import PromptBatch
from echodistill.models.hidden_states import HiddenStates, hidden_states
from echodistill.models.scoring import ScoredFamily, score
from echodistill.training.distributed import processes


class ModelForward(Forward):
    """An implementation of ``methods.base.Forward`` for a model that a context manager yields."""

    def __init__(
        self,
        opened: Callable[[], AbstractContextManager[Any]],
        family: ScoredFamily,
        temperature: float,
        progress: float,
    ) -> None:
        """Store the model's context manager ``opened``, which is entered for each call.

        A teacher may be the student with its adapter switched off during the call.
        """
        self._opened, self._family = opened, family
        self.temperature, self.progress = temperature, progress
        self._unused: torch.Tensor | None = None

    def logits(
        self,
        prompts: PromptBatch,
        ids: torch.Tensor,
        mask: torch.Tensor,
        chosen: torch.Tensor | None = None,
    ) -> torch.Tensor | None:
        """Return the logits of the chosen rows, or ``None`` where no row is chosen; see
        ``methods.base.Forward``.

        Where several processes train together, one row is scored even if none is chosen here: other
        processes may have chosen rows, and all must call a sharded model equally often.
        """
        if chosen is None:
            return self._call(prompts, ids, mask)
        if chosen.any():
            return self._call(prompts.take(chosen), ids[chosen], mask[chosen])
        if processes() > 1:
            self._score_one(prompts, ids, mask)
        return None

    def states(self, prompts: PromptBatch, ids: torch.Tensor, mask: torch.Tensor) -> HiddenStates:
        """Return the hidden states of all layers along responses; see ``methods.base.Forward``."""
        with self._opened() as model:
            return hidden_states(model, prompts, ids, mask, self._family)

    def with_gradient(
        self, loss: torch.Tensor, prompts: PromptBatch, ids: torch.Tensor, mask: torch.Tensor
    ) -> torch.Tensor:
        """Return ``loss`` with a gradient that a backward pass can follow through every call of the
        model.

        ``ids`` and ``mask`` (B, T) are responses to the B prompts. One of them is scored where
        nothing else was.
        """
        if self._unused is None and not loss.requires_grad:
            self._score_one(prompts, ids, mask)
        return loss if self._unused is None else loss + self._unused

    def _score_one(self, prompts: PromptBatch, ids: torch.Tensor, mask: torch.Tensor) -> None:
        one = torch.arange(len(ids), device=ids.device) == 0
        logits = self._call(prompts.take(one), ids[one], mask[one])
        # Logits of tokens that are never sampled are infinite, and 0 times infinity is NaN.
        unused = 0.0 * logits.masked_fill(logits.isinf(), 0.0).sum()
        self._unused = unused if self._unused is None else self._unused + unused

    def _call(self, prompts: PromptBatch, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        with self._opened() as model:
            return score(model, prompts, ids, mask, self._family)

"""A model that scores responses for a method: the student, or its teacher."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch

from echodistill.models.base import AudioFamily, PromptBatch
from echodistill.models.scoring import score
from echodistill.training.distributed import processes


class ModelForward:
    """``methods.base.Forward`` over a model that a context manager gives."""

    def __init__(
        self,
        opened: Callable[[], AbstractContextManager[Any]],
        family: AudioFamily,
        temperature: float,
        progress: float,
    ) -> None:
        """``opened`` gives the model for the time of a call: a teacher may be the student with its
        adapter switched off.
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
        """Return the logits of the chosen rows, or ``None``; see ``methods.base.Forward``.

        Where several processes train together, one row is scored although none is chosen here:
        others may have some, and a model in shards must be called by all equally often.
        """
        if chosen is None:
            return self._call(prompts, ids, mask)
        if chosen.any():
            return self._call(prompts.take(chosen), ids[chosen], mask[chosen])
        if processes() > 1:
            self._score_one(prompts, ids, mask)
        return None

    def with_gradient(
        self, loss: torch.Tensor, prompts: PromptBatch, ids: torch.Tensor, mask: torch.Tensor
    ) -> torch.Tensor:
        """Return ``loss`` such that a backward pass has something to go through, and goes through
        every call.

        ``ids`` and ``mask`` (B, T) are responses to the B prompts, scored where nothing else was.
        """
        if self._unused is None and not loss.requires_grad:
            self._score_one(prompts, ids, mask)
        return loss if self._unused is None else loss + self._unused

    def _score_one(self, prompts: PromptBatch, ids: torch.Tensor, mask: torch.Tensor) -> None:
        one = torch.arange(len(ids), device=ids.device) == 0
        logits = self._call(prompts.take(one), ids[one], mask[one])
        # those of tokens that are never sampled are infinite, and 0 times infinity is no number
        unused = 0.0 * logits.masked_fill(logits.isinf(), 0.0).sum()
        self._unused = unused if self._unused is None else self._unused + unused

    def _call(self, prompts: PromptBatch, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        with self._opened() as model:
            return score(model, prompts, ids, mask, self._family)

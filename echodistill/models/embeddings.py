"""Embed sentences with an encoder of transformers, whose token vectors are averaged."""

from collections.abc import Sequence

import echodistill.models.torchaudio_guard  # noqa: F401

import torch
from transformers import AutoModel, AutoTokenizer, logging

from echodistill.core.errors import UserError
from echodistill.models.faults import first_line
from echodistill.models.names import path_fault
from echodistill.models.precision import chosen_device

LONGEST_TOKENS = 256
"""Number of tokens of a sentence that are read; the rest is cut off."""


class SentenceEncoder:
    """An encoder with mean pooling, as most models for sentence embeddings are made."""

    def __init__(self, name: str) -> None:
        """Load the model of a local folder or hub id, from safetensors only.

        Raise ``UserError`` where that is impossible.
        """
        if fault := path_fault(name):
            raise UserError(f"sentence model {name} cannot be loaded: {fault}")
        logging.disable_progress_bar()
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(name)
            model = AutoModel.from_pretrained(name, use_safetensors=True, dtype=torch.float32)
        except Exception as error:  # The errors of transformers and safetensors share no class.
            raise UserError(
                f"sentence model {name} cannot be loaded: {first_line(error)}. Give a local folder"
                " with safetensors or a hub id"
            ) from error
        self._model = model.to(chosen_device("auto")).eval().requires_grad_(False)

    @torch.inference_mode()
    def __call__(self, sentences: Sequence[str]) -> torch.Tensor:
        """Return the embeddings of N sentences with length 1, (N, D) float32 on the CPU."""
        encoded = self._tokenizer(
            list(sentences),
            padding=True,
            truncation=True,
            max_length=LONGEST_TOKENS,
            return_tensors="pt",
        ).to(self._model.device)
        vectors = self._model(**encoded).last_hidden_state
        mask = encoded["attention_mask"][..., None].to(vectors.dtype)
        mean = (vectors * mask).sum(dim=1) / mask.sum(dim=1).clamp_min(1.0)
        return torch.nn.functional.normalize(mean, dim=-1).cpu()

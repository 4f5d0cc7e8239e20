"""Take the hidden states of each layer of a language model along given responses, and turn them
into distributions by the logit lens.

Shapes: B rows, P prompt tokens (left-padded), T response tokens (right-padded), D width, V
vocabulary.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from echodistill.core.errors import UserError
from echodistill.models.base import PromptBatch
from echodistill.models.scoring import ScoredFamily, without


@dataclass(frozen=True)
class HiddenStates:
    """The hidden states of a model's layers, the first layer first; each is the layer's output
    before the final norm.
    """

    response: tuple[torch.Tensor, ...]
    """States that predict the response tokens, (B, T, D) for each layer."""
    prompt: tuple[torch.Tensor, ...]
    """States at the prompt tokens, (B, P, D) for each layer."""
    audio_mask: torch.Tensor
    """(B, P) bool, true at the audio tokens of the prompts."""
    lens: Callable[[torch.Tensor], torch.Tensor]
    """The logit lens: states (..., D) of any layer to logits (..., V) float32 by the model's final
    norm and head, with ``-inf`` for tokens that are never sampled. Of the last layer's states these
    are the model's own logits.
    """


@dataclass(frozen=True)
class _Decoder:
    layers: torch.nn.ModuleList
    norm: torch.nn.Module
    head: torch.nn.Module


def hidden_states(
    model: Any, batch: PromptBatch, ids: torch.Tensor, mask: torch.Tensor, family: ScoredFamily
) -> HiddenStates:
    """Return the hidden states along responses ``ids`` with ``mask``, (B, T) each.

    The model's own forward is called, so adapters, DDP and autocast apply. Raise
    ``UserError`` where the model's layers, final norm or head cannot be found.
    """
    decoder = _decoder_of(model)
    with _outputs_of(decoder.layers) as outputs:
        model(**family.forward_inputs(batch, ids, mask), use_cache=False)
    width = ids.shape[1]
    return HiddenStates(
        response=tuple(each[:, -width - 1 : -1] for each in outputs),
        prompt=tuple(each[:, : batch.input_ids.shape[1]] for each in outputs),
        audio_mask=batch.input_ids == family.audio_token_id,
        lens=partial(_lens, decoder, family.never_sample),
    )


def _lens(decoder: _Decoder, never_sample: list[int], states: torch.Tensor) -> torch.Tensor:
    dtype = next(decoder.head.parameters()).dtype
    return without(decoder.head(decoder.norm(states.to(dtype))).float(), never_sample)


@contextmanager
def _outputs_of(layers: torch.nn.ModuleList) -> Iterator[list[torch.Tensor]]:
    """Yield a list to which each layer appends its output, (B, P + T, D), while the block runs."""
    outputs: list[torch.Tensor] = []

    def keep(_module: Any, _inputs: Any, output: Any) -> None:
        outputs.append(output[0] if isinstance(output, tuple) else output)

    hooks = [layer.register_forward_hook(keep) for layer in layers]
    try:
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()


def _decoder_of(model: Any) -> _Decoder:
    """Return the layers, the final norm and the head of the language model within ``model``."""
    while hasattr(model, "module"):  # DDP
        model = model.module
    head, inner = model.get_output_embeddings(), model.get_decoder()
    while not hasattr(inner, "layers") and hasattr(inner, "get_decoder"):
        following = inner.get_decoder()
        if following is inner:
            break
        head, inner = head or inner.get_output_embeddings(), following
    if head is None or not hasattr(inner, "layers") or not hasattr(inner, "norm"):
        raise UserError(
            f"the layers, the final norm and the head of {type(model).__name__} cannot be found:"
            " choose a method that needs no hidden states, or another base.model"
        )
    return _Decoder(inner.layers, inner.norm, head)

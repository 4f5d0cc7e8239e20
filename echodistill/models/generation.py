"""Generate responses. Shapes: B rows, P prompt tokens (left-padded), T response tokens."""

from typing import Any

import torch

from echodistill.models.audio_llm import AudioLLM, end_ids
from echodistill.models.base import PromptBatch
from echodistill.models.response_limit import check_context


def greedy_inputs(llm: AudioLLM, batch: PromptBatch, max_new_tokens: int) -> dict[str, Any]:
    """Return the arguments of ``generate`` for greedy decoding that never emits an audio token, for
    a batch on the model's device.
    """
    return {
        "input_ids": batch.input_ids,
        "attention_mask": batch.attention_mask,
        **llm.family.audio_inputs(batch),
        "max_new_tokens": max_new_tokens,
        "do_sample": False,
        "suppress_tokens": llm.family.never_sample,
        "pad_token_id": llm.tokenizer.pad_token_id,
        "eos_token_id": end_ids(llm),
    }


@torch.inference_mode()
def generate(llm: AudioLLM, batch: PromptBatch, max_new_tokens: int) -> list[list[int]]:
    """Return greedy responses as token ids, the end-of-turn token included. A response never has an
    audio token.
    """
    check_context(llm.model, batch.input_ids.shape[1], max_new_tokens)
    output = llm.model.generate(**greedy_inputs(llm, batch.to(llm.device), max_new_tokens))
    return up_to_end(llm, output[:, batch.input_ids.shape[1] :])


@torch.inference_mode()
def sample(
    llm: AudioLLM, batch: PromptBatch, max_new_tokens: int, temperature: float
) -> list[list[int]]:
    """Return one sampled response to each row as token ids, as rollouts are sampled. torch's global
    random state determines them.
    """
    check_context(llm.model, batch.input_ids.shape[1], max_new_tokens)
    options = greedy_inputs(llm, batch.to(llm.device), max_new_tokens) | {
        "do_sample": True,
        "temperature": temperature,
        "top_k": 0,
    }
    output = llm.model.generate(**options)
    return up_to_end(llm, output[:, batch.input_ids.shape[1] :])


def up_to_end(llm: AudioLLM, responses: torch.Tensor) -> list[list[int]]:
    """Return each row of generated ids (B, T) cut behind its first end token."""
    ends = set(end_ids(llm))
    rows = []
    for row in responses.tolist():
        stop = next((index + 1 for index, token in enumerate(row) if token in ends), len(row))
        rows.append(row[:stop])
    return rows

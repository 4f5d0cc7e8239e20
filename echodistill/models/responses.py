"""Compute a model's greedy response to a question in evaluation, and the log-probability of each of
the offered choices.

Forced choice takes the offered text that the model finds most likely, whatever it would have
written: it measures understanding apart from following the format. Shapes: B prompts, P prompt
tokens, N choices of all prompts together, T tokens of the longest choice (its end token included),
V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from echodistill.models.audio_llm import AudioLLM, encode, end_ids
from echodistill.models.base import Prompt, PromptBatch, pad_rows
from echodistill.models.generation import greedy_inputs, up_to_end
from echodistill.models.prompts import gold_response
from echodistill.models.response_limit import check_context
from echodistill.models.scoring import score, without


@dataclass(frozen=True)
class Response:
    """One prompt's greedy response and the scores of its choices."""

    token_ids: list[int]
    """Token ids of the response, the end-of-turn token included."""
    truncated: bool
    """Whether the response was cut at the length limit."""
    choice_log_probs: tuple[float, ...]
    """Log-probability in nats of each choice's text with its end token; empty if there are no
    choices.
    """
    choice_tokens: tuple[int, ...]
    """Number of tokens of each choice, its end token included."""


@torch.inference_mode()
def respond(llm: AudioLLM, prompts: Sequence[Prompt], max_new_tokens: int) -> list[Response]:
    """Return the greedy response to each prompt, and the log-probability of each of its choices.

    The prompt is computed once: the choices are scored with the keys and values of the prompt that
    generation has cached.
    """
    batch = encode(llm, prompts).to(llm.device)
    check_context(llm.model, batch.input_ids.shape[1], max_new_tokens)
    output = llm.model.generate(
        **greedy_inputs(llm, batch, max_new_tokens),
        return_dict_in_generate=True,
        output_logits=True,
    )
    rows = up_to_end(llm, output.sequences[:, batch.input_ids.shape[1] :])
    ends = set(end_ids(llm))
    choices = [
        choice_ids(llm, [gold_response(choice, prompt.style) for choice in prompt.choices])
        for prompt in prompts
    ]
    scores = _choice_log_probs(llm, batch, output.past_key_values, output.logits[0], choices)
    return [
        Response(row, row[-1] not in ends, tuple(scored), tuple(map(len, ids)))
        for row, scored, ids in zip(rows, scores, choices, strict=True)
    ]


def choice_ids(llm: AudioLLM, choices: Sequence[str]) -> list[list[int]]:
    """Return the token ids of each choice with the end token behind it, as gold answers are trained
    on.
    """
    return [
        [*llm.tokenizer(choice, add_special_tokens=False)["input_ids"], llm.tokenizer.eos_token_id]
        for choice in choices
    ]


def _choice_log_probs(
    llm: AudioLLM,
    batch: PromptBatch,
    cache: Any,
    first_logits: torch.Tensor,
    choices: Sequence[Sequence[Sequence[int]]],
) -> list[list[float]]:
    """Return the log-probability in nats of each choice of each prompt.

    ``cache`` holds the keys and values of the prompt and of the tokens generated behind it,
    ``first_logits`` (B, V) the logits of the first response token.
    """
    flat = [ids for of_prompt in choices for ids in of_prompt]
    if not flat:
        return [[] for _ in choices]
    prompt_of = torch.tensor(
        [index for index, of_prompt in enumerate(choices) for _ in of_prompt], device=llm.device
    )
    ids, mask = (
        tensor.to(llm.device) for tensor in pad_rows(flat, llm.tokenizer.pad_token_id, left=False)
    )
    if cache.is_croppable:
        cache.crop(batch.input_ids.shape[1] - cache.get_seq_length())
        cache.batch_select_indices(prompt_of)
        inputs = llm.family.forward_inputs(
            batch.without_audio().take(prompt_of), ids[:, :-1], mask[:, :-1]
        )
        later = llm.model(
            input_ids=ids[:, :-1],
            attention_mask=inputs["attention_mask"],
            position_ids=inputs["position_ids"][..., batch.input_ids.shape[1] :],
            past_key_values=cache,
            use_cache=True,
        )
        logits = without(
            torch.cat([first_logits[prompt_of][:, None], later.logits], dim=1).float(),
            llm.never_sample,
        )
    else:
        logits = score(llm.model, batch.take(prompt_of), ids, mask, llm.family)
    log_probs = torch.log_softmax(logits, dim=-1).gather(-1, ids[..., None])[..., 0]
    totals = log_probs.double().masked_fill(mask == 0, 0.0).sum(dim=1).tolist()
    counts = [len(of_prompt) for of_prompt in choices]
    return [totals[sum(counts[:index]) : sum(counts[: index + 1])] for index in range(len(counts))]

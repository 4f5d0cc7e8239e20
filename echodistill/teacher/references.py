"""The frozen teacher hears the clean clip, answers greedily, and its distribution along that answer is kept.

Source: arXiv 2605.23954, step 1 (references) and step 4 (the distribution the student is drawn to).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from echodistill.atomic import atomic_path
from echodistill.batches import batches
from echodistill.errors import UserError
from echodistill.models.audio_llm import AudioLLM, Prompt, encode, generate, pad_rows, score
from echodistill.objectives.divergences import with_tail
from echodistill.teacher.cache import ReferenceCache, TeacherView


@dataclass(frozen=True)
class ReferenceRequest:
    """A training question, ready to be put to the teacher."""

    key: str
    prompt: Prompt


def teach(llm: AudioLLM, prompts: Sequence[Prompt], max_new_tokens: int, top_k: int, full_up_to: int) -> list[TeacherView]:
    """Greedy responses to clean clips, and the teacher-forced distribution along each."""
    batch = encode(llm, prompts)
    responses = generate(llm, batch, max_new_tokens)
    ids, mask = pad_rows(responses, llm.tokenizer.pad_token_id, left=False)
    with torch.inference_mode():
        log_probs = torch.log_softmax(
            score(llm.model, batch.to(llm.device), ids.to(llm.device), mask.to(llm.device), llm.never_sample), dim=-1
        ).cpu()
    return [_view(row, log_probs[index, : len(row)], top_k, full_up_to) for index, row in enumerate(responses)]


def _view(response: Sequence[int], log_probs: torch.Tensor, top_k: int, full_up_to: int) -> TeacherView:
    token_ids = torch.tensor(response, dtype=torch.int64)
    if log_probs.shape[-1] <= full_up_to:
        return TeacherView(token_ids, log_probs.clone(), None)
    top_ids = log_probs.topk(min(top_k, log_probs.shape[-1] - 1), dim=-1).indices
    return TeacherView(token_ids, with_tail(log_probs, top_ids), top_ids)


def collect(
    cache: ReferenceCache,
    requests: Sequence[ReferenceRequest],
    ask: Callable[[Sequence[Prompt]], list[TeacherView]],
    batch: int,
    progress: Callable[[int], None],
) -> dict[str, TeacherView]:
    """The view of every request by key: from the cache where it is there, else asked for in batches and put there at once.

    ``ask`` is not called when all are cached. ``progress`` is told how many more are done.
    """
    views = {request.key: view for request in requests if (view := cache.get(request.key)) is not None}
    missing = list({request.key: request for request in requests if request.key not in views}.values())
    progress(len(requests) - len(missing))
    for part in batches(missing, batch):
        for request, view in zip(part, ask([request.prompt for request in part]), strict=True):
            cache.put(request.key, view)
            views[request.key] = view
        progress(len(part))
    return views


def save_views(path: Path, views: dict[str, TeacherView]) -> None:
    """All views in one safetensors file, named ``<key>/<tensor>``."""
    tensors = {}
    for key in sorted(views):
        view = views[key]
        tensors[f"{key}/token_ids"], tensors[f"{key}/log_probs"] = view.token_ids, view.log_probs
        if view.top_ids is not None:
            tensors[f"{key}/top_ids"] = view.top_ids
    with atomic_path(path) as temporary:
        temporary.write_bytes(save(tensors))  # safetensors' own writer raises no OSError for a full disk


def load_views(path: Path) -> dict[str, TeacherView]:
    """What ``save_views`` wrote. Raises ``UserError`` when the file is missing or damaged."""
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} is missing or damaged ({error}): delete it and run `echodistill run`") from error
    keys = sorted({name.split("/")[0] for name in tensors})
    return {key: TeacherView(tensors[f"{key}/token_ids"], tensors[f"{key}/log_probs"], tensors.get(f"{key}/top_ids")) for key in keys}

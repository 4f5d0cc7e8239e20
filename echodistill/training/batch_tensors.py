"""Convert a ``Batch`` to the dictionary of tensors that TRL shuffles and passes from generation to
loss, and back.
"""

from collections.abc import Mapping

import torch

from echodistill.methods.base import Batch
from echodistill.methods.targets import Targets
from echodistill.models.base import PromptBatch

FEATURE, TARGET, SCORE = "feature/", "target/", "score/"
"""Prefixes of the names of audio features, of targets and of a method's scores."""


def to_tensors(batch: Batch) -> dict[str, torch.Tensor]:
    """Return the tensors of ``batch`` by name; those that TRL's own loss reads have TRL's names."""
    tensors = {
        "prompt_ids": batch.prompts.input_ids,
        "prompt_mask": batch.prompts.attention_mask,
        "first_of_group": batch.first_of_group,
        "completion_ids": batch.completion_ids,
        "completion_mask": batch.completion_mask,
        "advantages": batch.advantages,
    }
    tensors |= {FEATURE + name: tensor for name, tensor in batch.prompts.features.items()}
    if batch.targets is not None:
        tensors |= {TARGET + name: tensor for name, tensor in vars(batch.targets).items()}
    tensors |= {SCORE + name: tensor for name, tensor in batch.scores.items()}
    return {name: tensor for name, tensor in tensors.items() if tensor is not None}


def from_tensors(tensors: Mapping[str, torch.Tensor], group_size: int) -> Batch:
    """Return the batch that ``to_tensors`` converted to these tensors; its rows may be in any
    order.
    """
    targets = _with_prefix(tensors, TARGET)
    features = _with_prefix(tensors, FEATURE)
    return Batch(
        prompts=PromptBatch(tensors["prompt_ids"], tensors["prompt_mask"], features),
        group_size=group_size,
        first_of_group=tensors["first_of_group"],
        completion_ids=tensors.get("completion_ids"),
        completion_mask=tensors.get("completion_mask"),
        targets=Targets(**targets) if targets else None,
        advantages=tensors.get("advantages"),
        scores=_with_prefix(tensors, SCORE),
    )


def _with_prefix(tensors: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }

"""Compare the distributions of two models' hidden states. Pure torch.

Shapes: B rows, T response tokens, P prompt tokens, N tokens, V vocabulary.
"""

import torch

from echodistill.methods.divergences import jsd


def common_jsd(teacher: torch.Tensor, student: torch.Tensor) -> torch.Tensor:
    """Return the Jensen-Shannon divergence in nats of two models' logits, (..., V) to (...).

    Vocabularies of one family may be padded to different sizes: both are cut to the ids that they
    have in common, and each distribution is normalised over these [ours].
    """
    size = min(teacher.shape[-1], student.shape[-1])
    return jsd(
        teacher[..., :size].log_softmax(dim=-1),
        student[..., :size].log_softmax(dim=-1),
    )


def token_mean(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return the mean of each row over the tokens of ``mask`` (B, P) bool, (B,).

    ``values`` (N,) has one entry for each true entry of the mask, row after row. A row without any
    gives 0.
    """
    spread = values.new_zeros(mask.shape).masked_scatter(mask, values)
    return spread.sum(dim=1) / mask.sum(dim=1).clamp_min(1)

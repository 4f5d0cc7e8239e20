"""Loss terms on the student's own samples, with a teacher's scores of them. Pure torch.

Shapes: B samples, T response tokens, V vocabulary. All probabilities are those that the samples
were drawn with, of ``logits / temperature``. Each batch of samples is used for one update, so the
ratio to the policy that drew them is 1, and a clip of that ratio would never act [ours].
"""

from typing import NamedTuple

import torch

from echodistill.methods.base import Batch, Context, Forward, require
from echodistill.methods.divergences import distill_loss, sequence_mean
from echodistill.methods.supervised import token_log_probs

TEACHER = "teacher_log_probs"
"""Key of the scores that ``teacher_scores`` returns."""


class ChosenSamples(NamedTuple):
    """The student's logits along some of its samples, N rows."""

    logits: torch.Tensor
    """(N, T, V) float32."""
    ids: torch.Tensor
    """(N, T) int64."""
    mask: torch.Tensor
    """(N, T) int64, 1 on the tokens of the samples."""


def chosen_samples(batch: Batch, student: Forward, chosen: torch.Tensor) -> ChosenSamples | None:
    """Return the samples that ``chosen`` (B,) bool selects with the student's logits, or ``None``
    where it selects none. The model is not run on the others, which add neither loss nor gradient.
    """
    ids, mask = batch.samples
    logits = student.logits(batch.prompts, ids, mask, chosen)
    return None if logits is None else ChosenSamples(logits, ids[chosen], mask[chosen])


def sample_log_probs(
    logits: torch.Tensor, ids: torch.Tensor, mask: torch.Tensor, temperature: float
) -> torch.Tensor:
    """Return the log-probability of each sampled token, (B, T, V) and (B, T) to (B, T).

    It is 0 where the mask is 0: the padding may be a token that is never sampled, with ``-inf``.
    """
    return token_log_probs(logits / temperature, ids).masked_fill(mask == 0, 0.0)


def teacher_scores(
    batch: Batch, context: Context, full: bool, scored: torch.Tensor | None = None
) -> torch.Tensor:
    """Return the teacher's log-probabilities along the samples: of the sampled tokens (B, T), or
    of the whole vocabulary (B, T, V) where ``full``.

    ``scored`` (B,) bool selects rows, by default all of them. The scores of other rows are 0, and V
    is 1 where no row is selected.
    """
    (ids, mask), temperature = batch.samples, context.student.temperature
    logits = context.teacher.logits(require(context.teacher_prompts), ids, mask, scored)
    if logits is None:
        return torch.zeros((*ids.shape, 1) if full else ids.shape, device=ids.device)
    rows = torch.ones_like(batch.first_of_group) if scored is None else scored
    if full:
        found = (logits / temperature).log_softmax(dim=-1)
    else:
        found = sample_log_probs(logits, ids[rows], mask[rows], temperature)
    scores = found.new_zeros(len(ids), *found.shape[1:])
    scores[rows] = found
    return scores


def policy_gradient(
    log_probs: torch.Tensor, advantages: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    """Return ``-mean_t A_t log π(y_t)`` of each sample, all (B, T) to (B,).

    Its gradient is the policy gradient; the advantages have none.
    """
    return -sequence_mean(advantages.detach() * log_probs, mask)


def reverse_kl(
    form: str,
    logits: torch.Tensor,
    teacher: torch.Tensor,
    ids: torch.Tensor,
    mask: torch.Tensor,
    temperature: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a loss of each sample with the gradient of KL(student‖teacher), and that divergence
    without gradient, both (B,), as means over tokens.

    ``full`` sums over the vocabulary, with ``teacher`` (B, T, V). ``sampled`` looks at the sampled
    tokens alone, with ``teacher`` (B, T): the log-ratio ``log π_teacher - log π_student`` is a
    token's advantage. Given the tokens before it, this is an unbiased estimate of the gradient and
    of the divergence. Neither form lets a token answer for the divergence of the tokens after it.
    Source, abstract-level knowledge, check it: arXiv 2306.13649 for ``full``, "On-Policy
    Distillation" of Thinking Machines Lab (2025) for ``sampled``.
    """
    if form == "full":
        loss = distill_loss("reverse", teacher, (logits / temperature).log_softmax(dim=-1), mask)
        return loss, loss.detach()
    log_probs = sample_log_probs(logits, ids, mask, temperature)
    advantages = (teacher - log_probs).detach()
    return policy_gradient(log_probs, advantages, mask), -sequence_mean(advantages, mask)

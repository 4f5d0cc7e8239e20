"""A batch of samples and models of which every logit is given, to test a method without a trainer.

Shapes: B rows (groups x K), T response tokens, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from echodistill.methods.base import Batch, Context, Forward, require
from echodistill.methods.targets import Targets
from echodistill.models.base import PromptBatch


@dataclass
class Table(Forward):
    """An implementation of ``methods.base.Forward``: row ``n`` has the logits ``table[n]``, by the
    number that stands in its prompt.
    """

    table: torch.Tensor
    temperature: float = 1.0
    progress: float = 0.0
    calls: list[int] = field(default_factory=list)
    """Number of rows of each call."""

    def logits(
        self,
        prompts: PromptBatch,
        ids: torch.Tensor,
        mask: torch.Tensor,
        chosen: torch.Tensor | None = None,
    ) -> torch.Tensor | None:
        rows = prompts.input_ids[:, 0]
        rows = rows if chosen is None else rows[chosen]
        self.calls.append(len(rows))
        return self.table[rows][:, : ids.shape[1]] if len(rows) else None


def random(*shape: int, seed: int) -> torch.Tensor:
    return 2 * torch.randn(
        *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )


def batch_of(ids: Sequence[Sequence[int]], lengths: Sequence[int], group_size: int) -> Batch:
    """Return a batch of samples with ``lengths`` tokens; a prompt has the number of its row."""
    tokens = torch.tensor(ids)
    rows = torch.arange(len(tokens))
    return Batch(
        prompts=PromptBatch(rows[:, None], torch.ones(len(tokens), 1, dtype=torch.int64), {}),
        group_size=group_size,
        first_of_group=rows % group_size == 0,
        completion_ids=tokens,
        completion_mask=(torch.arange(tokens.shape[1]) < torch.tensor(lengths)[:, None]).long(),
    )


def context_of(
    batch: Batch,
    teacher: torch.Tensor,
    rewards: Sequence[Sequence[float]] | None = None,
    reference_rewards: Sequence[float] = (),
    gold: Targets | None = None,
    temperature: float = 1.0,
    progress: float = 0.0,
) -> tuple[Context, dict[str, float]]:
    """Return a context, and the metrics that a method records with it."""
    recorded: dict[str, float] = {}
    context = Context(
        rows=list(range(batch.groups)),
        rewards=None if rewards is None else torch.tensor(rewards, dtype=torch.float64),
        student=Table(torch.zeros(0), temperature, progress),
        teacher=Table(teacher, temperature, progress),
        teacher_prompts=batch.prompts,
        gold=lambda _rows: require(gold),
        rewards_of=lambda _rows, _responses: torch.tensor(reference_rewards),
        texts=lambda ids, _mask: [""] * len(ids),
        questions=lambda _rows: [],
        record=lambda name, value: recorded.update({name: float(value)}),
    )
    return context, recorded


def permuted(batch: Batch, order: Sequence[int]) -> Batch:
    """Return the batch with its rows in another order, as TRL shuffles them before the loss."""
    rows = torch.tensor(order)
    return Batch(
        prompts=PromptBatch(batch.prompts.input_ids[rows], batch.prompts.attention_mask[rows], {}),
        group_size=batch.group_size,
        first_of_group=batch.first_of_group[rows],
        completion_ids=batch.samples[0][rows],
        completion_mask=batch.samples[1][rows],
        targets=None if batch.targets is None else batch.targets._each(lambda value: value[rows]),
        advantages=None if batch.advantages is None else batch.advantages[rows],
        scores={name: value[rows] for name, value in batch.scores.items()},
    )

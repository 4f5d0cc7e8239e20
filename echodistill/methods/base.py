"""What a method is, and what it is given.

Shapes: B rows of a batch (prompts x K samples; without samples K is 1), P prompt tokens, T response
tokens, V vocabulary, N chosen rows.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol, TypeVar

import torch

from echodistill.methods.targets import Targets
from echodistill.models.base import PromptBatch
from echodistill.params.methods import MethodSettings

if TYPE_CHECKING:
    from transformers import TrainerCallback

T = TypeVar("T")
Need = Literal["targets", "log_probs"]
"""What a method uses of its teacher: the cached response with the distribution along it, or the
teacher's own scores of the student's samples.
"""


@dataclass(frozen=True)
class TeacherSpec:
    """A teacher of a method: the model as training starts from it, given the view that
    ``references.view`` names.
    """

    needs: frozenset[Need]


@dataclass(frozen=True)
class TrlLoss:
    """What TRL's own loss is computed with, for a method that has none of its own."""

    clip: float = 0.2
    """Half-width ε of the ratio clip."""
    kl_weight: float = 0.0
    """Weight of the penalty against the model that training starts from."""


@dataclass
class Batch:
    """The rows that one loss is computed on, on the device of the student."""

    prompts: PromptBatch
    """The student's prompts, with the noisy clip: B rows."""
    group_size: int
    """K: so many rows are samples of one prompt."""
    first_of_group: torch.Tensor
    """(B,) bool: one row of each prompt."""
    completion_ids: torch.Tensor | None = None
    """(B, T) int64: the student's samples; ``None`` for a method that draws none."""
    completion_mask: torch.Tensor | None = None
    """(B, T) int64, 1 on the tokens of the samples."""
    targets: Targets | None = None
    """Responses to learn from, B rows: the teacher's where the method needs ``targets``."""
    advantages: torch.Tensor | None = None
    """(B,) float32; a method that samples sets them in ``annotate``."""
    scores: dict[str, torch.Tensor] = field(default_factory=dict)
    """(B, ...): what ``annotate`` leaves for ``loss``, by name."""

    @property
    def groups(self) -> int:
        """The number of prompts."""
        return len(self.first_of_group) // self.group_size

    @property
    def responses(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The samples with their mask; for a method that draws none, the targets."""
        if self.completion_ids is not None and self.completion_mask is not None:
            return self.completion_ids, self.completion_mask
        targets = given(self.targets)
        return targets.token_ids, targets.mask

    @property
    def samples(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The student's samples with their mask. Raise ``ValueError`` where none were drawn."""
        return given(self.completion_ids), given(self.completion_mask)


def given(value: T | None) -> T:
    """Return ``value``. Raise ``ValueError`` where the method did not ask for what it uses."""
    if value is None:
        raise ValueError("the method uses what its class does not ask for")
    return value


class Forward(Protocol):
    """A model that scores responses.

    It sees to it that several processes call the model equally often, and that the backward pass
    has something to go through: no method needs to know of either.
    """

    temperature: float
    """What the student samples with; log-probabilities of samples are of ``logits / temperature``.
    """
    progress: float
    """The share of the optimizer steps that is done, from 0 to 1: for weights with a schedule."""

    def logits(
        self,
        prompts: PromptBatch,
        ids: torch.Tensor,
        mask: torch.Tensor,
        chosen: torch.Tensor | None = None,
    ) -> torch.Tensor | None:
        """Return the logits that responses are sampled from, (N, T, V) float32, or ``None`` where
        no row is chosen.

        ``ids`` and ``mask`` (B, T) are responses to the B prompts; ``chosen`` (B,) bool are the
        rows that are wanted, all of them by default.
        """
        ...


@dataclass(frozen=True)
class Context:
    """What ``annotate`` may use beside the batch."""

    rows: Sequence[int]
    """The numbers of the training rows, one for each prompt."""
    rewards: torch.Tensor | None
    """(B / K, K) float32: the sum of the method's rewards for each sample, a row for each prompt;
    ``None`` without samples.
    """
    student: Forward
    """Without gradient and without dropout."""
    teacher: Forward
    """The frozen model; to be called only where the method needs ``log_probs``."""
    teacher_prompts: PromptBatch | None
    """The prompts with the teacher's view, B rows; given where the method needs ``log_probs``."""
    gold: Callable[[Sequence[int]], Targets]
    """Return the gold answers of training rows as targets without distributions."""
    record: Callable[[str, torch.Tensor | float], None]
    """Log a metric of this step by its name."""


@dataclass(frozen=True)
class LossTerms:
    """A loss, and what is logged of it."""

    total: torch.Tensor
    """Scalar, a mean over the prompts of the batch."""
    metrics: Mapping[str, torch.Tensor] = field(default_factory=dict)
    """Scalars by name."""


class Method(Protocol):
    """One way to train. Subclass it: what is given here are the defaults.

    For each batch ``annotate`` is called once without gradient, then ``loss`` with it.
    """

    settings: MethodSettings
    """The method's own section of ``params.yaml``."""
    samples: bool = False
    """Whether the student samples responses."""
    teachers: tuple[TeacherSpec, ...] = ()
    rewards: tuple[str, ...] = ()
    """Names of ``rewards.registry.REWARDS``, added up; for a method that samples."""
    needs: frozenset[str] = frozenset()
    """Fields of ``records.Question`` that every training question must have filled in."""
    trl_loss: TrlLoss = TrlLoss()

    def annotate(self, batch: Batch, context: Context) -> None:
        """Complete ``batch`` (advantages, targets, scores) before its loss is computed."""

    def loss(self, batch: Batch, student: Forward) -> LossTerms | None:
        """Return the loss of ``batch``, or ``None`` for TRL's own loss on its advantages."""
        return None

    def callbacks(self) -> "list[TrainerCallback]":
        """Return what is to be called during the training."""
        return []

    def remarks(self, log: Sequence[Mapping[str, float]]) -> list[str]:
        """Return what a user should know after a training with these logged steps."""
        return []

    def needs_of_teachers(self) -> frozenset[Need]:
        """Return what the method uses of any of its teachers."""
        return frozenset(need for teacher in self.teachers for need in teacher.needs)

"""The interface of a method, and the values that it is given.

Shapes: B rows of a batch (prompts x K samples; without samples K is 1), P prompt tokens, T response
tokens, V vocabulary, N chosen rows.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol, TypeVar

import torch

from echodistill.core.records import Question
from echodistill.methods.targets import Targets
from echodistill.models.base import PromptBatch
from echodistill.models.hidden_states import HiddenStates
from echodistill.params.methods import MethodSettings

if TYPE_CHECKING:
    from transformers import TrainerCallback

T = TypeVar("T")
Need = Literal["targets", "log_probs", "hidden_states"]
"""What a method uses of its teacher: the cached response with the distribution at each token, the
teacher's own scores of responses, or its hidden states along them.
"""


@dataclass(frozen=True)
class TeacherSpec:
    """A teacher of a method: the model before training, given the view that ``references.view``
    names.
    """

    needs: frozenset[Need]


@dataclass(frozen=True)
class TrlLoss:
    """Settings of TRL's own loss, for a method that has no loss of its own."""

    clip: float = 0.2
    """Half-width ε of the ratio clip."""
    kl_weight: float = 0.0
    """Weight of the KL penalty against the model before training."""


@dataclass
class Batch:
    """The rows that one loss is computed on, on the student's device."""

    prompts: PromptBatch
    """The student's prompts with the noisy clips, B rows."""
    group_size: int
    """K, the number of rows that are samples of one prompt."""
    first_of_group: torch.Tensor
    """(B,) bool, true on one row of each prompt."""
    completion_ids: torch.Tensor | None = None
    """(B, T) int64: the student's samples; ``None`` for a method that draws none."""
    completion_mask: torch.Tensor | None = None
    """(B, T) int64, 1 on the tokens of the samples."""
    targets: Targets | None = None
    """Responses to learn from, B rows; the teacher's where the method needs ``targets``."""
    advantages: torch.Tensor | None = None
    """(B,) float32; a method that samples sets them in ``annotate``."""
    scores: dict[str, torch.Tensor] = field(default_factory=dict)
    """(B, ...) tensors by name, which ``annotate`` computes for ``loss``."""

    @property
    def groups(self) -> int:
        """Return the number of prompts."""
        return len(self.first_of_group) // self.group_size

    @property
    def responses(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the samples with their mask, or the targets with theirs for a method that draws no
        samples.
        """
        if self.completion_ids is not None and self.completion_mask is not None:
            return self.completion_ids, self.completion_mask
        targets = require(self.targets)
        return targets.token_ids, targets.mask

    @property
    def samples(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the student's samples with their mask. Raise ``ValueError`` if there are none."""
        return require(self.completion_ids), require(self.completion_mask)


def require(value: T | None) -> T:
    """Return ``value``. Raise ``ValueError`` where it is ``None``: the method's class did not ask
    for it.
    """
    if value is None:
        raise ValueError("the method uses what its class does not ask for")
    return value


class Forward(Protocol):
    """A model that scores responses.

    An implementation ensures that several processes call the model equally often and that the loss
    has a graph for the backward pass, so that no method has to handle either.
    """

    temperature: float
    """The student's sampling temperature; log-probabilities of samples are those of ``logits /
    temperature``.
    """
    progress: float
    """The share of the optimizer steps that are done, from 0 to 1, for weights with a schedule."""

    def logits(
        self,
        prompts: PromptBatch,
        ids: torch.Tensor,
        mask: torch.Tensor,
        chosen: torch.Tensor | None = None,
    ) -> torch.Tensor | None:
        """Return the logits at the tokens of responses, (N, T, V) float32, or ``None`` where no row
        is chosen.

        ``ids`` and ``mask`` (B, T) are the responses to the B prompts; ``chosen`` (B,) bool selects
        rows, by default all of them.
        """
        ...

    def states(self, prompts: PromptBatch, ids: torch.Tensor, mask: torch.Tensor) -> HiddenStates:
        """Return the hidden states of all layers along responses, of all rows; arguments as for
        ``logits``.
        """
        raise ValueError("this model gives no hidden states")


@dataclass(frozen=True)
class Context:
    """Values that ``annotate`` may use beside the batch."""

    rows: Sequence[int]
    """The numbers of the training rows, one for each prompt."""
    rewards: torch.Tensor | None
    """(B / K, K) float32, one row for each prompt: the sum of the method's rewards for each sample;
    ``None`` without samples.
    """
    student: Forward
    """The student, without gradient and without dropout."""
    teacher: Forward
    """The frozen model, which may be called only where the method needs ``log_probs`` or
    ``hidden_states``.
    """
    teacher_prompts: PromptBatch | None
    """The prompts with the teacher's view, B rows; ``None`` unless the method calls ``teacher``."""
    gold: Callable[[Sequence[int]], Targets]
    """A function that returns the gold answers of training rows as targets without distributions.
    """
    rewards_of: Callable[[Sequence[int], Targets], torch.Tensor]
    """A function that returns the sum of the method's rewards of one response to each training row,
    (N,) float32, for example of the teacher's responses.
    """
    texts: Callable[[torch.Tensor, torch.Tensor], list[str]]
    """A function that returns the texts of responses, given their token ids and their mask, (B, T)
    each.
    """
    questions: Callable[[Sequence[int]], list[Question]]
    """A function that returns the questions of training rows."""
    record: Callable[[str, torch.Tensor | float], None]
    """A function that logs a metric of this step by its name."""
    text_teacher: Forward | None = None
    """A frozen language model without audio (``base.text_teacher``); ``None`` unless the method's
    settings have ``text_teacher``.
    """
    text_prompts: PromptBatch | None = None
    """The prompts of ``text_teacher`` with the transcript in place of the clip, B rows."""


@dataclass(frozen=True)
class LossTerms:
    """A loss and the metrics that are logged with it."""

    total: torch.Tensor
    """Scalar, a mean over the prompts of the batch."""
    metrics: Mapping[str, torch.Tensor] = field(default_factory=dict)
    """Scalars by name."""


class Method(Protocol):
    """One way to train. A method subclasses this and inherits the defaults that are given here.

    For each batch the trainer calls ``annotate`` once without gradient, then ``loss`` with
    gradient.
    """

    settings: MethodSettings
    """The method's own section of ``params.yaml``."""
    samples: bool = False
    """Whether the student samples responses."""
    teachers: tuple[TeacherSpec, ...] = ()
    rewards: tuple[str, ...] = ()
    """Names in ``rewards.registry.REWARDS`` whose values are added up, for a method that samples.
    """
    judge: bool = False
    """Whether a judge compares the samples with the teacher's responses."""
    trl_loss: TrlLoss = TrlLoss()

    def annotate(self, batch: Batch, context: Context) -> None:
        """Complete ``batch`` (advantages, targets, scores) before its loss is computed."""

    def loss(self, batch: Batch, student: Forward) -> LossTerms | None:
        """Return the loss of ``batch``, or ``None`` for TRL's own loss on its advantages."""
        return None

    def callbacks(self) -> "list[TrainerCallback]":
        """Return callbacks for the trainer."""
        return []

    def remarks(self, log: Sequence[Mapping[str, float]]) -> list[str]:
        """Return remarks for the user on a training with the logged steps ``log``."""
        return []

    def needs_of_teachers(self) -> frozenset[Need]:
        """Return the needs of all teachers together."""
        return frozenset(need for teacher in self.teachers for need in teacher.needs)

    def calls_teacher(self) -> bool:
        """Return whether the method calls the frozen model, and does not read its targets alone."""
        return bool(self.needs_of_teachers() - {"targets"})

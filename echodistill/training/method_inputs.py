"""Build what the trainer gives to a method: its batch and its context."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypedDict

import echodistill.models.torchaudio_guard  # noqa: F401

import torch

from echodistill.methods.base import Batch, Context, Forward, Method
from echodistill.methods.targets import Targets
from echodistill.models.audio_llm import AudioLLM, decode, encode
from echodistill.models.base import Prompt, PromptBatch
from echodistill.models.scoring import ScoredFamily
from echodistill.models.text_llm import TextLLM
from echodistill.rewards.registry import Reward
from echodistill.training.forward import ModelForward
from echodistill.training.frozen import FrozenModel
from echodistill.training.training_rows import TrainingRows


class _TextInputs(TypedDict, total=False):
    """The members of ``Context`` that belong to a textual teacher."""

    text_teacher: Forward
    text_prompts: PromptBatch


class MethodInputs(FrozenModel):
    """A mixin for a TRL trainer that has a method, a model and rows."""

    _llm: AudioLLM
    _source: TrainingRows
    _method: Method
    _rewards: torch.Tensor | None
    """Rewards of this process's samples, one row for each group: (B / K, K)."""
    _weighted_rewards: Sequence[tuple[Reward, float]]
    """The method's rewards, each with its weight in their sum."""
    _record: Callable[[str, torch.Tensor | float], None]
    _clean_rollouts: int
    _text_teacher: TextLLM | None
    num_generations: int
    temperature: float

    @property
    def _group_size(self) -> int:
        return self.num_generations if self._method.samples else 1

    def _encoded(self, prompts: Sequence[Prompt]) -> PromptBatch:
        """Return the prompts on this process's device, each repeated for each of its samples."""
        return encode(self._llm, prompts).to(self.accelerator.device).repeat(self._group_size)

    def _with_clean(self, prompts: PromptBatch, clean: Sequence[Prompt]) -> PromptBatch:
        """Return the prompts from which the student samples: ``prompts``, with the clean clip in
        the first ``clean_rollouts`` rows of each group (NoisyRollout).

        A group's rewards are compared with each other, whichever clip its samples come from. Every
        log-probability is the one given ``prompts``, that is the noisy clip, of the student as it
        is when it samples: the loss, the denominator of a ratio, and a teacher's or a reference
        model's input do not depend on the clip that was sampled from. So no importance weight
        corrects for the other clip. Source, by a digest, check it: arXiv 2504.13055, which trains
        on the clean image and samples from clean and distorted ones; here the noisy clip is the one
        that the student must understand [ours].
        """
        if self._clean_rollouts == 0:
            return prompts
        row = torch.arange(len(prompts.input_ids), device=prompts.input_ids.device)
        is_clean = row % self._group_size < self._clean_rollouts
        return self._encoded(clean).where(is_clean, prompts)

    def _batch(
        self, prompts: PromptBatch, rows: Sequence[int], sampled: Mapping[str, torch.Tensor]
    ) -> Batch:
        """Return the batch of the training rows ``rows``.

        ``sampled`` has TRL's tensors of the samples; it is empty where the method does not sample.
        """
        targets = None
        if "targets" in self._method.needs_of_teachers():
            references = self._source.references(rows)
            targets = references.to(self.accelerator.device).repeat(self._group_size)
        if sampled:  # TRL has padded the prompts in its own way.
            prompts = PromptBatch(sampled["prompt_ids"], sampled["prompt_mask"], prompts.features)
        count = torch.arange(len(prompts.input_ids), device=self.accelerator.device)
        first = count % self._group_size == 0
        ids, mask = sampled.get("completion_ids"), sampled.get("completion_mask")
        return Batch(prompts, self._group_size, first, ids, mask, targets)

    def _context(self, rows: Sequence[int], teacher_view: Sequence[Prompt]) -> Context:
        """Return the context that the method may use for the training rows ``rows``."""
        tokenizer, device = self._llm.tokenizer, self.accelerator.device
        called = self._method.calls_teacher()
        return Context(
            rows=rows,
            rewards=self._rewards if self._method.samples else None,
            student=self._forward_of(lambda: nullcontext(self.model)),
            teacher=self._forward_of(self._teacher),
            teacher_prompts=self._encoded(teacher_view) if called else None,
            gold=lambda numbers: self._source.gold(tokenizer, numbers).to(device),
            rewards_of=self._rewards_of,
            texts=self._texts,
            questions=self._source.questions,
            record=self._record,
            **self._text_inputs(rows),
        )

    def _text_inputs(self, rows: Sequence[int]) -> _TextInputs:
        """Return the textual teacher and its prompts; nothing where there is none."""
        teacher = self._text_teacher
        if teacher is None:
            return {}
        prompts = teacher.encode(self._source.transcribed(rows)).to(self.accelerator.device)
        forward = self._forward_of(lambda: nullcontext(teacher.model), teacher)
        return {"text_teacher": forward, "text_prompts": prompts.repeat(self._group_size)}

    def _rewards_of(self, rows: Sequence[int], responses: Targets) -> torch.Tensor:
        """Return the sum of the method's rewards of one response to each training row, (N,)."""
        texts = self._texts(responses.token_ids, responses.mask)
        columns = self._source.columns(rows)
        each = [
            [weight * value for value in reward(completions=texts, **columns)]
            for reward, weight in self._weighted_rewards
        ]
        return torch.tensor(each, device=self.accelerator.device).sum(dim=0)

    def _texts(self, ids: torch.Tensor, mask: torch.Tensor) -> list[str]:
        pairs = zip(ids, mask, strict=True)
        return [decode(self._llm, row[kept.bool()].tolist()) for row, kept in pairs]

    def _forward_of(
        self,
        opened: Callable[[], AbstractContextManager[Any]],
        family: ScoredFamily | None = None,
    ) -> ModelForward:
        """Return what scores responses with a model; its family is the student's by default."""
        done = self.state.global_step / max(1, self.state.max_steps)
        return ModelForward(opened, family or self._llm.family, self.temperature, done)

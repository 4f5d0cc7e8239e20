"""Extend TRL's GRPO trainer by audio, which it passes through generation, scoring and loss. It
names no method.

Stock TRL generates with the audio and silently scores without it. The docstring of each overridden
method states what the method adds. Shapes: B rows of a generation batch (prompts x K rollouts), P
prompt tokens, T response tokens, V vocabulary.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import echodistill.models.torchaudio_guard  # noqa: F401

import torch
from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer

from echodistill.methods.base import Method
from echodistill.methods.supervised import token_entropy, token_log_probs
from echodistill.models.audio_llm import AudioLLM, end_ids
from echodistill.models.base import PromptBatch
from echodistill.models.response_limit import check_context
from echodistill.models.scoring import score
from echodistill.models.text_llm import TextLLM
from echodistill.rewards.registry import REWARDS, Reward
from echodistill.training.batch_tensors import from_tensors, to_tensors
from echodistill.training.checkpoints import ExactWeights
from echodistill.training.frozen import FrozenModel, without_dropout
from echodistill.training.method_inputs import MethodInputs
from echodistill.training.step_counts import CountedSteps, truncated_share
from echodistill.training.training_rows import TrainingRows


class AudioGRPOTrainer(ExactWeights, MethodInputs, CountedSteps, FrozenModel, GRPOTrainer):
    """The trainer of every method, with the same rows in the same order for each."""

    def __init__(
        self,
        llm: AudioLLM,
        source: TrainingRows,
        order: Sequence[int],
        method: Method,
        rewards: Sequence[tuple[Reward, float]],
        args: GRPOConfig,
        clean_rollouts: int = 0,
        text_teacher: TextLLM | None = None,
        **options: Any,
    ) -> None:
        """Build the trainer; ``order`` has the rows of ``source`` in the order of training,
        ``rewards`` the method's rewards with their weights.

        The first ``clean_rollouts`` samples of each prompt are drawn from the clean clip;
        ``text_teacher`` is for methods whose settings ask for one. ``options`` (``callbacks``,
        ``peft_config``) are passed to TRL. TRL's own ``beta`` stays 0 during the construction.
        Otherwise TRL would load the initial model again by the name in its configuration, in the
        hub's newest revision or in whatever state that path has now.
        """
        self._llm, self._source, self._method = llm, source, method
        self._rewards, self._weighted_rewards = None, rewards
        self._clean_rollouts = clean_rollouts
        self._text_teacher = text_teacher if method.settings.text_teacher else None
        beta = method.trl_loss.kl_weight
        needed = method.calls_teacher() or beta > 0
        frozen = self._copy_of(llm, options) if needed else None
        super().__init__(
            model=llm.model,
            # TRL requires a reward function, even where nothing is sampled and none is called.
            reward_funcs=[reward for reward, _ in rewards] or [REWARDS["answer"]],
            args=args,
            train_dataset=Dataset.from_dict(source.columns(order)),
            processing_class=llm.tokenizer,
            **options,
        )
        if rewards:
            self.reward_weights = torch.tensor([weight for _, weight in rewards])
        self._prepare_frozen(frozen)
        if self._text_teacher is not None:
            self._text_teacher.model.to(self.accelerator.device)
        self.beta, self.ref_model = beta, self._frozen if beta > 0 else None
        self._reset_counts()

    def _set_signature_columns_if_needed(self) -> None:
        """Keep, in addition, the columns that identify the audio and the reward."""
        self._signature_columns = ["prompt", "row", "choices", "answer", "style"]

    def _tokenize_prompts(
        self, prompts: list[str]
    ) -> tuple[list[list[int]], None, dict[str, torch.Tensor]]:
        """Return the token ids of each prompt and, in addition, the features of the encoded clips.

        TRL passes the features on to ``generate``. The clips may be others than those of the loss;
        the token ids are the same.
        """
        batch, family = self._sampled_from, self._llm.family
        pairs = zip(batch.input_ids, batch.attention_mask, strict=True)
        return [ids[mask.bool()].tolist() for ids, mask in pairs], None, family.audio_inputs(batch)

    def _calculate_rewards(self, inputs: Any, *given: Any) -> torch.Tensor:
        """Store, in addition, the rewards of this process's samples for the method, one row for
        each group.
        """
        rewards: torch.Tensor = super()._calculate_rewards(inputs, *given)
        first = self.accelerator.process_index * len(inputs)
        own = rewards[first : first + len(inputs)] @ self.reward_weights.to(rewards)
        self._rewards = own.view(-1, self.num_generations)
        return rewards

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        """Add the audio features and the method's annotations to TRL's batch, without dropout.

        Where the method does not sample, the batch has only these.
        """
        with without_dropout(self.model):
            # The K rows of a group have one prompt, which is rendered and encoded once.
            rows = [example["row"] for example in inputs[:: self.num_generations]]
            given = self._source.prompts(rows)
            prompts = self._encoded(given.noisy)
            output: dict[str, Any] = {}
            if self._method.samples:
                output = self._sampled(prompts, self._with_clean(prompts, given.clean), inputs)
            batch = self._batch(prompts, rows, output)
            with torch.no_grad():
                self._method.annotate(batch, self._context(rows, given.teacher_view))
        if self._method.samples:
            self._log_advantages(batch.advantages)
        self._count(len(rows), batch)
        return output | to_tensors(batch)

    def _sampled(
        self, prompts: PromptBatch, sampled_from: PromptBatch, inputs: list[dict[str, Any]]
    ) -> dict[str, Any]:
        """Return TRL's batch of samples that the student gives for ``sampled_from``.

        TRL scores them given ``prompts``, which are those of the loss.
        """
        self._prompts, self._sampled_from = prompts, sampled_from
        check_context(self._llm.model, prompts.input_ids.shape[1], self.max_completion_length)
        output: dict[str, Any] = super()._generate_and_score_completions(inputs)
        share = truncated_share(
            output["completion_ids"], output["completion_mask"], end_ids(self._llm)
        )
        self._record("truncated_share", share)
        return output

    def _get_per_token_logps_and_entropies(
        self,
        model: Any,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        *args: Any,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None, None]:
        """Return log-probabilities and entropies (B, T), with the audio in TRL's own loss and
        reference model.
        """
        prompt = input_ids.shape[1] - logits_to_keep
        features = self._prompts.features
        batch = PromptBatch(input_ids[:, :prompt], attention_mask[:, :prompt], features)
        ids, mask = input_ids[:, prompt:], attention_mask[:, prompt:]
        logits = score(model, batch, ids, mask, self._llm.family) / self.temperature
        return token_log_probs(logits, ids), token_entropy(logits.detach()), None

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        """Return the method's loss, or TRL's own where the method has none."""
        batch = from_tensors(inputs, self._group_size)
        self._prompts = batch.prompts
        forward = self._forward_of(lambda: nullcontext(model))
        terms = self._method.loss(batch, forward)
        if terms is None:
            return super()._compute_loss(model, inputs)
        for name, value in terms.metrics.items():
            self._record(name, value)
        ids, mask = batch.responses
        loss = forward.with_gradient(terms.total, batch.prompts, ids, mask)
        return loss / self.current_gradient_accumulation_steps

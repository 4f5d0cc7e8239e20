"""TRL's GRPO trainer with audio: it hands clips through generation, scoring and loss. No maths
here; that is in ``objectives``.

Stock TRL generates with the audio and scores without it, silently. Each overridden method says what
it adds. Shapes: B rows of a generation batch (prompts x K rollouts), P prompt tokens, T response
tokens, V vocabulary.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import echodistill.models.torchaudio_guard  # noqa: F401

import torch
from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer
from trl.models import prepare_deepspeed, prepare_fsdp

from echodistill.evaluation.choices import reward
from echodistill.models.audio_llm import AudioLLM, encode, end_ids
from echodistill.models.base import PromptBatch, pad_rows
from echodistill.models.response_limit import check_context
from echodistill.models.scoring import score
from echodistill.objectives.advantages import group_advantages, zero_variance
from echodistill.objectives.divergences import sequence_mean, with_tail
from echodistill.objectives.echodistill import consistency, distill_loss, shaped_advantages
from echodistill.objectives.ratio import policy_term
from echodistill.objectives.supervised import cross_entropy, token_entropy, token_log_probs
from echodistill.params.train import ObjectiveParams
from echodistill.training.checkpoints import ExactWeights
from echodistill.training.distributed import processes
from echodistill.training.frozen import frozen_copy, without_dropout
from echodistill.training.step_counts import CountedSteps
from echodistill.training.training_rows import TrainingRows

FEATURE = "feature/"  # prefix of audio features in TRL's batch dictionaries


def task_reward(
    completions: list[str], choices: list[list[str]], answer_index: list[int], **_columns: Any
) -> list[float]:
    """TRL's reward signature around the one parser."""
    return [
        reward(text, options, right)
        for text, options, right in zip(completions, choices, answer_index, strict=True)
    ]


def _targets(batch: dict[str, Any], rows: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return the reference tensors of chosen rows."""
    return {name: tensor[rows] for name, tensor in batch.items() if name.startswith("target_")}


class AudioGRPOTrainer(ExactWeights, CountedSteps, GRPOTrainer):
    """One trainer for ``echodistill``, ``grpo``, ``distill`` and ``sft``: the same rows in the same
    order for each.

    ``grpo`` is TRL's own loss on the audio, with the advantages that ``echodistill`` has without
    its bonus; ``distill`` and ``sft`` draw no rollouts, since they learn from a given response.
    """

    def __init__(
        self,
        llm: AudioLLM,
        source: TrainingRows,
        order: Sequence[int],
        method: str,
        objective: ObjectiveParams,
        args: GRPOConfig,
        kl_weight: float = 0.0,
        **options: Any,
    ) -> None:
        """``order`` says which row of ``source`` comes when; ``options`` are passed on:
        ``callbacks``, ``peft_config``.

        ``kl_weight`` is ``grpo``'s penalty against the model training starts from. TRL's own
        ``beta`` stays 0 while it is built, or it would load that model anew by the name in its
        config, from the hub's newest revision or from whatever is there now.
        """
        self._llm = llm
        self._source = source
        self._method = method
        self._objective = objective
        self._features: dict[str, torch.Tensor] = {}
        self._prompt_batch: PromptBatch | None = None
        # a LoRA student's teacher and KL reference is itself with the adapter off; a full one needs
        # a frozen copy
        needs_copy = method == "echodistill" or (method == "grpo" and kl_weight > 0)
        frozen = (
            frozen_copy(llm.model) if needs_copy and options.get("peft_config") is None else None
        )
        super().__init__(
            model=llm.model,
            reward_funcs=[task_reward],
            args=args,
            train_dataset=Dataset.from_dict(source.columns(order)),
            processing_class=llm.tokenizer,
            **options,
        )
        self._frozen = self._prepared(frozen) if frozen is not None else None
        self.beta = kl_weight if method == "grpo" else 0.0
        self.ref_model = self._frozen if self.beta > 0 else None
        self._reset_counts()
        # how many prompts one loss call stands for, so that accumulated losses add up to a mean
        # over prompts
        self._prompts_per_loss = self.args.per_device_train_batch_size / self.num_generations

    def _prepared(self, frozen: Any) -> Any:
        """Return a frozen model on this process's device, computing in the precision of the
        student: as TRL prepares its own.
        """
        if self.is_deepspeed_enabled:
            return prepare_deepspeed(frozen, self.accelerator)
        if self.is_fsdp_enabled:
            return prepare_fsdp(frozen, self.accelerator)
        return self.accelerator.prepare_model(frozen, evaluation_mode=True)

    def _set_signature_columns_if_needed(self) -> None:
        """Adds: keep the columns the audio and the reward are found by."""
        self._signature_columns = ["prompt", "row", "choices", "answer_index"]

    def _tokenize_prompts(
        self, prompts: list[str]
    ) -> tuple[list[list[int]], None, dict[str, torch.Tensor]]:
        """Adds: the encoded noisy clip; TRL passes the features on to ``generate``."""
        assert self._prompt_batch is not None
        batch = self._prompt_batch
        rows = [
            ids[mask.bool()].tolist()
            for ids, mask in zip(batch.input_ids, batch.attention_mask, strict=True)
        ]
        return rows, None, self._llm.family.audio_inputs(batch)

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        """Adds: the audio features, and what the teacher makes of the batch; no dropout. Without
        rollouts: only those.
        """
        with without_dropout(self.model):
            return self._generation_batch(inputs)

    def _generation_batch(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        device = self.accelerator.device
        rollouts = self._method in ("grpo", "echodistill")
        # the K rows of a group are one prompt: render and encode it once
        rows = [example["row"] for example in inputs[:: self.num_generations]]
        copies = self.num_generations if rollouts else 1
        noisy, clean = self._source.prompts(rows)
        self._prompt_batch = encode(self._llm, noisy).to(device).repeat(copies)
        self._features = self._prompt_batch.features
        if not rollouts:
            output = {
                "prompt_ids": self._prompt_batch.input_ids,
                "prompt_mask": self._prompt_batch.attention_mask,
            }
        else:
            check_context(
                self._llm.model, self._prompt_batch.input_ids.shape[1], self.max_completion_length
            )
            output = super()._generate_and_score_completions(inputs)
            self._record(
                "truncated_share",
                self._truncated_share(output["completion_ids"], output["completion_mask"]),
            )
        output |= {FEATURE + name: tensor for name, tensor in self._features.items()}
        if self._method in ("echodistill", "distill"):
            references = self._source.references(rows).named()
            output |= {
                name: tensor.to(device).repeat_interleave(copies, dim=0)
                for name, tensor in references.items()
            }
        if self._method == "sft":
            output |= self._gold_tensors(rows, device)
        if rollouts:
            rewards = self._group_rewards(output["completion_ids"], inputs)
            if self._method == "echodistill":
                output |= self._score_with_teacher(
                    output, encode(self._llm, clean).to(device).repeat(copies), rewards
                )
            else:
                output["advantages"] = group_advantages(rewards).flatten()
            self._log_advantages(output["advantages"])
        self._counts["clips"] += len(rows)
        if rollouts:
            self._counts["sampled_tokens"] += int(output["completion_mask"].sum())
        if "target_mask" in output:
            self._counts["target_tokens"] += int(output["target_mask"][::copies].sum())
        return output

    def _truncated_share(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return the share of the responses ``ids`` (B, T) that were cut at the length limit: whose
        last token ends nothing.
        """
        last = ids.gather(1, (mask.sum(dim=1, keepdim=True) - 1).clamp(min=0))
        ends = torch.tensor(end_ids(self._llm), device=ids.device)
        return (~torch.isin(last, ends)).float().mean()

    def _gold_tensors(self, rows: list[int], device: torch.device) -> dict[str, torch.Tensor]:
        tokenizer = self._llm.tokenizer
        gold = [
            [*tokenizer(text)["input_ids"], tokenizer.eos_token_id]
            for text in self._source.answers(rows)
        ]
        ids, mask = pad_rows(gold, tokenizer.pad_token_id, left=False)
        return {"target_ids": ids.to(device), "target_mask": mask.to(device)}

    def _group_rewards(
        self, completion_ids: torch.Tensor, rows: list[dict[str, Any]]
    ) -> torch.Tensor:
        """Return the task rewards of this process's samples, a row a group: (B / K, K)."""
        texts = self.processing_class.batch_decode(completion_ids, skip_special_tokens=True)
        columns = {name: [row[name] for row in rows] for name in ("choices", "answer_index")}
        return torch.tensor(task_reward(texts, **columns), device=completion_ids.device).view(
            -1, self.num_generations
        )

    def _log_advantages(self, advantages: torch.Tensor) -> None:
        """Put the advantages (B,) of all processes where TRL has logged its own, which divide by
        the sample's deviation.
        """
        gathered = self.accelerator.gather(advantages).tolist()
        logged = self._logs["advantages"]
        for _ in gathered:
            logged.pop()
        logged.extend(gathered)

    @torch.no_grad()
    def _score_with_teacher(
        self, output: dict[str, Any], clean: PromptBatch, rewards: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """The clean teacher's view of the student's samples, and the shaped advantages of each
        group.
        """
        ids, mask = output["completion_ids"], output["completion_mask"]
        count, groups = len(ids), rewards.shape
        noisy = PromptBatch(output["prompt_ids"], output["prompt_mask"], self._features)
        first = torch.arange(count, device=ids.device) % self.num_generations == 0
        # a group whose rewards are equal has no advantage, unless each candidate gets a bonus of
        # its own: no need to score it
        per_candidate = self._objective.shaping == "candidate"
        scored = (~zero_variance(rewards)).repeat_interleave(self.num_generations) | torch.tensor(
            per_candidate, device=ids.device
        )
        if processes() > 1:
            scored[0] = True  # a model in shards must be called by all processes equally often
        reference = torch.zeros(count, device=ids.device)
        candidate_loss = torch.zeros_like(reference)
        if scored.any():
            with self._teacher() as teacher:
                logits = self._score(teacher, clean.take(scored), ids[scored], mask[scored])
            reference[scored] = sequence_mean(
                token_log_probs(logits / self.temperature, ids[scored]), mask[scored]
            )
            if per_candidate:
                student = self._score(self.model, noisy, ids, mask).log_softmax(dim=-1)
                candidate_loss = distill_loss(
                    self._objective.kl, logits.log_softmax(dim=-1), student, mask
                )
        agreement = None
        if self._objective.shaping == "instance":
            agreement = consistency(
                self._distill_rows(self.model, noisy.take(first), _targets(output, first))
            )[:, None]
        elif per_candidate:
            agreement = consistency(candidate_loss).view(groups)
        shaped = shaped_advantages(rewards, agreement, self._objective.shaping_bonus)
        self._record("shaped_reward", shaped.rewards.mean())
        self._record("groups_without_effect", shaped.inert_share)
        self._record("zero_variance_groups", shaped.zero_variance_share)
        return {
            "advantages": shaped.advantages.flatten(),
            "reference_log_prob": reference,
            "first_of_group": first,
        }

    @contextlib.contextmanager
    def _teacher(self) -> Iterator[Any]:
        """The frozen model: a copy, or the student with its adapter switched off (and, as the
        caller sees to, no dropout).
        """
        if self._frozen is not None:
            yield self._frozen
            return
        model = self.accelerator.unwrap_model(self.model)
        with model.disable_adapter():
            yield model

    def _distill_rows(
        self, model: Any, prompts: PromptBatch, batch: dict[str, Any]
    ) -> torch.Tensor:
        """``L_distill`` of each row on the teacher's response, (B,)."""
        student = self._score(
            model, prompts, batch["target_ids"], batch["target_mask"]
        ).log_softmax(dim=-1)
        if "target_top" in batch:
            student = with_tail(student, batch["target_top"])
        return distill_loss(self._objective.kl, batch["target_log"], student, batch["target_mask"])

    def _get_per_token_logps_and_entropies(
        self,
        model: Any,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        *args: Any,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None, None]:
        """Adds: the audio, in TRL's own loss and in its reference model."""
        prompt = input_ids.shape[1] - logits_to_keep
        batch = PromptBatch(input_ids[:, :prompt], attention_mask[:, :prompt], self._features)
        ids, mask = input_ids[:, prompt:], attention_mask[:, prompt:]
        logits = self._score(model, batch, ids, mask) / self.temperature
        return token_log_probs(logits, ids), token_entropy(logits.detach()), None

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        """Gathers tensors and calls the method's objective."""
        self._features = {
            name.removeprefix(FEATURE): value
            for name, value in inputs.items()
            if name.startswith(FEATURE)
        }
        prompts = PromptBatch(inputs["prompt_ids"], inputs["prompt_mask"], self._features)
        if self._method == "grpo":
            return super()._compute_loss(model, inputs)
        if self._method == "sft":
            logits = self._score(model, prompts, inputs["target_ids"], inputs["target_mask"])
            loss = cross_entropy(logits, inputs["target_ids"], inputs["target_mask"]).mean()
        elif self._method == "distill":
            loss = self._distill_rows(model, prompts, inputs).mean()
            self._record("kl", loss)
        else:
            loss = self._echodistill_loss(model, prompts, inputs)
        return loss / self.current_gradient_accumulation_steps

    def _echodistill_loss(
        self, model: Any, prompts: PromptBatch, inputs: dict[str, Any]
    ) -> torch.Tensor:
        policy = self._policy_loss(model, prompts, inputs)
        # the reference belongs to the prompt, not to the rollout: one row a group is enough
        first = inputs["first_of_group"]
        distill = policy.new_zeros(())
        if self._objective.distill_weight > 0 and first.any():
            distill = (
                self._distill_rows(model, prompts.take(first), _targets(inputs, first)).sum()
                / self._prompts_per_loss
            )
            self._record("kl", distill)
        loss = self._objective.policy_weight * policy + self._objective.distill_weight * distill
        if not loss.requires_grad:
            # nothing above applies to these rows, but a backward pass needs something to go through
            one = torch.arange(len(first), device=first.device) == 0
            ids, mask = inputs["completion_ids"][one], inputs["completion_mask"][one]
            loss = loss + 0.0 * self._score(model, prompts.take(one), ids, mask).sum()
        return loss

    def _policy_loss(
        self, model: Any, prompts: PromptBatch, inputs: dict[str, Any]
    ) -> torch.Tensor:
        """The policy term over all rows. Rows without advantage add neither loss nor gradient, so
        they are not run.

        Where several processes train and none here has any, one is run all the same: all processes
        must call the model equally often.
        """
        active = inputs["advantages"] != 0
        share = active.float().mean()
        if self._objective.policy_weight == 0 or (share == 0 and processes() == 1):
            return inputs["advantages"].new_zeros(())
        active[0] |= share == 0
        ids, mask = inputs["completion_ids"][active], inputs["completion_mask"][active]
        logits = self._score(model, prompts.take(active), ids, mask)
        log_prob = sequence_mean(token_log_probs(logits / self.temperature, ids), mask)
        against = (
            inputs["reference_log_prob"][active]
            if self._objective.ratio_reference == "teacher"
            else log_prob
        )
        policy = policy_term(
            log_prob,
            against,
            inputs["advantages"][active],
            self._objective.clip,
            self._objective.dual_clip,
        )
        if share == 0:
            return policy.loss * 0.0
        self._record("policy_loss", policy.loss)
        self._record("clip_share", policy.clip_share)
        self._record("dual_clip_share", policy.dual_clip_share)
        self._record("ratio_mean", policy.ratio_mean)
        self._record("entropy", sequence_mean(token_entropy(logits.detach()), mask).mean())
        return policy.loss * share

    def _score(
        self, model: Any, prompts: PromptBatch, ids: torch.Tensor, mask: torch.Tensor
    ) -> torch.Tensor:
        """Return the logits that responses are sampled from, (B, T, V)."""
        return score(model, prompts, ids, mask, self._llm.family)

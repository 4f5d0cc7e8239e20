"""EchoDistill (arXiv 2605.23954): train a student on the noisy clip with a teacher that is given
the clean clip.

This implementation differs from the paper and its released code as follows:
1. The distillation KL is aligned by response offset, so that prompts and clips may differ in
   length; the released code requires equal lengths.
2. Every KL is masked to response tokens; the released code computes the shaping KL unmasked, over
   the prompt and the audio placeholders too.
3. ``shaping: candidate`` is our variant: it computes the consistency on each candidate's own tokens
   instead of once for each prompt.
4. The ratio has a dual clip, which is on by default; see ``ratio.policy_term``.
5. The KL's direction is a parameter. Forward (teacher‖student) is what the released code computes,
   although its docstring says reverse.
6. A token's divergence may be computed over the teacher's top-k tokens and one tail bucket.
7. The cached reference is computed on the clip as it is stored. Where a mix had to be scaled to
   stay below full scale, the student receives a clip that is quieter by the same factor. The
   teacher that scores the student's samples receives the clip scaled by that factor too.
8. The weights of the two terms may change over the training; see ``schedule.term_weights``.
"""

from collections.abc import Mapping, Sequence

import torch

from echodistill.methods.advantages import zero_variance
from echodistill.methods.base import (
    Batch,
    Context,
    Forward,
    LossTerms,
    Method,
    TeacherSpec,
    require,
)
from echodistill.methods.divergences import distill_loss, sequence_mean
from echodistill.methods.on_samples import chosen_samples
from echodistill.methods.ratio import policy_term
from echodistill.methods.schedule import term_weights
from echodistill.methods.shaping import consistency, shaped_advantages
from echodistill.methods.supervised import token_entropy, token_log_probs
from echodistill.methods.targets import target_divergence
from echodistill.params.methods import EchoDistillSettings

REFERENCE = "reference_log_prob"
"""Key of the score that ``annotate`` computes: the teacher's mean log-probability of each sample.
"""
NO_EFFECT_SHARE = 0.9
"""Share of groups without effect above which a warning is given."""


class EchoDistill(Method):
    samples = True
    teachers = (TeacherSpec(frozenset({"targets", "log_probs"})),)
    rewards = ("answer",)

    def __init__(self, settings: EchoDistillSettings) -> None:
        self.settings: EchoDistillSettings = settings

    @torch.no_grad()
    def annotate(self, batch: Batch, context: Context) -> None:
        """Set the shaped advantages and the teacher's mean log-probability of each sample."""
        rewards = require(context.rewards)
        ids, mask = batch.samples
        per_candidate = self.settings.shaping == "candidate"
        # A group whose rewards are all equal has zero advantages and need not be scored, unless
        # each candidate gets its own bonus.
        scored = (~zero_variance(rewards)).repeat_interleave(batch.group_size) | per_candidate
        logits = context.teacher.logits(require(context.teacher_prompts), ids, mask, scored)
        reference = torch.zeros(len(ids), device=ids.device)
        if logits is not None:
            log_probs = token_log_probs(logits / context.student.temperature, ids[scored])
            reference[scored] = sequence_mean(log_probs, mask[scored])
        shaped = shaped_advantages(
            rewards, self._consistency(batch, context, logits), self.settings.shaping_bonus
        )
        context.record("shaped_reward", shaped.rewards.mean())
        context.record("groups_without_effect", shaped.share_without_effect)
        context.record("zero_variance_groups", shaped.zero_variance_share)
        batch.advantages = shaped.advantages.flatten()
        batch.scores[REFERENCE] = reference

    def _consistency(
        self, batch: Batch, context: Context, teacher_logits: torch.Tensor | None
    ) -> torch.Tensor | None:
        """Return the consistency of each prompt (B / K, 1) or of each candidate (B / K, K), or
        ``None`` without shaping.
        """
        if self.settings.shaping == "off":
            return None
        if self.settings.shaping == "instance":
            return consistency(self._divergence(batch, context.student))[:, None]
        ids, mask = batch.samples
        student = require(context.student.logits(batch.prompts, ids, mask)).log_softmax(dim=-1)
        teacher = require(teacher_logits).log_softmax(dim=-1)
        loss = distill_loss(self.settings.kl, teacher, student, mask)
        return consistency(loss).view(-1, batch.group_size)

    def _divergence(self, batch: Batch, student: Forward) -> torch.Tensor:
        """Return the divergence of each prompt from its reference, (B / K,).

        The reference belongs to the prompt and not to the sample, so one row of each group is
        enough.
        """
        first = batch.first_of_group
        targets = require(batch.targets).take(first)
        return target_divergence(self.settings.kl, student, batch.prompts.take(first), targets)

    def loss(self, batch: Batch, student: Forward) -> LossTerms:
        settings, done = self.settings, student.progress
        factors = term_weights(settings.schedule, settings.distill_share, done)
        policy_weight = factors[0] * settings.policy_weight
        distill_weight = factors[1] * settings.distill_weight
        policy, metrics = self._policy_loss(batch, student, policy_weight > 0)
        distill = policy.new_zeros(())
        if distill_weight > 0:
            distill = self._divergence(batch, student).sum() / batch.groups
            metrics["kl"] = distill
        if settings.schedule != "constant":
            metrics["policy_weight"] = policy.new_tensor(policy_weight)
            metrics["distill_weight"] = policy.new_tensor(distill_weight)
        return LossTerms(policy_weight * policy + distill_weight * distill, metrics)

    def _policy_loss(
        self, batch: Batch, student: Forward, wanted: bool
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Return the policy term over all rows, 0 unless it is ``wanted``, and the metrics that are
        logged with it.
        """
        advantages = require(batch.advantages)
        active = advantages != 0
        samples = chosen_samples(batch, student, active) if wanted else None
        if samples is None:
            return advantages.new_zeros(()), {}
        logits, ids, mask = samples
        log_prob = sequence_mean(token_log_probs(logits / student.temperature, ids), mask)
        against = log_prob
        if self.settings.ratio_reference == "teacher":
            against = batch.scores[REFERENCE][active]
        policy = policy_term(
            log_prob, against, advantages[active], self.settings.clip, self.settings.dual_clip
        )
        return policy.loss * active.float().mean(), {
            "policy_loss": policy.loss,
            "clip_share": policy.clip_share,
            "dual_clip_share": policy.dual_clip_share,
            "ratio_mean": policy.ratio_mean,
            "entropy": sequence_mean(token_entropy(logits.detach()), mask).mean(),
        }

    def remarks(self, log: Sequence[Mapping[str, float]]) -> list[str]:
        """Return a warning where the bonus had no effect in most groups.

        Where a group's rewards have two levels, normalising by the std undoes a bonus that is the
        same for all candidates of the group.
        """
        shares = [row["groups_without_effect"] for row in log if "groups_without_effect" in row]
        mean = sum(shares) / len(shares) if shares else 0.0
        if self.settings.shaping == "off" or mean <= NO_EFFECT_SHARE:
            return []
        return [
            f"warning: the consistency bonus changed nothing in {100 * mean:.0f} % of the groups"
            f" (train.methods.echodistill.shaping: {self.settings.shaping}); `candidate` makes it"
            " act"
        ]


METHOD = EchoDistill

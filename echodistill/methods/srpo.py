"""SRPO: right samples take the policy gradient, wrong ones are distilled.

Source: arXiv 2604.02288, read as abstract and in notes on a reproduction: check the source. There a
sample goes to distillation where it is wrong and its teacher has information, else to GRPO; both
terms share one normalisation; tokens where the teacher is unsure weigh less, with weights of mean 1
over the distilled tokens. Differences and choices of ours:
1. The teacher is given the clean clip, which every sample has, so that all wrong samples are
   distilled, those of groups without a right sample too. In the source it is given a right sample
   of the group, and its weights follow the student's.
2. The weight of a token is ``exp(-β·H)``, where H is the entropy of the teacher there.
3. Both terms are means over a sample's tokens and then over all samples; the source divides by the
   number of tokens. ``distill_weight`` is not in the source.
4. The distributions are whole vocabularies, not the top tokens.
"""

import torch

from echodistill.methods.advantages import group_advantages, zero_variance
from echodistill.methods.base import (
    Batch,
    Context,
    Forward,
    LossTerms,
    Method,
    TeacherSpec,
    require,
)
from echodistill.methods.divergences import divergence, sequence_mean
from echodistill.methods.on_samples import (
    TEACHER,
    chosen_samples,
    policy_gradient,
    sample_log_probs,
    teacher_scores,
)
from echodistill.methods.supervised import token_entropy
from echodistill.params.methods import SrpoSettings

ROUTED = "distilled"
"""Key of the score (B,) bool that says which samples are distilled."""


def confidence_weights(teacher: torch.Tensor, mask: torch.Tensor, beta: float) -> torch.Tensor:
    """Return ``exp(-β·H)`` of each token, divided by its mean over the tokens of all rows, (B, T).

    ``teacher`` is (B, T, V) log-probabilities, H their entropy.
    """
    weights = (-beta * token_entropy(teacher)).exp().masked_fill(mask == 0, 0.0)
    return weights * mask.sum() / weights.sum().clamp_min(torch.finfo(weights.dtype).tiny)


class Srpo(Method):
    samples = True
    teachers = (TeacherSpec(frozenset({"log_probs"})),)
    rewards = ("answer",)

    def __init__(self, settings: SrpoSettings) -> None:
        self.settings: SrpoSettings = settings

    def annotate(self, batch: Batch, context: Context) -> None:
        """Set the route of each sample; the advantage of one that is distilled is 0."""
        rewards = require(context.rewards)
        routed = (rewards <= 0).flatten()
        batch.advantages = group_advantages(rewards).flatten().masked_fill(routed, 0.0)
        batch.scores[ROUTED] = routed
        batch.scores[TEACHER] = teacher_scores(batch, context, True, routed)
        context.record("routed_samples", routed.float().mean())
        context.record("routed_groups", (rewards <= 0).any(dim=1).float().mean())
        context.record("zero_variance_groups", zero_variance(rewards).float().mean())

    def loss(self, batch: Batch, student: Forward) -> LossTerms:
        advantages, routed = require(batch.advantages), batch.scores[ROUTED]
        used = routed | (advantages != 0)
        samples = chosen_samples(batch, student, used)
        if samples is None:
            return LossTerms(advantages.new_zeros(()))
        (logits, ids, mask), routed = samples, routed[used]
        log_probs = sample_log_probs(logits, ids, mask, student.temperature)
        policy = policy_gradient(log_probs, advantages[used][:, None].expand_as(log_probs), mask)
        total = policy.sum()
        metrics = {
            "policy_loss": policy.sum() / len(used),
            "entropy": sequence_mean(token_entropy(logits.detach()), mask).mean(),
        }
        if routed.any():
            teacher = batch.scores[TEACHER][batch.scores[ROUTED]]
            own = (logits[routed] / student.temperature).log_softmax(dim=-1)
            apart = divergence(self.settings.kl, teacher, own)
            weights = confidence_weights(teacher, mask[routed], self.settings.entropy_beta)
            distill = sequence_mean(weights * apart, mask[routed])
            total = total + self.settings.distill_weight * distill.sum()
            metrics["kl"] = sequence_mean(apart.detach(), mask[routed]).mean()
            metrics["teacher_entropy"] = sequence_mean(token_entropy(teacher), mask[routed]).mean()
        return LossTerms(total / len(used), metrics)


METHOD = Srpo

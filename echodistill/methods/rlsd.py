"""RLSD: the reward gives the sign of each token's advantage, the teacher its magnitude.

Source: arXiv 2604.03128, equations 13 to 15, read in a translation and in a digest: check the
source. The weight of a token is ``w_t = (π_teacher(y_t) / π_student(y_t))^sign(A)``, clipped to
``1 ± ε_w``, so that the teacher's evidence moves credit between the tokens of a sample and never
turns its sign. It is mixed with the weight 1, which it gives way to in the course of the training.
Differences and choices of ours:
1. The teacher is given the clean clip; in the source it is given a reference answer or solution,
   and has the student's present weights, not those before training.
2. Equation 16 takes a minimum that leaves one side of the clip open. Both sides are closed here, as
   in equation 15.
3. ``mixing: decay`` lowers the share of ``w_t`` linearly from 1 to 0. The digests name neither the
   ends nor ε_w.
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
from echodistill.methods.divergences import sequence_mean
from echodistill.methods.on_samples import (
    TEACHER,
    chosen_samples,
    policy_gradient,
    sample_log_probs,
    teacher_scores,
)
from echodistill.methods.supervised import token_entropy
from echodistill.params.methods import RlsdSettings


def evidence_weights(
    teacher: torch.Tensor, student: torch.Tensor, advantages: torch.Tensor, clip: float
) -> torch.Tensor:
    """Return the clipped weight of each token, (B, T), without gradient.

    ``teacher`` and ``student`` (B, T) are log-probabilities of the sampled tokens, ``advantages``
    is (B,).
    """
    evidence = advantages.sign()[:, None] * (teacher - student).detach()
    return evidence.exp().clamp(1.0 - clip, 1.0 + clip)


class Rlsd(Method):
    samples = True
    teachers = (TeacherSpec(frozenset({"log_probs"})),)
    rewards = ("answer",)

    def __init__(self, settings: RlsdSettings) -> None:
        self.settings: RlsdSettings = settings

    def annotate(self, batch: Batch, context: Context) -> None:
        rewards = require(context.rewards)
        batch.advantages = group_advantages(rewards).flatten()
        scored = batch.advantages != 0  # Other samples have no loss.
        batch.scores[TEACHER] = teacher_scores(batch, context, False, scored)
        context.record("zero_variance_groups", zero_variance(rewards).float().mean())

    def loss(self, batch: Batch, student: Forward) -> LossTerms:
        advantages = require(batch.advantages)
        active = advantages != 0
        samples = chosen_samples(batch, student, active)
        if samples is None:
            return LossTerms(advantages.new_zeros(()))
        (logits, ids, mask), teacher = samples, batch.scores[TEACHER][active]
        log_probs = sample_log_probs(logits, ids, mask, student.temperature)
        weights = evidence_weights(teacher, log_probs, advantages[active], self.settings.clip)
        share = 1.0 - student.progress if self.settings.mixing == "decay" else 1.0
        mixed = 1.0 + share * (weights - 1.0)
        loss = policy_gradient(log_probs, advantages[active][:, None] * mixed, mask)
        clipped = ((weights - 1.0).abs() >= self.settings.clip * (1.0 - 1e-6)).float()
        return LossTerms(
            loss.sum() / len(active),
            {
                "kl": sequence_mean((log_probs - teacher).detach(), mask).mean(),
                "weight_clip_share": sequence_mean(clipped, mask).mean(),
                "weight_share": advantages.new_tensor(share),
                "entropy": sequence_mean(token_entropy(logits.detach()), mask).mean(),
            },
        )


METHOD = Rlsd

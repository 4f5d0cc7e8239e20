"""RT-OPD: the right answer, and on-policy distillation where the teacher is right.

Source: arXiv 2609.28778, ``L = CE(answer) + 0.25 · [teacher right] · KL(student‖teacher)`` with the
divergence on the student's own samples. This is abstract-level knowledge: check the source. Not in
it, and so ours: the teacher is right where the reward of its cached response is positive; the
cross-entropy is a mean over the answer's tokens and over prompts; the divergence is a mean over a
sample's tokens and over all samples, so that fewer right teachers weigh less.
"""

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
from echodistill.methods.on_samples import TEACHER, chosen_samples, reverse_kl, teacher_scores
from echodistill.methods.supervised import cross_entropy
from echodistill.params.methods import RtOpdSettings

GATE = "teacher_is_right"
"""Key of the score (B,) bool that says which samples are distilled."""


class RtOpd(Method):
    samples = True
    teachers = (TeacherSpec(frozenset({"targets", "log_probs"})),)
    rewards = ("answer",)

    def __init__(self, settings: RtOpdSettings) -> None:
        self.settings: RtOpdSettings = settings

    def annotate(self, batch: Batch, context: Context) -> None:
        """Set the gate and the teacher's scores of the samples that it lets through, and replace
        the teacher's responses by the right answers.
        """
        references = require(batch.targets).take(batch.first_of_group)
        right = context.rewards_of(context.rows, references) > 0
        gate = right.repeat_interleave(batch.group_size)
        batch.scores[GATE] = gate
        batch.scores[TEACHER] = teacher_scores(batch, context, self.settings.form == "full", gate)
        batch.targets = context.gold(context.rows).repeat(batch.group_size)
        batch.advantages = torch.zeros(len(gate), device=gate.device)
        context.record("gated_groups", right.float().mean())
        context.record(
            "zero_variance_groups", zero_variance(require(context.rewards)).float().mean()
        )

    def loss(self, batch: Batch, student: Forward) -> LossTerms:
        first, gold = batch.first_of_group, require(batch.targets)
        answers = gold.take(first)
        logits = require(student.logits(batch.prompts.take(first), answers.token_ids, answers.mask))
        answer_loss = cross_entropy(logits, answers.token_ids, answers.mask).mean()
        metrics = {"cross_entropy": answer_loss}
        gate = batch.scores[GATE]
        distill = answer_loss.new_zeros(())
        samples = chosen_samples(batch, student, gate)
        if samples is not None:
            (logits, ids, mask), teacher = samples, batch.scores[TEACHER][gate]
            loss, kl = reverse_kl(
                self.settings.form, logits, teacher, ids, mask, student.temperature
            )
            distill, metrics["kl"] = loss.sum() / len(gate), kl.mean()
        return LossTerms(answer_loss + self.settings.distill_weight * distill, metrics)


METHOD = RtOpd

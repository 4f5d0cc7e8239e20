"""On-policy distillation: the student learns its teacher's distribution along its own samples.

The student samples on the noisy clip. The teacher, the frozen model with the clean clip, scores
each sampled token. The objective is KL(student‖teacher), which needs neither a right answer nor a
reward. Both forms of its gradient are in ``on_samples.reverse_kl``. Teacher and student start as
one model, and the teacher is given the better clip [ours]; the sources have a larger teacher that
is given the same input.
"""

import torch

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
from echodistill.methods.on_samples import TEACHER, reverse_kl, teacher_scores
from echodistill.methods.supervised import token_entropy
from echodistill.params.methods import OpdSettings


class Opd(Method):
    samples = True
    teachers = (TeacherSpec(frozenset({"log_probs"})),)

    def __init__(self, settings: OpdSettings) -> None:
        self.settings: OpdSettings = settings

    def annotate(self, batch: Batch, context: Context) -> None:
        batch.scores[TEACHER] = teacher_scores(batch, context, self.settings.form == "full")
        batch.advantages = torch.zeros(
            len(batch.first_of_group), device=batch.first_of_group.device
        )

    def loss(self, batch: Batch, student: Forward) -> LossTerms:
        ids, mask = batch.samples
        logits = require(student.logits(batch.prompts, ids, mask))
        loss, kl = reverse_kl(
            self.settings.form, logits, batch.scores[TEACHER], ids, mask, student.temperature
        )
        entropy = sequence_mean(token_entropy(logits.detach()), mask)
        return LossTerms(loss.mean(), {"kl": kl.mean(), "entropy": entropy.mean()})


METHOD = Opd

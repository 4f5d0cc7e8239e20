"""Distillation alone: the second term of EchoDistill, on the teacher's responses and without
rollouts.

Source: arXiv 2605.23954, step 4 [paper+code].
"""

from echodistill.methods.base import Batch, Forward, LossTerms, Method, TeacherSpec, require
from echodistill.methods.targets import target_divergence
from echodistill.params.methods import DistillSettings


class Distill(Method):
    teachers = (TeacherSpec(frozenset({"targets"})),)

    def __init__(self, settings: DistillSettings) -> None:
        self.settings: DistillSettings = settings

    def loss(self, batch: Batch, student: Forward) -> LossTerms:
        targets = require(batch.targets)
        loss = target_divergence(self.settings.kl, student, batch.prompts, targets).mean()
        return LossTerms(loss, {"kl": loss})


METHOD = Distill

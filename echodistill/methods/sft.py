"""Supervised training on the gold answers of noisy clips: the baseline that needs labels."""

from echodistill.methods.base import Batch, Context, Forward, LossTerms, Method, require
from echodistill.methods.supervised import cross_entropy
from echodistill.params.methods import SftSettings


class Sft(Method):
    def __init__(self, settings: SftSettings) -> None:
        self.settings = settings

    def annotate(self, batch: Batch, context: Context) -> None:
        batch.targets = context.gold(context.rows)

    def loss(self, batch: Batch, student: Forward) -> LossTerms:
        targets = require(batch.targets)
        logits = require(student.logits(batch.prompts, targets.token_ids, targets.mask))
        return LossTerms(cross_entropy(logits, targets.token_ids, targets.mask).mean())


METHOD = Sft

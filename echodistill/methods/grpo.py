"""GRPO alone: TRL's own loss, with the advantages of EchoDistill without its bonus."""

from echodistill.methods.advantages import group_advantages
from echodistill.methods.base import Batch, Context, Method, TrlLoss, require
from echodistill.params.methods import GrpoSettings


class Grpo(Method):
    samples = True
    rewards = ("answer",)

    def __init__(self, settings: GrpoSettings) -> None:
        self.settings = settings
        self.trl_loss = TrlLoss(settings.clip, settings.kl_weight)

    def annotate(self, batch: Batch, context: Context) -> None:
        batch.advantages = group_advantages(require(context.rewards)).flatten()


METHOD = Grpo

"""Section ``train`` of ``params.yaml``: the method and the settings that all methods share."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from echodistill.params.accelerators import ACCELERATORS, AcceleratorName, EffOpdParams
from echodistill.params.faults import BadKey
from echodistill.params.methods import MethodName, MethodSettings, MethodsParams
from echodistill.params.types import (
    Count,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    Section,
    Share,
)


class LoraParams(Section):
    """The adapter, where ``weights`` is ``lora``."""

    rank: PositiveInt
    """Rank of the adapter's matrices."""
    alpha: PositiveFloat
    """The adapter's output is scaled by ``alpha / rank``."""
    dropout: Share
    """Dropout probability before the adapter."""


class RewardParams(Section):
    """The task reward of a sampled response."""

    open: Literal["exact", "overlap"]
    """Reward of an answer to an open question: ``exact`` is 1, -1 or 0 as for choices, ``overlap``
    the F1 of its words.
    """
    format_weight: NonNegativeFloat
    """Weight of a reward of 1 for a response in the form that ``prompt.style: chain`` asks for."""


class TrainParams(Section):
    """The method and the settings that all methods share."""

    method: MethodName
    """Method that trains the student."""
    steps: PositiveInt
    """Number of optimizer steps."""
    prompts_per_step: PositiveInt
    """Number of prompts in each step, over all devices together."""
    rollouts: Annotated[int, Field(ge=2)]
    """K, the number of samples for each prompt."""
    clean_rollouts: Count
    """Number of each prompt's samples that are drawn from the clean clip in place of the noisy one,
    below ``rollouts``; the loss has the noisy clip for all of them. Methods without samples ignore
    it.
    """
    temperature: PositiveFloat
    """Temperature that rollouts are sampled with."""
    reward: RewardParams
    warmup_share: Share
    """Share of the steps over which the learning rate rises, at least one step."""
    weight_decay: NonNegativeFloat
    """AdamW's weight decay."""
    max_grad_norm: PositiveFloat
    """Maximum norm, to which gradients are clipped."""
    checkpoint_every: PositiveInt
    """Number of optimizer steps between checkpoints."""
    weights: Literal["full", "lora"]
    """Whether all weights are trained, or only an adapter."""
    lora: LoraParams
    accelerator: AcceleratorName
    """Accelerator of the training, whatever its method."""
    effopd: EffOpdParams
    methods: MethodsParams

    @model_validator(mode="after")
    def _noisy_rollouts(self) -> "TrainParams":
        if self.clean_rollouts >= self.rollouts:
            raise BadKey(
                "clean_rollouts",
                f"must be below rollouts ({self.rollouts}): one sample of a prompt has to be drawn"
                " from the noisy clip",
            )
        return self

    @property
    def method_settings(self) -> MethodSettings:
        """Return the settings of the chosen method."""
        settings: MethodSettings = getattr(self.methods, self.method)
        return settings

    @property
    def chosen(self) -> "TrainParams":
        """Return this section without the settings of other methods and accelerators, which no
        training may read.
        """
        others = dict.fromkeys(set(MethodsParams.model_fields) - {self.method})
        methods = self.methods.model_copy(update=others)
        unused = dict.fromkeys(ACCELERATORS.keys() - {self.accelerator})
        return self.model_copy(update={"methods": methods, **unused})

    def effective(self) -> dict[str, Any]:
        """Return the values that a training depends on: this section with the settings of the
        chosen method and accelerator alone.
        """
        unused = ACCELERATORS.keys() - {self.accelerator}
        return self.model_dump(exclude={"methods", *unused}) | {
            "settings": self.method_settings.model_dump()
        }

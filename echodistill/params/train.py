"""Section ``train`` of ``params.yaml``: the method and the settings that all methods share."""

from typing import Annotated, Any, Literal

from pydantic import Field

from echodistill.params.methods import MethodName, MethodSettings, MethodsParams
from echodistill.params.types import NonNegativeFloat, PositiveFloat, PositiveInt, Section, Share


class LoraParams(Section):
    rank: PositiveInt
    alpha: PositiveFloat
    dropout: Share


class TrainParams(Section):
    method: MethodName
    steps: PositiveInt
    prompts_per_step: PositiveInt
    rollouts: Annotated[int, Field(ge=2)]
    """K, the number of samples for each prompt."""
    temperature: PositiveFloat
    warmup_share: Share
    weight_decay: NonNegativeFloat
    max_grad_norm: PositiveFloat
    checkpoint_every: PositiveInt
    """Number of optimizer steps between checkpoints."""
    weights: Literal["full", "lora"]
    lora: LoraParams
    methods: MethodsParams

    @property
    def method_settings(self) -> MethodSettings:
        """Return the settings of the chosen method."""
        settings: MethodSettings = getattr(self.methods, self.method)
        return settings

    @property
    def chosen(self) -> "TrainParams":
        """Return this section without the settings of the other methods, which no training may
        read.
        """
        others = dict.fromkeys(set(MethodsParams.model_fields) - {self.method})
        return self.model_copy(update={"methods": self.methods.model_copy(update=others)})

    def effective(self) -> dict[str, Any]:
        """Return the values that a training depends on: this section with the settings of the
        chosen method alone.
        """
        return self.model_dump(exclude={"methods"}) | {
            "settings": self.method_settings.model_dump()
        }

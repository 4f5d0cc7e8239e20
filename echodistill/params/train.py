"""Section ``train`` of ``params.yaml``: the method, its settings, and the optimizer's."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from echodistill.params.types import NonNegativeFloat, PositiveFloat, PositiveInt, Section, Share

Method = Literal["echodistill", "grpo", "distill", "sft"]


class LoraParams(Section):
    rank: PositiveInt
    alpha: PositiveFloat
    dropout: Share


class ObjectiveParams(Section):
    policy_weight: NonNegativeFloat
    distill_weight: NonNegativeFloat
    kl: Literal["forward", "reverse", "jsd"]
    shaping: Literal["off", "instance", "candidate"]
    shaping_bonus: NonNegativeFloat
    """β of the consistency bonus."""
    clip: PositiveFloat
    """ε of the ratio clip."""
    dual_clip: NonNegativeFloat
    """c: for a negative advantage the surrogate is never below c·A; 0 switches it off."""
    ratio_reference: Literal["teacher", "old"]

    @field_validator("dual_clip")
    @classmethod
    def _above_one(cls, value: float) -> float:
        # it would take the gradient of every sample the policy should unlearn
        if 0.0 < value <= 1.0:
            raise ValueError("must be above 1, or 0 to switch it off")
        return value


class MethodParams(Section):
    learning_rate: PositiveFloat


class GrpoParams(MethodParams):
    kl_weight: NonNegativeFloat
    """Of the penalty against the base model, TRL's ``beta``."""


class MethodsParams(Section):
    """Each method's own settings, so that changing ``train.method`` changes nothing else."""

    echodistill: MethodParams
    grpo: GrpoParams
    distill: MethodParams
    sft: MethodParams


class TrainParams(Section):
    method: Method
    steps: PositiveInt
    prompts_per_step: PositiveInt
    rollouts: Annotated[int, Field(ge=2)]
    """K: samples a prompt."""
    temperature: PositiveFloat
    warmup_share: Share
    weight_decay: NonNegativeFloat
    max_grad_norm: PositiveFloat
    checkpoint_every: PositiveInt
    """Optimizer steps."""
    weights: Literal["full", "lora"]
    lora: LoraParams
    objective: ObjectiveParams
    methods: MethodsParams

"""Section ``train.methods`` of ``params.yaml``: the registry of methods.

A method is a row here, which holds its settings and its description, and a file of the same name in
``echodistill/methods``. Everything else that lists methods (choices of the command line, of the
flow and of the parameters, tables, the model card) reads this registry. This module does not import
torch, so that reading parameters stays fast.
"""

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from echodistill.params.faults import BadKey
from echodistill.params.references import ViewName
from echodistill.params.types import (
    Count,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    Section,
    Share,
)

Divergence = Literal["forward", "reverse", "jsd"]
"""``forward`` is KL(teacher‖student), ``reverse`` is KL(student‖teacher), ``jsd`` is the
Jensen-Shannon divergence.
"""
ReverseKlForm = Literal["full", "sampled"]
"""How KL(student‖teacher) on the student's samples is computed; see ``methods.on_samples``."""


class MethodSettings(Section):
    """The settings that every method has."""

    label: ClassVar[str]
    """Name of the method in tables and pages."""
    description: ClassVar[str]
    """What the method does, in the words of the model card."""
    view: ClassVar[ViewName] = "clean"
    """View of the method's teacher. A method with another view than ``clean`` has no sense with any
    other than its own.
    """
    text_teacher: ClassVar[bool] = False
    """Whether the method has, in addition, a teacher without audio: ``base.text_teacher``."""

    needs: ClassVar[frozenset[str]] = frozenset()
    """Fields of ``records.Question`` or of its ``records.Clip`` that must be filled in for every
    training question.
    """

    learning_rate: PositiveFloat
    """Highest learning rate, reached after the warm-up; it then falls to 0 along a cosine."""


class EchoDistillSettings(MethodSettings):
    label = "EchoDistill: GRPO and distillation"
    description = (
        "GRPO on noisy clips, with agreement with a teacher on the clean clip as a bonus (arXiv"
        " 2605.23954)"
    )
    needs = frozenset({"answer"})

    policy_weight: NonNegativeFloat
    """Weight λ_policy of the policy term."""
    distill_weight: NonNegativeFloat
    """Weight λ_distill of the distillation term."""
    kl: Divergence
    """Divergence of the distillation term: KL(teacher, student), KL(student, teacher), or
    Jensen-Shannon.
    """
    shaping: Literal["off", "instance", "candidate"]
    """Consistency bonus of right samples: none, one for each prompt (as published), or one for each
    sample by its own tokens.
    """
    shaping_bonus: NonNegativeFloat
    """Weight β of the consistency bonus."""
    clip: PositiveFloat
    """Half-width ε of the ratio clip."""
    dual_clip: NonNegativeFloat
    """Factor c: for a negative advantage the surrogate is never below c·A; 0 switches it off."""
    ratio_reference: Literal["teacher", "old"]
    """Model that the ratio compares the student with: the teacher given the clean clip, or the
    student itself at the time of sampling.
    """
    schedule: Literal["constant", "distill_first", "crossfade"]
    """Weights of the two terms over the training: constant (as published), distillation alone and
    then the policy term alone, or a linear change from the one to the other.
    """
    distill_share: Share
    """Share of the steps in which ``distill_first`` distils."""

    @field_validator("dual_clip")
    @classmethod
    def _above_one(cls, value: float) -> float:
        # With c of at most 1 the dual clip would remove the gradient of every sample with a
        # negative advantage.
        if 0.0 < value <= 1.0:
            raise ValueError("must be above 1, or 0 to switch it off")
        return value


class GrpoSettings(MethodSettings):
    label = "GRPO alone: no teacher"
    description = "GRPO on noisy clips"
    needs = frozenset({"answer"})

    kl_weight: NonNegativeFloat
    """Weight of the penalty against the base model, TRL's ``beta``."""
    clip: PositiveFloat
    """Half-width ε of the ratio clip."""


class DistillSettings(MethodSettings):
    label = "distillation alone: no rollouts"
    description = "Token-level distillation from the same model given the clean clip"

    kl: Divergence
    """Divergence, as for ``echodistill``."""


class SftSettings(MethodSettings):
    label = "supervised on the gold answers"
    description = "Supervised training on the gold answers of noisy clips"
    needs = frozenset({"answer"})


class OpdSettings(MethodSettings):
    label = "on-policy distillation"
    description = "Distillation along the student's own samples of noisy clips, without a reward"

    form: ReverseKlForm
    """Reverse KL to the teacher over the whole vocabulary, or by the sampled token's log-ratio as
    its advantage.
    """


class RtOpdSettings(MethodSettings):
    label = "RT-OPD: right answers, and distillation where the teacher is right"
    description = (
        "Supervised training on noisy clips, with distillation along the student's own samples"
        " where the teacher on the clean clip is right (arXiv 2609.28778)"
    )
    needs = frozenset({"answer"})

    distill_weight: NonNegativeFloat
    """Weight of the distillation term."""
    form: ReverseKlForm
    """Form of the distillation term, as for ``opd``."""


class RlsdSettings(MethodSettings):
    label = "RLSD: sign of the reward, magnitude of the teacher"
    description = (
        "GRPO on noisy clips, with a teacher on the clean clip that weighs each token (arXiv"
        " 2604.03128)"
    )
    needs = frozenset({"answer"})

    clip: Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)]
    """Half-width ε of the clip of a token's weight, below 1 so that no weight is 0."""
    mixing: Literal["constant", "decay"]
    """Share of the teacher's weights in the advantages: 1, or falling from 1 to 0 over the
    training.
    """


class SrpoSettings(MethodSettings):
    label = "SRPO: GRPO on right samples, distillation of wrong ones"
    description = (
        "GRPO on right samples of noisy clips and distillation along wrong ones from a teacher on"
        " the clean clip (arXiv 2604.02288)"
    )
    needs = frozenset({"answer"})

    distill_weight: NonNegativeFloat
    """Weight of the distillation term."""
    kl: Divergence
    """Divergence of the distillation term, as for ``echodistill``."""
    entropy_beta: NonNegativeFloat
    """Factor β: a token weighs as ``exp(-β·H)``, where H is the teacher's entropy; 0 weighs all
    alike.
    """


class CordSettings(MethodSettings):
    label = "CORD: distillation from the transcript"
    description = (
        "On-policy distillation from the same model given the transcript, with more weight on early"
        " and critical tokens, and rewards for agreement with its answer (arXiv 2601.16547)"
    )
    needs = frozenset({"transcript"})
    view = "transcript"

    levels: Literal["both", "token", "sequence"]
    """Terms of the loss: the weighted divergence of each token, the policy gradient on the judge's
    rewards, or both.
    """
    critical_tokens: Count
    """K, the number of a response's tokens with the largest divergences, which are critical."""
    critical_weight: PositiveFloat
    """Weight α of a critical token; other tokens have 1."""
    first_weight: PositiveFloat
    """Weight β of a response's first token; it changes linearly to 1 at the last token."""
    judge: Literal["parsed", "embedding", "endpoint"]
    """How an answer to a question without choices is compared with the teacher's: as text, by the
    similarity of sentence embeddings, or by a language model behind an endpoint. Where there are
    choices, the parsed choices are compared.
    """
    judge_model: str | None
    """Model of the judge: a local folder or hub id of sentence embeddings, or the endpoint's name
    for a language model; ``None`` for ``parsed``.
    """
    judge_similarity: Share
    """Cosine similarity of two answers from which on ``embedding`` takes them for the same."""

    @model_validator(mode="after")
    def _judges(self) -> "CordSettings":
        if self.judge != "parsed" and not self.judge_model:
            raise BadKey("judge_model", f"the judge {self.judge} needs a model: name one")
        return self


class LayerwiseSettings(MethodSettings):
    label = "source- and layer-wise distillation"
    description = (
        "Distillation from a language model that reads the transcript, at several layers, with a"
        " frozen copy of the student that protects its acoustic skill, and supervised training on"
        " the gold answers (arXiv 2509.18579)"
    )
    needs = frozenset({"answer", "transcript"})
    text_teacher = True

    layer_step: PositiveInt
    """One layer of the student in this many is compared, from the last one downwards: 1 compares
    all of them, 7 is the paper's variant "skip".
    """
    layer_weight: NonNegativeFloat
    """Weight of the divergences from the textual teacher at the layers."""
    acoustic_weight: NonNegativeFloat
    """Weight of the divergences from the student before training, at the audio tokens; 0 needs no
    copy of it.
    """
    answer_weight: NonNegativeFloat
    """Weight of the cross-entropy of the gold answer."""


class MethodsParams(Section):
    """The settings of each method, kept apart so that a change of ``train.method`` changes nothing
    else.
    """

    echodistill: EchoDistillSettings
    grpo: GrpoSettings
    distill: DistillSettings
    sft: SftSettings
    opd: OpdSettings
    rt_opd: RtOpdSettings
    rlsd: RlsdSettings
    srpo: SrpoSettings
    cord: CordSettings
    layerwise: LayerwiseSettings


METHODS: dict[str, type[MethodSettings]] = {
    name: field.annotation  # type: ignore[misc]
    for name, field in MethodsParams.model_fields.items()
}
"""The settings of every method by its name."""
if TYPE_CHECKING:
    MethodName = str
else:
    MethodName = Literal[tuple(METHODS)]

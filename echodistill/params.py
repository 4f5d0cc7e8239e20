"""``params.yaml`` as frozen, validated values. An unknown key or a bad value is one clear error.

It holds *what* is computed (learning rates, global batch sizes), never *how* (device batch,
precision), so that another GPU invalidates nothing.
"""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from echodistill.audio.kinds import KINDS, fault_of_name
from echodistill.errors import UserError
from echodistill.params_corpus import CorpusParams
from echodistill.params_faults import BadKey, describe, keys_of
from echodistill.params_types import (
    Count,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    Section,
    Seed,
    Share,
    SnrDb,
)
from echodistill.yaml12 import load_yaml

Method = Literal["echodistill", "grpo", "distill", "sft"]
System = Literal[
    "sft", "grpo", "distill", "echodistill", "shaping-off", "shaping-instance", "shaping-candidate",
    "kl-forward", "kl-reverse", "kl-jsd", "ratio-teacher", "ratio-old", "rollouts-2", "rollouts-8",
    "beta-0.2", "beta-1",
]  # fmt: skip
"""What a comparison can train: ``systems.py`` says how each differs."""
Denoiser = Literal["wavelet", "spectral_gating", "log_mmse", "deepfilternet3"]
Control = Literal["shuffled", "noise", "silence"]
ViewName = Literal["clean", Control]
_SCHEDULER = re.compile(r"(tcp|tls)://([\w.-]+|\[[0-9A-Fa-f:]+\]):[0-9]{1,5}", re.ASCII)


class MixesParams(Section):
    kinds: tuple[str, ...] = Field(min_length=1)
    unseen: tuple[str, ...]
    """Kinds that only the test hears."""
    noise: Literal["procedural", "recordings"]
    recordings: str
    """Folder with one sub-folder of recordings a kind, or files named after kinds; ``procedural``
    does not look at it.
    """
    procedural: tuple[str, ...]
    """Kinds that are procedural beside recorded ones."""
    snrs_db: tuple[SnrDb, ...] = Field(min_length=1)
    """The test grid."""
    train_snrs_db: tuple[SnrDb, ...] = Field(min_length=1)
    decision_snrs_db: tuple[SnrDb, ...] = Field(min_length=1)
    """In which the promotion is decided, beside clean clips."""
    train_clean_share: Share
    """Of the training mixes that stay clean, so that clean skill is kept."""
    train_draws: PositiveInt
    """Mixes drawn for each training clip."""

    @field_validator("kinds")
    @classmethod
    def _names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if faults := [fault for kind in value if (fault := fault_of_name(kind))]:
            raise ValueError(faults[0])
        return value

    @model_validator(mode="after")
    def _kinds(self) -> "MixesParams":
        for name in ("unseen", "procedural"):
            if stray := set(getattr(self, name)) - set(self.kinds):
                raise BadKey(name, f"{sorted(stray)} are not in kinds")
        for name, kinds in (
            ("kinds", self.kinds if self.noise == "procedural" else ()),
            ("procedural", self.procedural),
        ):
            if unknown := set(kinds) - set(KINDS):
                raise BadKey(
                    name, f"{sorted(unknown)} have no procedural noise; known: {', '.join(KINDS)}"
                )
        if set(self.unseen) == set(self.kinds):
            raise BadKey("unseen", "every kind is unseen: nothing is left to train with")
        for name in ("kinds", "unseen", "procedural", "snrs_db", "decision_snrs_db"):
            if len(set(getattr(self, name))) != len(getattr(self, name)):
                raise BadKey(name, "something stands there twice")
        return self

    @property
    def seen(self) -> tuple[str, ...]:
        return tuple(kind for kind in self.kinds if kind not in self.unseen)

    @property
    def recorded(self) -> tuple[str, ...]:
        """Kinds that are taken from recordings."""
        return (
            ()
            if self.noise == "procedural"
            else tuple(kind for kind in self.kinds if kind not in self.procedural)
        )


class NanoParams(Section):
    width: Annotated[int, Field(gt=0, multiple_of=48)]
    encoder_layers: PositiveInt
    decoder_layers: PositiveInt
    steps: PositiveInt
    batch: PositiveInt
    learning_rate: PositiveFloat
    ctc_weight: NonNegativeFloat
    """Of an auxiliary CTC loss on the encoder, where transcripts are known."""
    min_snr_db: SnrDb
    """Pre-training adds mild noise only, uniform between these."""
    max_snr_db: SnrDb
    noise_only_share: Share
    """Of the last 40 % of the examples: noise alone, so that the model learns to stay within the
    offered choices.
    """

    @model_validator(mode="after")
    def _ranges(self) -> "NanoParams":
        if self.min_snr_db > self.max_snr_db:
            raise BadKey("min_snr_db", "must not be above max_snr_db")
        return self


class BaseParams(Section):
    model: str = Field(min_length=1)
    """``nano``, a local folder or a hub id."""
    trust_remote_code: bool
    nano: NanoParams


class GenerationParams(Section):
    """Of all responses: references, rollouts and answers."""

    max_new_tokens: PositiveInt | None
    """The longest response; ``None``: derived from the longest choice
    (``models/response_limit.py``).
    """


class ReferencesParams(Section):
    view: ViewName
    """What the teacher is given in place of the student's noisy clip; all but ``clean`` are
    controls.
    """
    top_k: PositiveInt
    """Log-probabilities kept a token; the rest is kept as one tail bucket."""
    full_vocabulary_up_to: Count
    """Vocabularies up to this size are kept whole."""


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
        if (
            0.0 < value <= 1.0
        ):  # it would take the gradient of every sample the policy should unlearn
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


class CompareParams(Section):
    headline_max_snr_db: SnrDb
    """The headline averages over this SNR and below."""
    bootstrap_draws: Annotated[int, Field(ge=100)]
    confidence: Annotated[float, Field(gt=0.5, lt=1.0)]


class EvaluationParams(Section):
    """What is evaluated where the corpus is a test alone, beside the base."""

    student: Annotated[str, Field(min_length=1)] | None
    """Folder of a student that was trained before; ``None``: the base by itself."""


class ComparisonParams(Section):
    """What ``echodistill compare`` trains and puts side by side."""

    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)]
    """Of training; all else has the one ``seed``."""
    systems: Annotated[tuple[System, ...], Field(min_length=1)]
    controls: tuple[Control, ...]
    """Views of the teacher of `echodistill` in place of the clean one; each is trained like a
    system.
    """
    denoisers: tuple[Denoiser, ...]
    """Each tried in front of the base and of the first seed's student."""
    folds: tuple[PositiveInt, ...]
    """Numbers of the further folds in which ``echodistill`` is trained without other kinds of
    noise: 2, 3, ... or none.
    """

    @field_validator("folds")
    @classmethod
    def _counted(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if value != tuple(range(2, len(value) + 2)):
            raise ValueError("must count up from 2, e.g. [2, 3]: fold 1 holds out mixes.unseen")
        return value

    @field_validator("seeds", "systems", "controls", "denoisers")
    @classmethod
    def _once(cls, value: tuple[Any, ...]) -> tuple[Any, ...]:
        if twice := [one for one in value if value.count(one) > 1]:
            raise ValueError(f"{twice[0]!r} stands twice")
        return value

    @field_validator("systems")
    @classmethod
    def _ours(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if "echodistill" not in value:
            raise ValueError("must hold echodistill, which the others are compared with")
        return value

    @property
    def trained(self) -> tuple[System | Control, ...]:
        """All that is trained, in the order of tables."""
        return (*self.systems, *self.controls)


class PromoteParams(Section):
    clean_acc_margin: Share
    """How much clean accuracy may fall."""


class GatesParams(Section):
    snr_tolerance_db: PositiveFloat
    max_position_share: Share
    """No choice position may hold more right answers than this."""
    min_parse_rate: Share
    """Of the teacher's references."""
    above_chance: Share
    """Clean accuracy must pass chance by this."""
    max_truncated_share: Share
    """Of the references, and of each system's answers, that may be cut at the length limit."""


class WorkersParams(Section):
    """Where CPU work is computed. The results are the same bytes everywhere, so no stage lists this
    for DVC.
    """

    address: str | None
    """A Dask scheduler (``tcp://host:8786``); ``None``: this machine's cores."""

    @field_validator("address")
    @classmethod
    def _scheduler(cls, value: str | None) -> str | None:
        if value is not None and not _SCHEDULER.fullmatch(value):
            raise ValueError(
                "is no address of a Dask scheduler: write tcp://host:8786, or null for this"
                " machine's cores"
            )
        return value


class Params(Section):
    seed: Seed
    workers: WorkersParams
    corpus: CorpusParams
    mixes: MixesParams
    base: BaseParams
    generation: GenerationParams
    references: ReferencesParams
    train: TrainParams
    compare: CompareParams
    comparison: ComparisonParams
    evaluation: EvaluationParams
    promote: PromoteParams
    gates: GatesParams

    @model_validator(mode="after")
    def _headline(self) -> "Params":
        if self.compare.headline_max_snr_db < min(self.mixes.snrs_db):
            raise BadKey(
                "compare.headline_max_snr_db",
                "is below every one of mixes.snrs_db: there is nothing to average",
            )
        if self.compare.headline_max_snr_db < min(self.mixes.decision_snrs_db):
            raise BadKey(
                "mixes.decision_snrs_db",
                "are all above compare.headline_max_snr_db: there is nothing to decide on",
            )
        return self


def load_params(path: Path) -> Params:
    """Read and validate. Raises ``UserError`` naming each bad key."""
    try:
        raw = load_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}): run in the repository's root"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    return validate_params(raw, str(path))


def validate_params(raw: Any, name: str) -> Params:
    """Validate a parsed ``params.yaml``. Raises ``UserError`` with one part a bad key."""
    try:
        return Params.model_validate(raw)
    except ValidationError as error:
        # a list with one bad item is also told to be too short, as if it had been given empty
        faults = [
            fault for fault in error.errors() if fault["type"] != "too_short" or not fault["input"]
        ]
        known = list(keys_of(Params))
        raise UserError(
            f"{name}: " + "; ".join(describe(fault, known) for fault in faults or error.errors())
        ) from error

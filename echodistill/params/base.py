"""Section ``base`` of ``params.yaml``: the model to make robust."""

from typing import Annotated

from pydantic import Field, model_validator

from echodistill.params.faults import BadKey
from echodistill.params.types import (
    Count,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    Section,
    Share,
    SnrDb,
)


class NanoParams(Section):
    """How ``nano`` is built and pre-trained; other models ignore this."""

    width: Annotated[int, Field(gt=0, multiple_of=48)]
    """Width of encoder and decoder."""
    encoder_layers: PositiveInt
    """Number of layers of the audio encoder."""
    decoder_layers: PositiveInt
    """Number of layers of the language model."""
    steps: PositiveInt
    """Number of optimizer steps of the pre-training."""
    batch: PositiveInt
    """Number of examples in each step."""
    learning_rate: PositiveFloat
    """Highest learning rate of the pre-training, reached after its warm-up."""
    ctc_weight: NonNegativeFloat
    """Weight of an auxiliary CTC loss on the encoder, where transcripts are known."""
    min_snr_db: SnrDb
    """Lowest SNR in dB of the mild noise that pre-training adds, uniform up to ``max_snr_db``."""
    max_snr_db: SnrDb
    """Highest SNR in dB of that noise."""
    noise_only_share: Share
    """Share of the last 40 % of the examples that are noise alone, so that the model learns to
    answer with one of the offered choices.
    """
    transcript_share: Share
    """Share of the batches whose prompts have the transcript in place of the clip, so that the
    model can be a teacher whose view is ``transcript``.
    """

    @model_validator(mode="after")
    def _ranges(self) -> "NanoParams":
        if self.min_snr_db > self.max_snr_db:
            raise BadKey("min_snr_db", "must not be above max_snr_db")
        return self


class SampledParams(Section):
    """Whether and how several responses of the base are sampled for each question."""

    questions: Count
    """Largest number of questions, about clips that the base was not trained on; 0 samples none."""
    task: str
    """Task family of these questions (``corpus.tasks``); empty for all questions."""
    samples: Annotated[int, Field(ge=2)]
    """Number of responses to each question."""


class TextNanoParams(Section):
    """How a text teacher is built and trained for ``nano``, where ``base.text_teacher`` is
    ``nano``.
    """

    width: Annotated[int, Field(gt=0, multiple_of=48)]
    """Width of the language model."""
    layers: PositiveInt
    """Number of its layers."""
    steps: PositiveInt
    """Number of optimizer steps."""
    batch: PositiveInt
    """Number of questions in each step."""
    learning_rate: PositiveFloat
    """Highest learning rate, reached after the warm-up."""


class BaseParams(Section):
    """The model to make robust."""

    model: str = Field(min_length=1)
    """``nano``, a local folder or a model id of the Hugging Face hub."""
    trust_remote_code: bool
    """Whether code in a hub repository may be executed."""
    text_teacher: Annotated[str, Field(min_length=1)] | None
    """Teacher without audio, for methods that have one: ``nano`` trains one for the base ``nano``
    on the transcripts, a local folder names a text model with the base's tokens, ``null`` makes
    none.
    """
    text_nano: TextNanoParams
    nano: NanoParams
    sampled: SampledParams

    @model_validator(mode="after")
    def _nano_for_nano(self) -> "BaseParams":
        if self.text_teacher == "nano" and self.model != "nano":
            raise BadKey(
                "text_teacher",
                "nano is a teacher of the base nano: give the folder of a text model with the"
                f" tokens of {self.model}",
            )
        return self

"""Define the interface of a family of audio language models, and the prompts that it encodes.

A family is one architecture: how its audio is encoded, how its chat is rendered, which tensors its
model takes. No other part of the program depends on a particular family. Imports torch, not
transformers.

Shapes: B rows, P prompt tokens (left-padded), T response tokens (right-padded).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

import torch

from echodistill.audio.levels import SAMPLE_RATE, Waveform
from echodistill.core.errors import UserError
from echodistill.core.prompt_style import PromptStyle
from echodistill.core.records import Question
from echodistill.models.prompts import question_about_text, question_text


@dataclass(frozen=True)
class Prompt:
    """A clip (samples,) at 16 kHz, a question and its choices. Without a clip, as a control, the
    prompt is the text alone.
    """

    waveform: Waveform | None
    question: str
    choices: Sequence[str]
    style: PromptStyle = "direct"

    @property
    def text(self) -> str:
        """Return the text that the model receives beside the clip."""
        return question_text(self.question, self.choices, self.style)


def prompt_of(question: Question, waveform: Waveform | None) -> Prompt:
    """Return the prompt that asks ``question`` about a clip."""
    return Prompt(waveform, question.question, question.choices, question.style)


def prompt_about_text(question: Question, text: str) -> Prompt:
    """Return the prompt that asks ``question`` about a clip that ``text`` replaces."""
    about = question_about_text(text, question.question)
    return Prompt(None, about, question.choices, question.style)


@dataclass(frozen=True)
class PromptBatch:
    """Encoded prompts.

    Every tensor has one entry per row along dim 0, also if the model's encoder takes the frames of
    all clips in one axis: TRL and accelerate shuffle, split and gather all tensors of a batch along
    dim 0. Such a family pads the features here, keeps their lengths or mask as a feature, and packs
    them in ``AudioFamily.audio_inputs``.
    """

    input_ids: torch.Tensor
    """Token ids, (B, P) int64, left-padded, with audio placeholders expanded."""
    attention_mask: torch.Tensor
    """Mask of the tokens that are not padding, (B, P) int64."""
    features: dict[str, torch.Tensor]
    """Audio of each row, (B, ...); empty if no prompt has a clip."""

    def __post_init__(self) -> None:
        rows = len(self.input_ids)
        if packed := [name for name, tensor in self.features.items() if len(tensor) != rows]:
            raise ValueError(f"features {packed} do not have {rows} rows: pack in audio_inputs")

    def to(self, device: torch.device) -> "PromptBatch":
        """Return the batch on ``device``."""
        return self._each(lambda tensor: tensor.to(device))

    def repeat(self, times: int) -> "PromptBatch":
        """Return the batch with each row repeated ``times`` times in succession, for the rollouts
        of each prompt.
        """
        return self._each(lambda tensor: tensor.repeat_interleave(times, dim=0))

    def take(self, rows: torch.Tensor) -> "PromptBatch":
        """Return the rows chosen by a mask (B,) bool or by their numbers (N,) int64."""
        return self._each(lambda tensor: tensor[rows])

    def where(self, rows: torch.Tensor, other: "PromptBatch") -> "PromptBatch":
        """Return the batch with the rows of ``other`` where ``rows`` (B,) bool is false.

        Both batches must have the same shapes.
        """

        def chosen(own: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
            return torch.where(rows.view(-1, *[1] * (own.dim() - 1)), own, others)

        return PromptBatch(
            chosen(self.input_ids, other.input_ids),
            chosen(self.attention_mask, other.attention_mask),
            {name: chosen(own, other.features[name]) for name, own in self.features.items()},
        )

    def without_audio(self) -> "PromptBatch":
        """Return the batch without audio features, for prompts whose audio is in a cache or that
        have none.
        """
        return PromptBatch(self.input_ids, self.attention_mask, {})

    def _each(self, change: Callable[[torch.Tensor], torch.Tensor]) -> "PromptBatch":
        features = {name: change(tensor) for name, tensor in self.features.items()}
        return PromptBatch(change(self.input_ids), change(self.attention_mask), features)


class Processor(Protocol):
    """An object that converts texts and clips into tensors: transformers' own, or a family's if
    that cannot be used.
    """

    tokenizer: Any
    """Tokenizer of transformers."""
    chat_template: Any
    """Template that ``AudioFamily.render`` uses; it is part of a reference's key."""

    def save_pretrained(self, save_directory: Path) -> object:
        """Write all files that ``AudioFamily.load`` reads."""

    def to_dict(self) -> dict[str, Any]:
        """Return all settings; they are part of a reference's key."""
        ...


class AudioFamily(Protocol):
    """One architecture, with the processor of one model of it.

    A further family is a class with these members in a file of ``families/``, and a row in
    ``families/registry.py``.
    """

    model_class: ClassVar[Any]
    """Class of transformers whose ``from_pretrained`` reads the model and its configuration. The
    program passes ``use_safetensors``, so that no family can read pickles.
    """
    audio_token_id: int
    """Id of the placeholder token that the model replaces by a vector of the encoded audio."""
    never_sample: list[int]
    """Ids of all tokens that no response may have: the audio placeholder and the tokens around it.
    """

    @classmethod
    def load(cls, name: str, trust_remote_code: bool, revision: str | None) -> Self:
        """Return the family with the processor of the model ``name``: a folder, or a hub id at the
        commit ``revision``.
        """
        ...

    @property
    def processor(self) -> Processor:
        """Processor that was loaded with the model."""
        ...

    @property
    def max_seconds(self) -> float:
        """Length of the longest clip that the model takes, in seconds; finite."""
        ...

    def fit_fault(self, config: Any) -> str:
        """Return which part of the processor does not fit the model's ``config``; empty if all
        parts do.
        """
        ...

    def render(self, text: str, audio_tokens: int) -> str:
        """Return the chat that asks ``text`` about a clip of ``audio_tokens`` placeholders, as text
        for the tokenizer; 0 placeholders mean that there is no clip.
        """
        ...

    def encode(self, prompts: Sequence[Prompt]) -> PromptBatch:
        """Return the prompts encoded on the CPU; all of them must have a clip, or none.

        Raise ``UserError`` for a clip that is too long or too short.
        """
        ...

    def audio_inputs(self, batch: PromptBatch) -> dict[str, torch.Tensor]:
        """Return the audio of ``batch`` as keyword arguments of ``generate``, in the layout of the
        encoder; empty if the batch has no features.
        """
        ...

    def forward_inputs(
        self, batch: PromptBatch, response_ids: torch.Tensor, response_mask: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Return the arguments of the model's forward pass for prompts followed by responses;
        ``response_ids`` and ``response_mask`` are (B, T) int64.

        Among them are ``input_ids`` and ``attention_mask`` (B, P + T), and ``position_ids`` (..., P
        + T), since an architecture may count positions in several dimensions. A batch without
        features may still have placeholders, if their audio is in a cache already.
        """
        ...

    def shared_encoder(self, model: Any) -> torch.nn.Module | None:
        """Return the module of ``model`` that is called with one row per clip, so that equal rows
        are computed once; ``None`` if the rows of the encoder are not clips.
        """
        ...


def clips_of(prompts: Sequence[Prompt], max_seconds: float) -> list[Waveform]:
    """Return the clip of each prompt; nothing if no prompt has one.

    Raise ``UserError`` for a clip longer than ``max_seconds``, which an extractor would cut without
    an error.
    """
    waveforms = [prompt.waveform for prompt in prompts if prompt.waveform is not None]
    if len(waveforms) not in (0, len(prompts)):
        raise ValueError("a batch of prompts with and without a clip")
    longest = max(map(len, waveforms), default=0)
    # the window of nano is no whole number of seconds
    if longest > round(max_seconds * SAMPLE_RATE):
        raise UserError(
            f"a clip of {longest / SAMPLE_RATE:.2f} s does not fit the model's window of"
            f" {max_seconds:g} s: give a shorter one (of a corpus: lower corpus.max_duration_s)"
        )
    return waveforms


def tokens_of(tokenizer: Any, texts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the token ids of rendered texts, left-padded, with their mask: (B, P) int64 each."""
    rows = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    return pad_rows(rows, tokenizer.pad_token_id, left=True)


def pad_rows(
    rows: Sequence[Sequence[int]], pad_id: int, left: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return token rows as (B, longest) int64 with their mask, padded left or right."""
    width = max(len(row) for row in rows)
    ids = torch.full((len(rows), width), pad_id, dtype=torch.int64)
    mask = torch.zeros((len(rows), width), dtype=torch.int64)
    for index, row in enumerate(rows):
        place = slice(width - len(row), width) if left else slice(0, len(row))
        ids[index, place] = torch.tensor(row, dtype=torch.int64)
        mask[index, place] = 1
    return ids, mask


def joined(
    batch: PromptBatch, response_ids: torch.Tensor, response_mask: torch.Tensor
) -> dict[str, torch.Tensor]:
    """Return ``input_ids``, ``attention_mask`` and ``position_ids``, (B, P + T) int64 each, of
    prompts and responses whose positions are counted in one dimension, from the first token that is
    not padding.
    """
    mask = torch.cat([batch.attention_mask, response_mask], dim=1)
    return {
        "input_ids": torch.cat([batch.input_ids, response_ids], dim=1),
        "attention_mask": mask,
        "position_ids": (mask.cumsum(dim=1) - 1).clamp(min=0),
    }

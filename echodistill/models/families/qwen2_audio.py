"""Implement Qwen2-Audio: a Whisper encoder with pooling, a projector and a Qwen2 decoder.

Shapes: B clips, M mel bins, F mel frames of a window.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, Self

import echodistill.models.torchaudio_guard  # noqa: F401

import torch
from transformers import AutoModelForMultimodalLM, AutoProcessor

from echodistill.audio.levels import SAMPLE_RATE, Waveform
from echodistill.core.errors import UserError
from echodistill.models.base import Prompt, PromptBatch, clips_of, joined, tokens_of

AUDIO_TOKEN = "<|AUDIO|>"
NEVER_SAMPLED = (AUDIO_TOKEN, "<|audio_bos|>", "<|audio_eos|>")
MIN_TOKENS = 2
"""Fewest audio tokens of a clip: the model takes a single one for a placeholder that is not
expanded yet.
"""


class Qwen2Audio:
    """The family of Qwen2-Audio; see ``models.base.AudioFamily`` for its members."""

    model_class: ClassVar[Any] = AutoModelForMultimodalLM

    def __init__(self, processor: Any) -> None:
        """Take a ``Qwen2AudioProcessor``."""
        self.processor = processor
        known: dict[str, int] = processor.tokenizer.get_vocab()
        self.audio_token_id: int = processor.tokenizer.convert_tokens_to_ids(AUDIO_TOKEN)
        self.never_sample = [known[token] for token in NEVER_SAMPLED if token in known]

    @classmethod
    def load(cls, name: str, trust_remote_code: bool, revision: str | None) -> Self:
        return cls(
            AutoProcessor.from_pretrained(
                name, trust_remote_code=trust_remote_code, revision=revision
            )
        )

    @property
    def max_seconds(self) -> float:
        return float(self.processor.feature_extractor.chunk_length)

    def fit_fault(self, config: Any) -> str:
        """Return which part of the processor does not fit ``config``.

        Files of two models in one folder load without an error; the first clip would then end in an
        error of torch, or be answered at random.
        """
        extractor, tokenizer = self.processor.feature_extractor, self.processor.tokenizer
        if extractor.sampling_rate != SAMPLE_RATE:
            return (
                f"preprocessor_config.json states {extractor.sampling_rate} Hz, and only"
                f" {SAMPLE_RATE} Hz are supported"
            )
        bins, wanted = extractor.feature_size, config.audio_config.num_mel_bins
        if bins != wanted:
            return f"preprocessor_config.json gives {bins} mel bins, and the model takes {wanted}"
        # the encoder halves the number of frames
        frames, taken = extractor.nb_max_frames, 2 * config.audio_config.max_source_positions
        if frames != taken:
            return (
                f"preprocessor_config.json gives {frames} frames a window, and the model takes"
                f" {taken}"
            )
        # the padding and end tokens may be outside the model's vocabulary: see
        # ``tokens.complete_tokens``
        named = (tokenizer.pad_token, tokenizer.eos_token)
        ids = [index for token, index in tokenizer.get_vocab().items() if token not in named]
        known, size = max(ids) + 1, config.get_text_config().vocab_size
        if known > size:
            return f"the tokenizer has {known} tokens, and the model {size}"
        if self.audio_token_id != config.audio_token_id:
            return (
                f"{AUDIO_TOKEN} is token {self.audio_token_id} of the tokenizer, and the model's"
                f" configuration has {config.audio_token_id}"
            )
        return ""

    def render(self, text: str, audio_tokens: int) -> str:
        audio = [{"type": "audio", "audio_url": ""}] if audio_tokens else []
        conversation = [{"role": "user", "content": [*audio, {"type": "text", "text": text}]}]
        chat: str = self.processor.apply_chat_template(
            conversation, add_generation_prompt=True, tokenize=False
        )
        return chat.replace(AUDIO_TOKEN, AUDIO_TOKEN * audio_tokens, 1)

    def encode(self, prompts: Sequence[Prompt]) -> PromptBatch:
        waveforms = clips_of(prompts, self.max_seconds)
        features, counts = self._encode_audio(waveforms) if waveforms else ({}, [0] * len(prompts))
        texts = [
            self.render(prompt.text, count) for prompt, count in zip(prompts, counts, strict=True)
        ]
        return PromptBatch(*tokens_of(self.processor.tokenizer, texts), features)

    def _encode_audio(
        self, waveforms: Sequence[Waveform]
    ) -> tuple[dict[str, torch.Tensor], list[int]]:
        """Return log-mel features (B, M, F) with their mask (B, F), and the number of audio tokens
        of each clip. Raise ``UserError`` for a clip that is too short.
        """
        encoded = self.processor.feature_extractor(
            list(waveforms),
            sampling_rate=SAMPLE_RATE,
            padding="max_length",
            max_length=round(self.max_seconds * SAMPLE_RATE),
            return_attention_mask=True,
            return_tensors="pt",
        )
        mask = encoded["attention_mask"]
        tokens = [audio_tokens(int(frames)) for frames in mask.sum(dim=1)]
        if min(tokens) < MIN_TOKENS:
            shortest = min(len(waveform) for waveform in waveforms)
            raise UserError(
                f"a clip of {shortest / SAMPLE_RATE:.3f} s is too short for the model: give 0.07 s"
                " or more"
            )
        return {"input_features": encoded["input_features"], "feature_attention_mask": mask}, tokens

    def audio_inputs(self, batch: PromptBatch) -> dict[str, torch.Tensor]:
        return dict(batch.features)

    def forward_inputs(
        self, batch: PromptBatch, response_ids: torch.Tensor, response_mask: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        return joined(batch, response_ids, response_mask) | self.audio_inputs(batch)

    def shared_encoder(self, model: Any) -> torch.nn.Module | None:
        encoder: torch.nn.Module = model.model.audio_tower
        return encoder


def audio_tokens(frames: int) -> int:
    """Return the number of audio tokens of ``frames`` mel frames: a stride-2 convolution, then
    pooling by 2.
    """
    return ((frames - 1) // 2 + 1 - 2) // 2 + 1

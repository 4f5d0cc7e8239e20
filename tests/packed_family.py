"""A made-up family that differs from Qwen2-Audio in all that ``AudioFamily`` leaves open.

Its encoder takes the frames of all clips in one axis, so that its rows are no clips; its positions
are counted in three dimensions; transformers does not know its model, nor its processor.

Shapes: B clips, F frames of the longest clip, N frames of all clips, S spectral bins.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import echodistill.models.torchaudio_guard  # noqa: F401

import numpy as np
import torch
from transformers import (
    AutoConfig,
    AutoTokenizer,
    GenerationMixin,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
)
from transformers.modeling_outputs import BaseModelOutput

from echodistill.audio.levels import SAMPLE_RATE, Waveform
from echodistill.core.errors import UserError
from echodistill.models.base import Prompt, PromptBatch, clips_of, joined, tokens_of

AUDIO_TOKEN = "<|AUDIO|>"
FRAME, BINS, WIDTH = 640, 16, 48
"""Samples of a frame, which is one audio token; spectral bins; the width of the decoder."""


class PackedConfig(PreTrainedConfig):
    """A decoder, and the placeholder of a frame."""

    model_type = "packed"
    sub_configs: ClassVar[dict[str, Any]] = {"text_config": Qwen2Config}

    def __init__(
        self, text_config: Any = None, audio_token_id: int | None = None, **others: Any
    ) -> None:
        given = text_config if isinstance(text_config, dict) else None
        self.text_config = Qwen2Config(**given) if given is not None else text_config
        self.audio_token_id = audio_token_id
        super().__init__(**others)


class PackedEncoder(torch.nn.Module):
    """Frames of all clips in one axis: each is seen with the mean of its own clip."""

    def __init__(self) -> None:
        super().__init__()
        self.own, self.whole = torch.nn.Linear(BINS, WIDTH), torch.nn.Linear(BINS, WIDTH)

    def forward(self, frames: torch.Tensor, lengths: torch.Tensor) -> BaseModelOutput:
        """``frames`` (S, N), ``lengths`` (B,) of them; the output is (N, WIDTH)."""
        rows = frames.T
        means = torch.cat(
            [clip.mean(dim=0).expand(len(clip), -1) for clip in rows.split(lengths.tolist())]
        )
        return BaseModelOutput(last_hidden_state=self.own(rows) + self.whole(means))


class PackedModel(PreTrainedModel, GenerationMixin):
    """A decoder whose placeholders are replaced by encoded frames."""

    config_class = PackedConfig
    base_model_prefix = "decoder"

    def __init__(self, config: PackedConfig) -> None:
        super().__init__(config)
        self.encoder = PackedEncoder()
        self.decoder = Qwen2ForCausalLM(config.text_config)
        self.post_init()

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: Any = None,
        frames: torch.Tensor | None = None,
        frame_lengths: torch.Tensor | None = None,
        **others: Any,
    ) -> Any:
        """Return the decoder's output; ``position_ids`` are (3, B, T), and (B, T) in generation."""
        vectors = self.decoder.get_input_embeddings()(input_ids)
        places = input_ids == self.config.audio_token_id
        if frames is not None and places.any():  # behind a cache there are none
            assert frame_lengths is not None
            encoded = self.encoder(frames, frame_lengths).last_hidden_state
            assert int(places.sum()) == len(encoded)
            vectors = vectors.masked_scatter(places[..., None], encoded.to(vectors.dtype))
        if position_ids is not None and position_ids.dim() == 3:
            position_ids = position_ids[2]
        return self.decoder(
            inputs_embeds=vectors,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            use_cache=others.get("use_cache"),
        )


class PackedProcessor:
    """A tokenizer alone."""

    chat_template = "<|im_start|>{audio}{text}<|im_end|><|im_start|>"

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    def save_pretrained(self, save_directory: Path) -> None:
        self.tokenizer.save_pretrained(save_directory)
        (Path(save_directory) / "packed.json").write_text(json.dumps(self.to_dict()))

    def to_dict(self) -> dict[str, Any]:
        return {"frame": FRAME}


class PackedFamily:
    """See ``models.base.AudioFamily`` for its members."""

    model_class: ClassVar[Any] = PackedModel
    max_seconds = 0.6

    def __init__(self, processor: PackedProcessor) -> None:
        self.processor = processor
        self.audio_token_id: int = processor.tokenizer.convert_tokens_to_ids(AUDIO_TOKEN)
        self.never_sample = [self.audio_token_id]

    @classmethod
    def load(cls, name: str, trust_remote_code: bool, revision: str | None) -> Self:
        return cls(PackedProcessor(AutoTokenizer.from_pretrained(name, revision=revision)))

    def fit_fault(self, config: Any) -> str:
        return "" if config.audio_token_id == self.audio_token_id else "another audio token"

    def render(self, text: str, audio_tokens: int) -> str:
        return self.processor.chat_template.format(audio=AUDIO_TOKEN * audio_tokens, text=text)

    def encode(self, prompts: Sequence[Prompt]) -> PromptBatch:
        clips = [frames_of(clip) for clip in clips_of(prompts, self.max_seconds)]
        counts = [len(clip) for clip in clips] or [0] * len(prompts)
        texts = [
            self.render(prompt.text, count) for prompt, count in zip(prompts, counts, strict=True)
        ]
        ids, mask = tokens_of(self.processor.tokenizer, texts)
        if not clips:
            return PromptBatch(ids, mask, {})
        frames = torch.nn.utils.rnn.pad_sequence(clips, batch_first=True)
        return PromptBatch(ids, mask, {"frames": frames, "lengths": torch.tensor(counts)})

    def audio_inputs(self, batch: PromptBatch) -> dict[str, torch.Tensor]:
        """``frames`` (S, N) of the padded ones (B, F, S), with ``frame_lengths`` (B,)."""
        if not batch.features:
            return {}
        frames, lengths = batch.features["frames"], batch.features["lengths"]
        there = torch.arange(frames.shape[1], device=frames.device) < lengths[:, None]
        return {"frames": frames[there].T, "frame_lengths": lengths}

    def forward_inputs(
        self, batch: PromptBatch, response_ids: torch.Tensor, response_mask: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        inputs = joined(batch, response_ids, response_mask) | self.audio_inputs(batch)
        return inputs | {"position_ids": inputs["position_ids"].expand(3, -1, -1)}

    def shared_encoder(self, model: Any) -> None:
        return None


def frames_of(waveform: Waveform) -> torch.Tensor:
    """Return the log-spectra of the whole frames of a clip, (F, S)."""
    frames = waveform[: len(waveform) // FRAME * FRAME].reshape(-1, FRAME)
    if not len(frames):
        raise UserError(f"a clip of {len(waveform) / SAMPLE_RATE:.3f} s is too short for the model")
    spectra = np.abs(np.fft.rfft(frames * np.hanning(FRAME)))[:, : 20 * BINS]
    bands = spectra.reshape(len(frames), BINS, -1).mean(axis=2)
    return torch.tensor(np.log(bands + 1e-3), dtype=torch.float32)


def build(tokenizer: Any) -> tuple[PackedModel, PackedFamily]:
    """Return a small model with random weights, and its family."""
    AutoConfig.register("packed", PackedConfig, exist_ok=True)
    family = PackedFamily(PackedProcessor(tokenizer))
    decoder = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        tie_word_embeddings=False,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
    )
    torch.manual_seed(0)
    model = PackedModel(PackedConfig(decoder, family.audio_token_id))
    # random weights hardly depend on the audio: make it matter and the answers decided
    with torch.no_grad():
        model.decoder.lm_head.weight *= 10
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    return model.eval(), family

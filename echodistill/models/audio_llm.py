"""Hold an audio language model in memory with everything that prompting it needs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import echodistill.models.torchaudio_guard  # noqa: F401

import torch
from transformers import GenerationConfig

from echodistill.models.base import AudioFamily, Processor, Prompt, PromptBatch
from echodistill.models.shared_audio import share_encodings
from echodistill.models.tokens import complete_tokens


@dataclass(frozen=True)
class AudioLLM:
    """A model with its family, which holds its processor."""

    model: Any
    """``PreTrainedModel`` that can generate."""
    family: AudioFamily
    """Parts specific to the architecture: its audio input, chat and positions."""
    published_generation: GenerationConfig
    """Generation config of the checkpoint. It is never used to generate; ``save`` writes it back.
    """

    @property
    def processor(self) -> Processor:
        return self.family.processor

    @property
    def tokenizer(self) -> Any:
        return self.processor.tokenizer

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def never_sample(self) -> list[int]:
        """Ids of tokens that no response may have."""
        return self.family.never_sample

    def save(self, folder: Path) -> None:
        """Write the weights as safetensors, the processor, the config, and the checkpoint's own
        generation config.
        """
        self.model.save_pretrained(folder)
        self.processor.save_pretrained(folder)
        self.save_generation_config(folder)

    def save_generation_config(self, folder: Path) -> None:
        """Write the checkpoint's own generation config, valid or not: many published ones would not
        pass ``save_pretrained``.
        """
        self.published_generation.to_json_file(folder / "generation_config.json")


def wrap(model: Any, family: AudioFamily) -> AudioLLM:
    """Return an ``AudioLLM`` of a model already in memory.

    The model generates with a neutral config from now on: the checkpoint's own
    (``repetition_penalty``, ``top_k``, ``min_length``, ...) would change greedy answers and make
    samples disagree with the log-probabilities that are computed for them. Raise ``UserError`` if
    no token that ends a response is known.
    """
    published = model.generation_config
    vocabulary = model.config.get_text_config().vocab_size
    complete_tokens(family.processor.tokenizer, published, vocabulary)
    model.generation_config = neutral_generation(published)
    # TRL reads this id and then never lets the policy sample an audio placeholder
    model.config.image_token_id = family.audio_token_id
    encoder = family.shared_encoder(model)
    if encoder is not None:
        share_encodings(encoder)
    return AudioLLM(model, family, published)


def neutral_generation(published: GenerationConfig) -> GenerationConfig:
    """Return a generation config that keeps only the special token ids of ``published``."""
    return GenerationConfig(
        bos_token_id=published.bos_token_id,
        eos_token_id=published.eos_token_id,
        pad_token_id=published.pad_token_id,
    )


def encode(llm: AudioLLM, prompts: Sequence[Prompt]) -> PromptBatch:
    """Return the prompts encoded on the CPU; see ``AudioFamily.encode``."""
    return llm.family.encode(prompts)


def decode(llm: AudioLLM, token_ids: Sequence[int]) -> str:
    """Return the text of a response, without special tokens and outer spaces."""
    return llm.tokenizer.decode(list(token_ids), skip_special_tokens=True).strip()


def end_ids(llm: AudioLLM) -> list[int]:
    """Return the ids of the tokens that end a response, sorted."""
    configured = llm.model.generation_config.eos_token_id
    ids = configured if isinstance(configured, list) else [configured]
    return sorted({*[i for i in ids if i is not None], llm.tokenizer.eos_token_id})

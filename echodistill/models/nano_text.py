"""Build the text teacher of a ``nano``: a small language model with random weights and the tokens
of the ``nano``.
"""

import copy

import echodistill.models.torchaudio_guard  # noqa: F401

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from echodistill.models.audio_llm import AudioLLM
from echodistill.models.text_llm import TextLLM, text_llm

HEAD_WIDTH = 48
PADDED_TO = 64
"""The vocabulary is padded to a multiple of this, as published language models' is."""


def build_text_teacher(student: AudioLLM, width: int, layers: int, seed: int) -> TextLLM:
    """Return a model with random weights fixed by ``seed``; ``width`` is a multiple of 48."""
    tokenizer = copy.deepcopy(student.tokenizer)
    tokenizer.chat_template = student.processor.chat_template
    vocabulary = -(-len(tokenizer) // PADDED_TO) * PADDED_TO
    config = Qwen2Config(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=3 * width,
        num_hidden_layers=layers,
        num_attention_heads=width // HEAD_WIDTH,
        num_key_value_heads=width // HEAD_WIDTH,
        max_position_embeddings=4096,
        tie_word_embeddings=False,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
    )
    torch.manual_seed(seed)
    model = Qwen2ForCausalLM(config)
    return text_llm(model.to(student.device), tokenizer, student, "nano")

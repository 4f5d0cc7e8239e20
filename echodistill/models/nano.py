"""Build ``nano``: a Qwen2-Audio of a few million parameters with random weights and a tokenizer of
its own.

It is small enough to pre-train in minutes on two CPU cores, and uses the same classes, files and
code paths as a 7B checkpoint.
"""

import math
from collections.abc import Sequence

import echodistill.models.torchaudio_guard  # noqa: F401

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2AudioConfig,
    Qwen2AudioEncoderConfig,
    Qwen2AudioForConditionalGeneration,
    Qwen2AudioProcessor,
    Qwen2Config,
    WhisperFeatureExtractor,
)

from echodistill.audio.levels import SAMPLE_RATE
from echodistill.models.audio_llm import AudioLLM, wrap
from echodistill.models.families.qwen2_audio import AUDIO_TOKEN, NEVER_SAMPLED, Qwen2Audio

SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    *NEVER_SAMPLED,
)
# the template has Qwen's turns without the system prompt, since every prompt token costs time on a
# CPU
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{% if message['content'] is string %}{{"
    " message['content'] }}{% else %}{% for part in message['content'] %}{% if part['type'] =="
    " 'audio' %}<|audio_bos|><|AUDIO|><|audio_eos|>{% else %}{{ part['text'] }}{% endif %}{% endfor"
    " %}{% endif %}<|im_end|>{% endfor %}{% if add_generation_prompt %}<|im_start|>{% endif %}"
)
VOCABULARY = 512
MEL_BINS = 64
FRAMES_PER_S = 100


def build(
    texts: Sequence[str],
    window_s: float,
    width: int,
    encoder_layers: int,
    decoder_layers: int,
    seed: int,
) -> AudioLLM:
    """Return a model with random weights fixed by ``seed`` and a byte-level tokenizer trained on
    ``texts`` (it can encode any text).

    ``window_s`` is the length in seconds of the longest clip that it takes, rounded up to a tenth
    of a second.
    """
    window_s = math.ceil(window_s * 10 - 1e-6) / 10
    processor = _processor(texts, window_s)
    tokenizer = processor.tokenizer
    shared = {"dropout": 0.0, "attention_dropout": 0.0, "activation_dropout": 0.0}
    encoder = Qwen2AudioEncoderConfig(
        num_mel_bins=MEL_BINS,
        d_model=width,
        encoder_layers=encoder_layers,
        encoder_attention_heads=width // 48,
        encoder_ffn_dim=4 * width,
        max_source_positions=round(window_s * FRAMES_PER_S) // 2,
        encoder_layerdrop=0.0,
        **shared,
    )
    decoder = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=3 * width,
        num_hidden_layers=decoder_layers,
        num_attention_heads=width // 48,
        num_key_value_heads=width // 48,
        max_position_embeddings=4096,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
    )
    audio_token = tokenizer.convert_tokens_to_ids(AUDIO_TOKEN)
    torch.manual_seed(seed)
    model = Qwen2AudioForConditionalGeneration(
        Qwen2AudioConfig(audio_config=encoder, text_config=decoder, audio_token_index=audio_token)
    )
    model.model.audio_tower.embed_positions.weight.data.copy_(
        _sinusoids(encoder.max_source_positions, width)
    )
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return wrap(model, Qwen2Audio(processor))


def _processor(texts: Sequence[str], window_s: float) -> Qwen2AudioProcessor:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=list(SPECIAL_TOKENS),
    )
    extractor = WhisperFeatureExtractor(
        feature_size=MEL_BINS, sampling_rate=SAMPLE_RATE, chunk_length=window_s
    )
    return Qwen2AudioProcessor(
        feature_extractor=extractor, tokenizer=fast, chat_template=CHAT_TEMPLATE
    )


def _sinusoids(positions: int, width: int) -> torch.Tensor:
    """Return Whisper's fixed position table, (positions, width) float32."""
    steps = torch.arange(width // 2) * -(math.log(10_000.0) / (width // 2 - 1))
    angles = torch.arange(positions)[:, None] * torch.exp(steps)[None, :]
    return torch.cat([angles.sin(), angles.cos()], dim=1)

"""Qwen2-Audio: a Whisper encoder with pooling, a projector and a Qwen2 decoder."""

from collections.abc import Sequence
from typing import Any

import torch

from echodistill.audio.levels import SAMPLE_RATE, Waveform
from echodistill.errors import UserError

AUDIO_TOKEN = "<|AUDIO|>"
NEVER_SAMPLED = (AUDIO_TOKEN, "<|audio_bos|>", "<|audio_eos|>")
FEWEST_TOKENS = 2
"""Of a clip: a single one is taken for a placeholder yet to be expanded."""


def audio_token_id(processor: Any) -> int:
    return processor.tokenizer.convert_tokens_to_ids(AUDIO_TOKEN)


def never_sample(processor: Any) -> list[int]:
    """Return the ids of the audio placeholder and of the tokens around it: a response must hold
    none of them.
    """
    known = processor.tokenizer.get_vocab()
    return [known[token] for token in NEVER_SAMPLED if token in known]


def window_s(processor: Any) -> float:
    """The longest clip it takes, in seconds."""
    return float(processor.feature_extractor.chunk_length)


def encoder(model: Any) -> Any:
    """The module that hears."""
    return model.model.audio_tower


def fit_fault(config: Any, processor: Any) -> str:
    """Return what of the processor does not fit the model's configuration; empty where all does.

    Files of two models in one folder load without a word; the first clip would end in an error of
    torch, or be answered at random.
    """
    extractor, tokenizer = processor.feature_extractor, processor.tokenizer
    if extractor.sampling_rate != SAMPLE_RATE:
        return (
            f"preprocessor_config.json wants {extractor.sampling_rate} Hz, and only {SAMPLE_RATE}"
            " Hz are supported"
        )
    bins, wanted = extractor.feature_size, config.audio_config.num_mel_bins
    if bins != wanted:
        return f"preprocessor_config.json gives {bins} mel bins, and the model takes {wanted}"
    # the encoder halves their number
    frames, taken = (
        extractor.nb_max_frames,
        2 * config.audio_config.max_source_positions,
    )
    if frames != taken:
        return (
            f"preprocessor_config.json gives {frames} frames a window, and the model takes {taken}"
        )
    # which may be the tokenizer's own: see ``tokens.complete_tokens``
    named = (
        tokenizer.pad_token,
        tokenizer.eos_token,
    )
    ids = [index for token, index in tokenizer.get_vocab().items() if token not in named]
    known, size = max(ids) + 1, config.get_text_config().vocab_size
    if known > size:
        return f"the tokenizer knows {known} tokens, and the model {size}"
    if (token := audio_token_id(processor)) != config.audio_token_id:
        return (
            f"{AUDIO_TOKEN} is token {token} of the tokenizer, and the model's configuration has"
            f" {config.audio_token_id}"
        )
    return ""


def encode_audio(
    processor: Any, waveforms: Sequence[Waveform]
) -> tuple[dict[str, torch.Tensor], list[int]]:
    """Log-mel features (B, M, F) with their mask (B, F), and how many audio tokens each clip takes.

    The extractor would cut a longer clip without a word: it is refused here with ``UserError``, as
    is one that is too short.
    """
    extractor = processor.feature_extractor
    # samples; a nano's window is no whole number of seconds
    window = round(window_s(processor) * SAMPLE_RATE)
    longest = max(len(waveform) for waveform in waveforms)
    if longest > window:
        raise UserError(
            f"a clip of {longest / SAMPLE_RATE:.2f} s does not fit the model's window of"
            f" {window_s(processor):g} s: give a shorter one (of a corpus: lower"
            " corpus.max_duration_s)"
        )
    encoded = extractor(
        list(waveforms),
        sampling_rate=SAMPLE_RATE,
        padding="max_length",
        max_length=window,
        return_attention_mask=True,
        return_tensors="pt",
    )
    mask = encoded["attention_mask"]
    tokens = [audio_tokens(int(frames)) for frames in mask.sum(dim=1)]
    if min(tokens) < FEWEST_TOKENS:
        shortest = min(len(waveform) for waveform in waveforms)
        raise UserError(
            f"a clip of {shortest / SAMPLE_RATE:.3f} s is too short for the model: give 0.07 s or"
            " more"
        )
    return {"input_features": encoded["input_features"], "feature_attention_mask": mask}, tokens


def audio_tokens(frames: int) -> int:
    """Audio tokens of ``frames`` mel frames: a stride-2 convolution, then pooling by 2."""
    return ((frames - 1) // 2 + 1 - 2) // 2 + 1


def render(processor: Any, text: str, audio_token_count: int) -> str:
    """The chat with its audio placeholder expanded, ready for the tokenizer; without one for no
    audio tokens.
    """
    audio = [{"type": "audio", "audio_url": ""}] if audio_token_count else []
    conversation = [{"role": "user", "content": [*audio, {"type": "text", "text": text}]}]
    chat = processor.apply_chat_template(conversation, add_generation_prompt=True, tokenize=False)
    return chat.replace(AUDIO_TOKEN, AUDIO_TOKEN * audio_token_count, 1)

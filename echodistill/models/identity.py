"""Identify everything beside its weights that decides how a loaded model answers: its settings in
memory and the software and device that compute it.
"""

import hashlib
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path

import echodistill.models.torchaudio_guard  # noqa: F401

import tokenizers
import torch
import transformers

from echodistill.models.audio_llm import AudioLLM, end_ids

DIGITS = 16
"""Number of hexadecimal digits kept of a sha256: 64 bits."""
LOCATION_KEYS = frozenset({"_name_or_path", "name_or_path", "is_local", "local_files_only"})
"""Keys of the place that something was loaded from."""
SEPARATE_PARTS = frozenset({"transformers_version", "dtype", "torch_dtype", "chat_template"})
CALL_STATE = frozenset({"padding", "truncation"})
"""Keys in a tokenizer's state that its last call has set and its next call sets anew."""


def model_identity(llm: AudioLLM) -> dict[str, str]:
    """Return everything beside weights, prompt and decoding settings that an answer depends on,
    each a literal or a short hash.

    - ``config``: the model's configuration (sizes, activation, rotary base, ...), without the place
      it was loaded from
    - ``tokenizer``: the tokenizer's full saved state: vocabulary, merges, normaliser, added and
      special tokens, settings
    - ``processor``: the feature extractor's settings and the audio tokens' names
    - ``chat_template``: the template that prompts are rendered with
    - ``end_tokens``, ``pad_token``: the ids that end and pad a response. Nothing else is used of a
      checkpoint's own generation config; ``audio_llm.wrap`` neutralises the rest, so a changed
      ``repetition_penalty`` changes nothing here
    - ``never_sample``: the ids that no response may have
    - ``dtype``, ``device``: the weights' format in memory, and the kind of device: ``cpu``,
      ``cuda`` or ``mps``
    - ``torch``, ``transformers``, ``tokenizers``: versions of the libraries

    The number of prompts that a device computes at once is left out, since a reference has the same
    bytes in every batch.
    """
    return {
        "config": _digest(_stripped(llm.model.config.to_dict(), LOCATION_KEYS | SEPARATE_PARTS)),
        "tokenizer": _digest(_tokenizer_state(llm)),
        "processor": _digest(_stripped(llm.processor.to_dict(), LOCATION_KEYS | SEPARATE_PARTS)),
        "chat_template": _digest(llm.processor.chat_template),
        "end_tokens": json.dumps(end_ids(llm)),
        "pad_token": json.dumps(llm.tokenizer.pad_token_id),
        "never_sample": json.dumps(sorted(llm.never_sample)),
        "dtype": str(llm.model.dtype),
        "device": llm.device.type,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "tokenizers": tokenizers.__version__,
    }


def _tokenizer_state(llm: AudioLLM) -> dict[str, object]:
    """Return the tokenizer's saved files by name, without the settings of its last call and without
    the chat template.
    """
    with tempfile.TemporaryDirectory() as name:
        llm.tokenizer.save_pretrained(name)
        state: dict[str, object] = {}
        for path in sorted(Path(name).rglob("*.*")):
            content = path.read_text(encoding="utf-8")
            if path.name == "tokenizer.json":
                content = json.dumps(_stripped(json.loads(content), CALL_STATE, nested=False))
            elif path.suffix == ".json":
                content = json.dumps(_stripped(json.loads(content), LOCATION_KEYS | SEPARATE_PARTS))
            if path.suffix != ".jinja":  # the chat template is a separate part
                state[path.name] = content
        return state


def _stripped(value: object, left_out: frozenset[str], nested: bool = True) -> object:
    """Return ``value`` without the keys ``left_out``, at every depth or at the top level only."""
    if isinstance(value, Mapping):
        kept = {str(key): inner for key, inner in value.items() if key not in left_out}
        return {key: _stripped(inner, left_out) for key, inner in kept.items()} if nested else kept
    return (
        [_stripped(inner, left_out) for inner in value]
        if isinstance(value, list | tuple) and nested
        else value
    )


def _digest(value: object) -> str:
    """Return a short hash of ``value`` as JSON; values that JSON cannot represent are converted to
    text.
    """
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[
        :DIGITS
    ]

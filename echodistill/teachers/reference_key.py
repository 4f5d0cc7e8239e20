"""Compute the content address of one reference."""

import hashlib
import json
from collections.abc import Mapping


def reference_key(
    view: str, prompt: str, revision: str, model: Mapping[str, str], decoding: Mapping[str, int]
) -> str:
    """Return the key under which the teacher's answer is kept: a sha256 of everything the answer
    depends on.

    - ``view``: the sha256 of the audio bytes that the teacher is given, or the identity of a
      control's audio (``View.cache_identity``)
    - ``prompt``: the question and choices as rendered by the chat template, with one audio
      placeholder
    - ``revision``: the revision of the base, from ``base.json``: the hub's commit, or the hash of
      weights, configurations, tokenizer, processor, chat template, generation config and code in
      its folder
    - ``model``: the result of ``models.identity.model_identity``: configuration, tokenizer,
      processor, chat template, end and padding tokens, tokens never sampled, dtype, kind of device,
      versions of torch, transformers and tokenizers, as they are in memory
    - ``decoding``: ``max_new_tokens`` (the limit that is in force), ``top_k`` and
      ``full_vocabulary_up_to``

    A change of anything else does not make the answer be computed again.
    """
    parts = {
        "view": view,
        "prompt": prompt,
        "revision": revision,
        "model": dict(model),
        "decoding": dict(decoding),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

"""Check the chat template and complete the special tokens that prompting a model requires."""

from typing import Any

from transformers import GenerationConfig

from echodistill.core.errors import UserError
from echodistill.models.base import AudioFamily
from echodistill.models.faults import first_line

PROBE = "Which word is spoken?"


def check_template(family: AudioFamily) -> None:
    """Raise ``UserError`` if the chat template fails or omits the question or the audio's
    placeholder.
    """
    cure = "give the chat template that belongs to the model (chat_template.jinja)"
    try:
        text = family.render(PROBE, 2)
    except Exception as error:  # a template may raise any exception
        raise UserError(f"its chat template fails ({first_line(error)}): {cure}") from error
    ids = family.processor.tokenizer(text, add_special_tokens=False)["input_ids"]
    if PROBE not in text or ids.count(family.audio_token_id) != 2:
        raise UserError(
            f"its chat template has no place for the {'audio' if PROBE in text else 'question'}:"
            f" {cure}"
        )


def complete_tokens(tokenizer: Any, published: GenerationConfig, vocabulary: int) -> None:
    """Set the end and padding tokens of a tokenizer that has none, or whose padding token is
    outside a vocabulary of ``vocabulary`` tokens.

    Padding is masked, so the end token can serve as the padding token. Raise ``UserError`` if no
    end token is known, or if it is outside the vocabulary.
    """
    if tokenizer.eos_token_id is None:
        ends = published.eos_token_id
        first = ends[0] if isinstance(ends, list) and ends else ends
        if not isinstance(first, int):
            raise UserError(
                "neither its tokenizer nor its generation config names a token that ends a"
                " response: set eos_token"
            )
        tokenizer.eos_token = tokenizer.convert_ids_to_tokens(first)
    if tokenizer.eos_token_id >= vocabulary:
        token = tokenizer.eos_token
        raise UserError(
            f"the model has {vocabulary} tokens, and the end token {token!r} is none of them: set"
            " eos_token to one"
        )
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id >= vocabulary:
        tokenizer.pad_token = tokenizer.eos_token

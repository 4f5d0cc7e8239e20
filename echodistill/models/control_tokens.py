"""Find control tokens of a tokenizer, which users' texts must not have."""

import re
from collections.abc import Iterable
from typing import Any

from echodistill.core.errors import UserError
from echodistill.core.records import Question


def control_tokens(tokenizer: Any) -> list[str]:
    """Return the tokenizer's special tokens as text, e.g. ``<|im_end|>`` or ``</s>``, sorted."""
    added = tokenizer.added_tokens_decoder.values()
    return sorted(
        {*tokenizer.all_special_tokens, *(token.content for token in added if token.special)}
    )


def check_texts(tokenizer: Any, texts: Iterable[tuple[str, str]]) -> None:
    """Raise ``UserError`` for a text that has a control token; ``texts`` are pairs of a name and a
    text.

    The tokenizer would encode it as a turn's end or a recording, and the prompt would not be what
    was asked.
    """
    tokens = control_tokens(tokenizer)
    if not tokens:
        return
    pattern = re.compile("|".join(map(re.escape, tokens)))
    for name, text in texts:
        if found := pattern.search(text):
            raise UserError(
                f"{name} holds {found[0]!r}, a control token of the model: write it otherwise"
            )


def check_questions(tokenizer: Any, questions: Iterable[Question]) -> None:
    """Raise ``UserError`` for a question of a corpus that has a control token of this model."""
    check_texts(
        tokenizer,
        (
            (f"question {row.question_id}", text)
            for row in questions
            for text in (row.question, *row.choices)
        ),
    )

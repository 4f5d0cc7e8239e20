"""The text put to a model beside the audio; the same in training, teaching and evaluation."""

import unicodedata
from collections.abc import Sequence

from echodistill.errors import UserError

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def folded(choice: str) -> str:
    """What two choices are told apart by."""
    return " ".join(unicodedata.normalize("NFKC", choice).casefold().split()).rstrip(".!")


def check_asked(question: str, choices: Sequence[str]) -> None:
    """Raises ``UserError`` for a question or choices that no model can answer."""
    if not question.strip():
        raise UserError("the question is empty")
    if len(choices) == 1 or len(choices) > len(LETTERS):
        raise UserError(f"{len(choices)} choices: give 2 to {len(LETTERS)}, or none")
    names = [folded(choice) for choice in choices]
    if not all(names):
        raise UserError(f"a choice is empty: {list(choices)}")
    if repeated := [choice for choice, name in zip(choices, names, strict=True) if names.count(name) > 1]:
        raise UserError(f"choice {repeated[0]!r} stands twice")


def question_text(question: str, choices: Sequence[str]) -> str:
    """The question, then one lettered line a choice."""
    lines = [f"{letter}. {choice}" for letter, choice in zip(LETTERS, choices, strict=False)]
    return "\n".join([question, *lines])

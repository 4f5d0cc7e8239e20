"""The text put to a model beside the audio; the same in training, teaching and evaluation."""

from collections.abc import Sequence

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def question_text(question: str, choices: Sequence[str]) -> str:
    """The question, then one lettered line a choice."""
    lines = [f"{letter}. {choice}" for letter, choice in zip(LETTERS, choices, strict=False)]
    return "\n".join([question, *lines])

"""The text put to a model beside the audio; the same in training, teaching and evaluation."""

import re
import unicodedata
from collections.abc import Sequence

from echodistill.core.errors import UserError

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

_CONTROL_TOKEN = re.compile(r"<[|｜][^<>|｜\n]{1,64}[|｜]>")


def control_token(text: str) -> str | None:
    """Return the first token in ``text`` by which chat models tell turns and recordings from words,
    e.g. ``<|AUDIO|>``.

    A tokenizer would take it for what it stands for, and a prompt then have more recordings or
    turns than it has.
    """
    found = _CONTROL_TOKEN.search(text)
    return found[0] if found else None


def normalize_choice(choice: str) -> str:
    """What two choices are told apart by."""
    return " ".join(unicodedata.normalize("NFKC", choice).casefold().split()).rstrip(".!")


def validate_question(question: str, choices: Sequence[str]) -> None:
    """Raises ``UserError`` for a question or choices that no model can answer."""
    if not question.strip():
        raise UserError("the question is empty")
    if len(choices) == 1 or len(choices) > len(LETTERS):
        raise UserError(f"{len(choices)} choices: give 2 to {len(LETTERS)}, or none")
    for text in (question, *choices):
        if token := control_token(text):
            raise UserError(
                f"{token!r} is a control token of language models: leave it out of the question and"
                " the choices"
            )
        if any(unicodedata.category(character) == "Cs" for character in text):
            raise UserError(
                f"{text!r} is no valid text: write the question and the choices in UTF-8"
            )
    names = [normalize_choice(choice) for choice in choices]
    if not all(names):
        raise UserError(f"a choice is empty: {list(choices)}")
    if repeated := [
        choice for choice, name in zip(choices, names, strict=True) if names.count(name) > 1
    ]:
        raise UserError(f"choice {repeated[0]!r} stands twice")


def question_text(question: str, choices: Sequence[str]) -> str:
    """The question, then one lettered line a choice."""
    lines = [f"{letter}. {choice}" for letter, choice in zip(LETTERS, choices, strict=False)]
    return "\n".join([question, *lines])

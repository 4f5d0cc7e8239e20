"""Build the text that a model is given beside the audio; it is the same in training, teaching and
evaluation.
"""

import re
import unicodedata
from collections.abc import Sequence

from echodistill.core.counted import counted
from echodistill.core.errors import UserError
from echodistill.core.prompt_style import PromptStyle

ANSWER = "Answer:"
"""Words before the answer at the end of a chain of steps."""
CHAIN_INSTRUCTION = f'Reason step by step, then write "{ANSWER}" and the answer.'
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

_CONTROL_TOKEN = re.compile(r"<[|｜][^<>|｜\n]{1,64}[|｜]>")


def control_token(text: str) -> str | None:
    """Return the first control token in ``text``, e.g. ``<|AUDIO|>``, by which chat models mark
    turns and recordings.

    A tokenizer would encode it as that token, and the prompt would then have too many recordings or
    turns.
    """
    found = _CONTROL_TOKEN.search(text)
    return found[0] if found else None


def normalize_choice(choice: str) -> str:
    """Return the form of a choice by which choices are compared; two with the same form are
    equal.
    """
    return " ".join(unicodedata.normalize("NFKC", choice).casefold().split()).rstrip(".!")


def validate_question(question: str, choices: Sequence[str]) -> None:
    """Raise ``UserError`` for a question or choices that no model can answer."""
    if not question.strip():
        raise UserError("the question is empty")
    if len(choices) == 1 or len(choices) > len(LETTERS):
        raise UserError(f"{counted(len(choices), 'choice')}: give 2 to {len(LETTERS)}, or none")
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
        raise UserError(f"choice {repeated[0]!r} is given twice")


def clip_text(transcript: str, caption: str) -> str:
    """Return the text that replaces a clip: its words, a description of its sound, or both; empty
    where both are empty [ours].
    """
    named = (("Transcript", transcript.strip()), ("Sound", caption.strip()))
    return "\n".join(f"{name}: {text}" for name, text in named if text)


def question_about_text(text: str, question: str) -> str:
    """Return the question about a clip that ``clip_text`` replaces."""
    return f"{text}\n{question}"


def question_text(question: str, choices: Sequence[str], style: PromptStyle = "direct") -> str:
    """Return the question, followed by one line with letter and text for each choice, and in the
    style ``chain`` by ``CHAIN_INSTRUCTION``.
    """
    lines = [f"{letter}. {choice}" for letter, choice in zip(LETTERS, choices, strict=False)]
    return "\n".join([question, *lines, *([CHAIN_INSTRUCTION] if style == "chain" else [])])


def gold_response(answer: str, style: PromptStyle) -> str:
    """Return the response that states ``answer`` and nothing else, in the form of a style."""
    return f"{ANSWER} {answer}" if style == "chain" else answer


def worked_response(solution: str, answer: str) -> str:
    """Return the response that has the steps of a solution before the answer."""
    return f"{solution.rstrip('.')}. {ANSWER} {answer}"

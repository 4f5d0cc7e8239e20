"""Judge whether two answers to a question agree, without a right answer: the reward of CORD's
sequence level.

Source: arXiv 2601.16547 [paper] for a reward of 1 or 0 by a judge; how it judges is [ours]. Where a
question has choices, the parsed choices are compared. The numbers, yes and no of a reference must
be those of the answer, since embeddings of "two" and "three" are alike. What is then left is
compared by a ``Comparison``.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from echodistill.evaluation.given_answers import given_answer
from echodistill.evaluation.open_answers import normal_form


@dataclass(frozen=True)
class Case:
    """Two answers to one question."""

    question: str
    choices: tuple[str, ...]
    """Choices of the question; empty where it has none."""
    answer: str
    """The answer that is judged."""
    reference: str
    """The answer that it is compared with."""


Comparison = Callable[[Sequence[Case]], list[bool]]
"""Return for each case whether its two texts mean the same."""
YES_OR_NO = {"yes": "yes", "true": "yes", "no": "no", "false": "no"}
NUMBERS = {
    word: float(value)
    for value, word in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve".split()
    )
}
_WORD = re.compile(r"[-+]?\d+(?:,\d{3})*(?:\.\d+)?|[^\W\d_]+")


def judge_rewards(cases: Sequence[Case], same: Comparison) -> list[float]:
    """Return 1 for each case whose answers agree, else 0.

    An answer that is empty or names no choice agrees with none. ``same`` is called once, with the
    cases that are left to it.
    """
    decided = [_agree_exactly(case) for case in cases]
    left = [case for case, agree in zip(cases, decided, strict=True) if agree is None]
    judged = iter(same(left) if left else [])
    return [float(next(judged) if agree is None else agree) for agree in decided]


def same_text(cases: Sequence[Case]) -> list[bool]:
    """Return whether the texts of each case are equal in normal form: without case, articles and
    punctuation, and with numbers in digits.
    """
    return [normal_form(case.answer) == normal_form(case.reference) for case in cases]


def open_comparison(kind: str, model: str | None, similarity: float) -> Comparison:
    """Return the comparison that ``train.methods.cord.judge`` names.

    Raise ``UserError`` where its model or its endpoint cannot be used.
    """
    if kind == "embedding":
        from echodistill.rewards.embedding import EmbeddingComparison

        return EmbeddingComparison(str(model), similarity)
    if kind == "endpoint":
        from echodistill.rewards.endpoint import endpoint_comparison

        return endpoint_comparison(str(model))
    return same_text


def _agree_exactly(case: Case) -> bool | None:
    """Return whether the answers agree where that can be told without a comparison of texts, or
    else ``None``.
    """
    if case.choices:
        given = given_answer(case.answer, case.choices)
        return given is not None and given == given_answer(case.reference, case.choices)
    if not case.answer.strip() or not case.reference.strip():
        return False
    if same_text([case]) == [True]:
        return True
    closed = len(_WORD.findall(case.reference)) == 1
    if stated := _stated(case.reference, closed):
        if _stated(case.answer, closed) != stated:
            return False
        return True if closed else None
    return None


def _stated(text: str, counts_one: bool) -> set[float | str]:
    """Return the numbers in a text, and its yes or no.

    The word "one" is no number in a longer text, such as "the red one".
    """
    words = [word.casefold() for word in _WORD.findall(text)]
    found: set[float | str] = {YES_OR_NO[word] for word in words if word in YES_OR_NO}
    for word in words:
        if word in NUMBERS and (word != "one" or counts_one):
            found.add(NUMBERS[word])
        elif not word[-1].isalpha():
            found.add(float(word.replace(",", "")))
    return found

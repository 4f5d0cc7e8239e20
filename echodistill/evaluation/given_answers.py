"""Read the answer that a response gives to a question, with choices or open, and the task reward
for it.

Training rewards and evaluation scores both use these functions.
"""

from collections.abc import Sequence

from echodistill.core.records import Question
from echodistill.evaluation.choices import parse_choice
from echodistill.evaluation.open_answers import normal_form, parse_open


def given_answer(response: str, choices: Sequence[str]) -> str | None:
    """Return the choice that ``response`` names or, without ``choices``, the normal form of its
    answer; ``None`` where it gives none.
    """
    if not choices:
        return parse_open(response)
    index = parse_choice(response, choices)
    return None if index is None else choices[index]


def right_answer(answer: str, choices: Sequence[str]) -> str:
    """Return the right answer in the form in which ``given_answer`` returns it."""
    return answer if choices else normal_form(answer)


def is_right(response: str, question: Question) -> bool:
    """Return whether ``response`` gives the right answer to ``question``, and no other."""
    right = right_answer(question.answer, question.choices)
    return given_answer(response, question.choices) == right


def reward(response: str, choices: Sequence[str], answer: str) -> float:
    """Return the task reward: +1 for the right answer, -1 for another, 0 if the response gives
    none.

    Source for questions with choices: arXiv 2605.23954 [code]. For open questions the same levels
    are [ours].
    """
    given = given_answer(response, choices)
    return 0.0 if given is None else 1.0 if given == right_answer(answer, choices) else -1.0

"""Determine how many tokens a response may have, by one rule for references, rollouts, evaluation
and questions.

The limit has room for the longest choice (for an open question its answer, for a chain of steps the
worked solution), the end token, and 16 tokens more, since models begin with words such as "The
answer is B.". The limit of a corpus is computed from all its questions, so it depends on no split
and on no batch.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from echodistill.core.counted import counted
from echodistill.core.errors import UserError
from echodistill.core.prompt_style import PromptStyle
from echodistill.core.records import Question
from echodistill.models.prompts import gold_response, worked_response

MARGIN_TOKENS: Final = 16
OPEN_TOKENS: Final = 256
"""Limit for a question without choices and without a known answer."""
KEY: Final = "generation.max_new_tokens"


def corpus_limit(tokenizer: Any, questions: Iterable[Question], given: int | None) -> int:
    """Return the limit for all responses to a corpus: ``given``, or the derived limit if that is
    ``None``.

    Raise ``UserError`` if ``given`` is too short for a choice.
    """
    questions = list(questions)
    choices = {
        gold_response(choice, question.style)
        for question in questions
        for choice in question.choices
    }
    answers = {_expected(question) for question in questions}
    return _limit(tokenizer, choices, answers, given, f"{KEY}: {{}}, or null to derive it")


def _expected(question: Question) -> str:
    """Return a right response to ``question``; an empty text where its length is unknown."""
    if question.style == "chain":
        solution = question.solution
        return worked_response(solution, question.answer) if solution else ""
    return question.answer.strip()


def asked_limit(
    tokenizer: Any,
    choices: Sequence[str],
    given: int | None,
    option: str,
    style: PromptStyle = "direct",
) -> int:
    """Return the limit for one question with these choices, or without any.

    ``option`` is the user's name for ``given`` in the ``UserError`` that is raised if it is too
    short.
    """
    answers = set() if choices and style == "direct" else {""}
    return _limit(tokenizer, set(choices), answers, given, f"{option}: {{}}, or leave it out")


def _limit(
    tokenizer: Any, choices: set[str], answers: set[str], given: int | None, fault: str
) -> int:
    """Return ``given``, or the derived limit if that is ``None``; an empty answer is an unknown
    one.

    ``fault`` is the message for a ``given`` that is too short; ``{}`` in it is replaced by the
    reason.
    """
    needed, choice = _longest(tokenizer, choices)
    if given is not None:
        if given < needed:
            why = (
                f"the choice {choice!r} takes {counted(needed, 'token')} with its end token: "
                if choice
                else ""
            )
            raise UserError(
                fault.replace("{}", f"{given} is too short: {why}give {needed} or more")
            )
        return given
    derived = max(needed, _longest(tokenizer, answers)[0]) + MARGIN_TOKENS
    return max(derived, OPEN_TOKENS) if "" in answers or not choices | answers else derived


def _longest(tokenizer: Any, texts: set[str]) -> tuple[int, str]:
    """Return the most tokens that one of ``texts`` takes, its end token included, and that text.

    Of equally long texts the first in sorted order is returned; without texts the result is 1 and
    an empty text.
    """
    if not texts:
        return 1, ""
    ordered = sorted(texts)
    lengths = [len(ids) + 1 for ids in tokenizer(ordered, add_special_tokens=False)["input_ids"]]
    longest = max(lengths)
    return longest, ordered[lengths.index(longest)]


def check_context(model: Any, prompt_tokens: int, max_new_tokens: int) -> None:
    """Raise ``UserError`` if a prompt and the longest response do not fit the decoder's context."""
    context = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if context is not None and prompt_tokens + max_new_tokens > context:
        raise UserError(
            f"a prompt of {counted(prompt_tokens, 'token')} and a response of up to"
            f" {max_new_tokens} do not"
            f" fit the model's context of {context}: lower the limit ({KEY}), or shorten the clip,"
            " the question or its choices"
        )

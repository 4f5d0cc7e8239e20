"""How many tokens a response may have: one rule for references, rollouts, evaluation and questions.

A response must be able to hold the longest choice (of a question without choices: its answer) and
the end token, and 16 tokens more, since models lead in with words such as "The answer is B.". The
limit of a corpus counts all its questions, so it depends on no split and on no batch.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from echodistill.core.errors import UserError
from echodistill.core.records import Question

MARGIN_TOKENS: Final = 16
OPEN_TOKENS: Final = 256
"""The limit for a question that has no choices and no known answer."""
KEY: Final = "generation.max_new_tokens"


def corpus_limit(tokenizer: Any, questions: Iterable[Question], given: int | None) -> int:
    """Return the limit for all responses to a corpus: ``given``, or the derived one for ``None``.

    Raises ``UserError`` where ``given`` is too short for a choice.
    """
    questions = list(questions)
    choices = {choice for question in questions for choice in question.choices}
    answers = {question.answer.strip() for question in questions if not question.choices}
    return _limit(tokenizer, choices, answers, given, f"{KEY}: {{}}, or null to derive it")


def asked_limit(tokenizer: Any, choices: Sequence[str], given: int | None, option: str) -> int:
    """Return the limit for one question with these choices, or without any.

    ``option`` is what a user calls ``given``, for the ``UserError`` where that is too short.
    """
    answers = set() if choices else {""}
    return _limit(tokenizer, set(choices), answers, given, f"{option}: {{}}, or leave it out")


def _limit(
    tokenizer: Any, choices: set[str], answers: set[str], given: int | None, fault: str
) -> int:
    """Return ``given``, or else the derived limit; an empty answer is one that is not known.

    ``fault`` is the message for a ``given`` that is too short, with a place for what is wrong.
    """
    needed, choice = _longest(tokenizer, choices)
    if given is not None:
        if given < needed:
            why = (
                f"the choice {choice!r} takes {needed} tokens with its end token: "
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
    """Return the most tokens that one of ``texts`` takes, with its end token, and that text.

    Of equally long ones the text that is first in order; without texts the end token alone.
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
            f"a prompt of {prompt_tokens} tokens and a response of up to {max_new_tokens} do not"
            f" fit the model's context of {context}: lower the limit ({KEY}), or shorten the clip,"
            " the question or its choices"
        )

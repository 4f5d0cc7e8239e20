"""The task rewards: for the answer that a response gives, and for the form of a chain of steps.

The signatures are TRL's: all arguments but ``completions`` are columns of the training rows.
"""

from collections.abc import Sequence

from echodistill.core.prompt_style import PromptStyle
from echodistill.evaluation.given_answers import reward
from echodistill.evaluation.open_answers import is_chain, token_f1


def answer_reward(
    completions: Sequence[str],
    choices: Sequence[Sequence[str]],
    answer: Sequence[str],
    **_columns: object,
) -> list[float]:
    """Return +1 for the right answer, -1 for another, 0 where a response gives none.

    Source for questions with choices: arXiv 2605.23954 [code]; the same for open questions [ours].
    """
    rows = zip(completions, choices, answer, strict=True)
    return [reward(text, options, right) for text, options, right in rows]


def overlap_reward(
    completions: Sequence[str],
    choices: Sequence[Sequence[str]],
    answer: Sequence[str],
    **_columns: object,
) -> list[float]:
    """Return ``answer_reward`` for questions with choices, and for open questions the F1 of the
    words that the answer shares with the right one, from 0 to 1.

    Source: arXiv 2605.23954 [code] rewards the overlap of tokens; that it is their F1 is [ours].
    """
    rows = zip(completions, choices, answer, strict=True)
    return [
        reward(text, options, right) if options else token_f1(text, right)
        for text, options, right in rows
    ]


def format_reward(
    completions: Sequence[str], style: Sequence[PromptStyle], **_columns: object
) -> list[float]:
    """Return 1 for a response that has steps and then one "Answer:" where a chain was asked for,
    else 0; it is 1 where only the answer was asked for [ours].
    """
    rows = zip(completions, style, strict=True)
    return [float(asked == "direct" or is_chain(text)) for text, asked in rows]

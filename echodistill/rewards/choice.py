"""The task reward of a question with choices."""

from collections.abc import Sequence

from echodistill.evaluation.choices import reward


def choice_reward(
    completions: Sequence[str],
    choices: Sequence[Sequence[str]],
    answer_index: Sequence[int],
    **_columns: object,
) -> list[float]:
    """Return +1 for the right choice, -1 for another, 0 where no choice is named.

    The signature is TRL's: all arguments but ``completions`` are columns of the training rows.
    Source: arXiv 2605.23954 [code].
    """
    return [
        reward(text, options, right)
        for text, options, right in zip(completions, choices, answer_index, strict=True)
    ]

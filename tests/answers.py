"""Answers as tests need them: the scores of the choices follow from the response, unless they are
given.
"""

from collections.abc import Iterable, Sequence

from echodistill.core.records import Answer, Question
from echodistill.evaluation.choices import parse_choice


def answer(
    mix_id: str,
    question_id: str,
    noise_kind: str,
    snr_db: float | None,
    response: str,
    choices: Sequence[str] = (),
    forced: int | None = None,
    truncated: bool = False,
    response_tokens: int = 2,
) -> Answer:
    """Return an answer whose most likely choice is ``forced``: by default the one the response
    names, else the last.
    """
    if forced is None:
        named = parse_choice(response, choices) if choices else None
        forced = len(choices) - 1 if named is None else named
    scores = tuple(-1.0 if index == forced else -4.0 for index in range(len(choices)))
    return Answer(
        mix_id,
        question_id,
        noise_kind,
        snr_db,
        response,
        truncated,
        response_tokens,
        scores,
        (2,) * len(choices),
    )


def units_of(questions: Iterable[Question]) -> dict[str, int]:
    """Return the units of the questions' clips where each clip is one by itself."""
    return {
        clip_id: number for number, clip_id in enumerate(sorted({one.clip_id for one in questions}))
    }

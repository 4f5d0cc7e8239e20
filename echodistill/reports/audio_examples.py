"""Choose audio examples of answers that training fixed and broke, at random and not by hand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from echodistill.audio.kinds import CLEAN
from echodistill.core.records import Answer, Question
from echodistill.core.seeds import rng
from echodistill.evaluation.given_answers import is_right

Outcome = Literal["fixed", "broken"]


@dataclass(frozen=True)
class Example:
    """One question in one mix that base and student answer differently and one of them right."""

    outcome: Outcome
    mix_id: str
    noise_kind: str
    snr_db: float
    question: Question
    base: str
    """The base's answer to the noisy clip."""
    student: str
    clean: str
    """The base's answer to the clean clip, which is also the teacher's."""


def draw_examples(
    base: Sequence[Answer],
    student: Sequence[Answer],
    questions: Mapping[str, Question],
    max_snr_db: float,
    seed: int,
    each: int,
) -> list[Example]:
    """Return up to ``each`` fixed and as many broken examples with SNRs up to ``max_snr_db`` dB,
    drawn at random: one for each clip, with the kinds of noise in turn.
    """
    clean = {row.question_id: row.response for row in base if row.noise_kind == CLEAN}
    of_student = {(row.question_id, row.mix_id): row.response for row in student}
    found: dict[Outcome, list[Example]] = {"fixed": [], "broken": []}
    for row in base:
        if row.snr_db is None or row.snr_db > max_snr_db:
            continue
        question, response = questions[row.question_id], of_student[row.question_id, row.mix_id]
        before, after = (is_right(responses, question) for responses in (row.response, response))
        if before != after:
            outcome: Outcome = "fixed" if after else "broken"
            responses = (row.response, response, clean[row.question_id])
            found[outcome].append(
                Example(outcome, row.mix_id, row.noise_kind, row.snr_db, question, *responses)
            )
    return [one for outcome, rows in found.items() for one in _drawn(rows, seed, outcome, each)]


def _drawn(rows: Sequence[Example], seed: int, outcome: str, count: int) -> list[Example]:
    order = [rows[index] for index in rng(seed, "examples", outcome).permutation(len(rows))]
    kinds = sorted({one.noise_kind for one in order})
    taken: list[Example] = []
    clips: set[str] = set()
    while len(taken) < count:
        before = len(taken)
        for kind in kinds:
            fitting = [
                one for one in order if one.noise_kind == kind and one.question.clip_id not in clips
            ]
            if fitting and len(taken) < count:
                taken.append(fitting[0])
                clips.add(fitting[0].question.clip_id)
        if len(taken) == before:
            break
    return taken

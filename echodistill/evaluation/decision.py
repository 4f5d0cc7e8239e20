"""Compare a student with another system on the decision split: paired differences with intervals
over units. Pure.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from echodistill.core.errors import UserError
from echodistill.core.records import Answer, Question
from echodistill.core.seeds import rng
from echodistill.evaluation.criteria import DecisionSize, Differences
from echodistill.evaluation.intervals import Interval, mean_interval, resamples
from echodistill.evaluation.scores import Outcomes, score_answers
from echodistill.evaluation.units import renumbered
from echodistill.params.evaluate import EvaluateParams


def decision_size(
    answers: Sequence[Answer], questions: Mapping[str, Question], units: Mapping[str, int]
) -> DecisionSize:
    """Return the number of clips that the answers are about, and the number of their units
    (``units.unit_of`` the clips).
    """
    if not answers:
        return DecisionSize(0, 0)
    _, sample = renumbered([questions[row.question_id].clip_id for row in answers], units)
    return DecisionSize(sample.clips, sample.units)


def paired_differences(
    student: Sequence[Answer],
    other: Sequence[Answer],
    questions: Mapping[str, Question],
    units: Mapping[str, int],
    settings: EvaluateParams,
    seed: int,
) -> Differences:
    """Return the student's figures minus the other system's on the same items, with intervals over
    units.

    ``acc``, ``acc_forced`` and ``gsr`` are over SNRs up to ``settings.headline_max_snr_db``.
    ``acc_forced`` takes the most likely of the offered choices as the answer, so that the wording
    of a response has no effect; for a question without choices it uses the free answer.

    Raise ``UserError`` if the two systems did not answer the same items.
    """
    if odd := sorted({_item(row) for row in student} ^ {_item(row) for row in other})[:3]:
        raise UserError(
            f"two systems did not answer the same decision items, e.g. {odd}: run `echodistill run`"
            " again"
        )
    first, second = (
        score_answers(answers, other, questions, units) for answers in (student, other)
    )
    drawn = resamples(first.sample.units, settings.bootstrap_draws, rng(seed, "decision"))
    noisy = np.array(first.snr_db <= settings.headline_max_snr_db)
    unit_N = first.noisy.unit[noisy]

    def interval(
        first_N: NDArray[np.bool_], second_N: NDArray[np.bool_], unit: NDArray[np.int64]
    ) -> Interval:
        gain = first_N.astype(np.float64) - second_N.astype(np.float64)
        return mean_interval(gain[None], unit, drawn, settings.confidence)

    return {
        "acc": interval(first.noisy.right[noisy], second.noisy.right[noisy], unit_N),
        "acc_forced": interval(_forced(first.noisy)[noisy], _forced(second.noisy)[noisy], unit_N),
        "gsr": interval(first.agrees_self[noisy], second.agrees_self[noisy], unit_N),
        "clean_acc": interval(first.clean.right, second.clean.right, first.clean.unit),
    }


def _item(row: Answer) -> tuple[str, str]:
    return row.question_id, row.mix_id


def _forced(outcomes: Outcomes) -> NDArray[np.bool_]:
    return np.where(outcomes.has_choices, outcomes.forced, outcomes.right)

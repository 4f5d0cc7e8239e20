"""Compute accuracy by domain: the questions of one task family or, where a data set has no more
than one family, the questions with the same wording.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from echodistill.core.records import Answer, Question
from echodistill.core.seeds import rng
from echodistill.evaluation.intervals import rate_interval, resamples
from echodistill.evaluation.scores import is_right_answer
from echodistill.evaluation.units import renumbered
from echodistill.params.evaluate import EvaluateParams

MAX_DOMAINS = 12
"""Largest number of domains; if no wording is repeated there are none."""
MIN_QUESTIONS = 5


def by_domain(
    answers: Sequence[Answer],
    questions: Mapping[str, Question],
    units: Mapping[str, int],
    max_snr_db: float,
    settings: EvaluateParams,
    seed: int,
) -> list[tuple[str, float, float, float]]:
    """Return each domain with its accuracy in % up to ``max_snr_db`` dB and the ends of its
    interval, the most frequent domain first.

    ``units`` is ``unit_of`` the clips.
    """
    ids = {row.question_id for row in answers}
    tasks = {questions[question_id].task for question_id in ids}

    def domain_of(question_id: str) -> str:
        question = questions[question_id]
        return question.task if len(tasks) > 1 else question.question

    asked = Counter(map(domain_of, ids))
    domains = [text for text, count in asked.most_common(MAX_DOMAINS) if count >= MIN_QUESTIONS]
    noisy = [row for row in answers if row.snr_db is not None and row.snr_db <= max_snr_db]
    found = []
    for domain in domains:
        rows = [row for row in noisy if domain_of(row.question_id) == domain]
        if not rows:
            continue
        right = [is_right_answer(row, questions[row.question_id]) for row in rows]
        unit_N, sample = renumbered([questions[row.question_id].clip_id for row in rows], units)
        drawn = resamples(sample.units, settings.bootstrap_draws, rng(seed, "domain", domain))
        interval = rate_interval(
            np.array([right], dtype=np.float64), unit_N, drawn, settings.confidence
        )
        found.append((domain, 100 * interval.value, 100 * interval.low, 100 * interval.high))
    return found

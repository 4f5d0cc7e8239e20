"""Accuracy by what is asked: a data set's questions of one wording are one domain."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from echodistill.evaluation.scores import is_right_answer
from echodistill.evaluation.seeded import rate_interval, resamples
from echodistill.params import CompareParams
from echodistill.records import Answer, Question
from echodistill.seeds import rng

MOST = 12
"""Domains shown; where questions are all of their own wording there are none."""
LEAST_QUESTIONS = 5


def by_domain(
    answers: Sequence[Answer], questions: Mapping[str, Question], max_snr_db: float, settings: CompareParams, seed: int
) -> list[tuple[str, float, float, float]]:
    """Each domain with its accuracy in % up to ``max_snr_db`` and the interval's ends, the most frequent first."""
    asked = Counter(questions[question_id].question for question_id in {row.question_id for row in answers})
    domains = [text for text, count in asked.most_common(MOST) if count >= LEAST_QUESTIONS]
    noisy = [row for row in answers if row.snr_db is not None and row.snr_db <= max_snr_db]
    found = []
    for domain in domains:
        rows = [row for row in noisy if questions[row.question_id].question == domain]
        clips = sorted({questions[row.question_id].clip_id for row in rows})
        if len(clips) < 2:
            continue
        number = {clip: index for index, clip in enumerate(clips)}
        right = [is_right_answer(row, questions[row.question_id]) for row in rows]
        clip_N = np.array([number[questions[row.question_id].clip_id] for row in rows])
        drawn = resamples(len(clips), settings.bootstrap_draws, rng(seed, "domain", domain))
        interval = rate_interval(np.array([right], dtype=np.float64), clip_N, drawn, settings.confidence)
        found.append((domain, 100 * interval.value, 100 * interval.low, 100 * interval.high))
    return found

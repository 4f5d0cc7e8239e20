"""How far the gain reaches: accuracy under distortions that nobody was trained on, each kind against its severity. Pure."""

from collections.abc import Mapping, Sequence

import numpy as np

from echodistill.audio.distortions.recipe import KINDS, from_name
from echodistill.errors import UserError
from echodistill.evaluation.choices import is_right
from echodistill.evaluation.seeded import resamples, seeded_interval
from echodistill.params import CompareParams
from echodistill.records import Answer, Question
from echodistill.seeds import rng

Interval = dict[str, float]


def distortion_table(
    base: Sequence[Answer], student: Sequence[Answer], questions: Mapping[str, Question], settings: CompareParams, seed: int
) -> dict[str, dict[str, object]]:
    """``{kind: {"display", "unit", "conditions": [{"severity", "base", "student", "difference"}]}}``, from mild to severe.

    Intervals are over clips, the difference is paired. Raises ``UserError`` when the two did not answer the same.
    """
    right_of = [{(row.question_id, row.noise_kind): _is_right(row, questions) for row in rows} for rows in (base, student)]
    if right_of[0].keys() != right_of[1].keys():
        raise UserError("base and student did not answer under the same distortions: run `echodistill compare` again")
    clips = sorted({questions[question_id].clip_id for question_id, _ in right_of[0]})
    number = {clip: index for index, clip in enumerate(clips)}
    drawn = resamples(len(clips), settings.bootstrap_draws, rng(seed, "bootstrap"))
    found: dict[str, dict[str, object]] = {}
    for kind, facts in KINDS.items():
        names = sorted({name for _, name in right_of[0] if from_name(name).kind == kind}, key=lambda name: from_name(name).severity)
        # as the kind lists them: for some the smaller number is the more severe
        names = names if facts.severities[0] < facts.severities[-1] else names[::-1]
        conditions = []
        for name in names:
            keys = sorted(key for key in right_of[0] if key[1] == name)
            clip_N = np.array([number[questions[question_id].clip_id] for question_id, _ in keys])
            before, after = (np.array([[right[key] for key in keys]], dtype=np.float64) for right in right_of)
            figures = {
                part: seeded_interval(values, clip_N, drawn, settings.confidence).as_dict()
                for part, values in (("base", before), ("student", after), ("difference", after - before))
            }
            conditions.append({"severity": from_name(name).severity, **figures})
        if conditions:
            found[kind] = {"display": facts.display, "unit": facts.unit, "conditions": conditions}
    return found


def _is_right(row: Answer, questions: Mapping[str, Question]) -> bool:
    question = questions[row.question_id]
    return is_right(row.response, question.choices, question.answer_index)

"""Compute how far the gain generalises: accuracy under conditions that training had and had not, by
the severity of the distortion. Pure.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from echodistill.audio.distortions.recipe import KINDS, from_name
from echodistill.core.errors import UserError
from echodistill.core.records import Answer, Question
from echodistill.core.seeds import rng
from echodistill.evaluation.intervals import Resamples, mean_interval, rate_interval, resamples
from echodistill.evaluation.scores import is_right_answer
from echodistill.evaluation.units import renumbered
from echodistill.params.evaluate import EvaluateParams

Name = TypeVar("Name", bound=str | float)


def distortion_table(
    base: Sequence[Answer],
    student: Sequence[Answer],
    questions: Mapping[str, Question],
    units: Mapping[str, int],
    settings: EvaluateParams,
    seed: int,
) -> dict[str, dict[str, object]]:
    """Return ``{kind: {"display", "unit", "conditions": [{"severity", "base", "student",
    "difference"}]}}`` with the conditions ordered from mild to severe.

    The intervals are over ``units`` (``unit_of`` the clips), and the difference is paired. Raise
    ``UserError`` if the two systems did not answer the same questions in the same mixes.
    """
    paired = _Paired(base, [student], questions, units, settings, seed)
    by_name = paired.by(lambda row: row.noise_kind)
    found: dict[str, dict[str, object]] = {}
    for kind, facts in KINDS.items():
        names = sorted(
            (name for name in by_name if from_name(name).kind == kind),
            key=lambda name: from_name(name).severity,
        )
        # the kind lists its severities from mild to severe, and for some kinds the smaller number
        # is the more severe one
        names = names if facts.severities[0] < facts.severities[-1] else names[::-1]
        conditions = [
            {"severity": from_name(name).severity, "trained": False} | by_name[name]
            for name in names
        ]
        if conditions:
            found[kind] = {"display": facts.display, "unit": facts.unit, "conditions": conditions}
    return found


def level_table(
    display: str,
    base: Sequence[Answer],
    students: Sequence[Sequence[Answer]],
    questions: Mapping[str, Question],
    units: Mapping[str, int],
    trained_snrs_db: Sequence[float],
    settings: EvaluateParams,
    seed: int,
) -> dict[str, Any]:
    """Return the accuracy by SNR over all given noisy rows, as one entry of ``distortion_table``;
    ``students`` holds the answers of each seed of one system.

    Each condition states whether training had noise at its SNR (``trained``). Raise ``UserError``
    if the systems did not answer the same questions in the same mixes.
    """
    noisy, *others = ([row for row in rows if row.snr_db is not None] for rows in (base, *students))
    paired = _Paired(noisy, others, questions, units, settings, seed)
    conditions = [
        {"severity": snr, "trained": snr in trained_snrs_db} | figures
        for snr, figures in sorted(paired.by(_snr).items())
    ]
    return {"display": display, "unit": "SNR (dB)", "conditions": conditions}


class _Paired:
    """The answers of the base and of each seed of a student on the same rows."""

    def __init__(
        self,
        base: Sequence[Answer],
        students: Sequence[Sequence[Answer]],
        questions: Mapping[str, Question],
        units: Mapping[str, int],
        settings: EvaluateParams,
        seed: int,
    ) -> None:
        self._rows = {_key(row): row for row in base}
        self._right_of = [
            {_key(row): is_right_answer(row, questions[row.question_id]) for row in rows}
            for rows in (base, *students)
        ]
        if any(right.keys() != self._rows.keys() for right in self._right_of):
            raise UserError(
                "base and student did not answer under the same conditions: run `echodistill"
                " compare` again"
            )
        unit, sample = renumbered(
            [questions[row.question_id].clip_id for row in self._rows.values()], units
        )
        self._unit = dict(zip(self._rows, unit.tolist(), strict=True))
        self._drawn: Resamples = resamples(
            sample.units, settings.bootstrap_draws, rng(seed, "bootstrap")
        )
        self._confidence = settings.confidence

    def by(self, condition: Callable[[Answer], Name]) -> dict[Name, dict[str, object]]:
        """Return the intervals ``base``, ``student`` and ``difference`` over units and seeds, and
        the number of rows ``n``, for each condition.
        """
        keys: dict[Name, list[tuple[str, str]]] = {}
        for key, row in sorted(self._rows.items()):
            keys.setdefault(condition(row), []).append(key)
        return {name: self._figures(found) for name, found in keys.items()}

    def _figures(self, keys: Sequence[tuple[str, str]]) -> dict[str, object]:
        unit_N = np.array([self._unit[key] for key in keys])
        before, *after = (
            np.array([right[key] for key in keys], dtype=np.float64) for right in self._right_of
        )
        after_SN: NDArray[np.float64] = np.stack(after)
        parts = {"base": before[None], "student": after_SN, "difference": after_SN - before}
        figures = {
            part: (
                (mean_interval if part == "difference" else rate_interval)(
                    values, unit_N, self._drawn, self._confidence
                ).as_dict()
            )
            for part, values in parts.items()
        }
        return figures | {"n": len(keys)}


def _snr(row: Answer) -> float:
    return math.nan if row.snr_db is None else row.snr_db


def _key(row: Answer) -> tuple[str, str]:
    return row.question_id, row.mix_id

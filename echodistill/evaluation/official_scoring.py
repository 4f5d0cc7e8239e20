"""Our answers under the rule of the benchmark's own authors: which rule it is, and which rows it
counts as right.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from echodistill.audio.kinds import CLEAN
from echodistill.core.records import Answer, Question
from echodistill.evaluation.scores import Scored
from echodistill.evaluation.scoring_rules import RULES, Rule
from echodistill.params.corpus import Source

LETTERED = {"mmau": ".parquet"}
"""Endings of the manifests whose rows bear letters in their choices, and so have the second of two
rules.
"""


@dataclass(frozen=True)
class Scoring:
    """A source's own rule."""

    source: Source
    rule: str
    is_right: Rule

    def as_dict(self) -> dict[str, str]:
        return {"source": self.source, "rule": self.rule}


def scoring_of(source: Source, manifest: str) -> Scoring | None:
    """The rule of the authors of ``source``; ``None`` where it has none. Of two, the one for rows
    as ``manifest`` has them.
    """
    if not (rules := list(RULES.get(source, {}).items())):
        return None
    lettered = source in LETTERED and manifest.endswith(LETTERED[source])
    return Scoring(source, *rules[1 if lettered else 0])


def with_authors(
    scored: Scored,
    answers: Sequence[Answer],
    questions: Mapping[str, Question],
    scoring: Scoring | None,
) -> Scored:
    """The same rows with what the authors' rule counts as right beside; unchanged without a
    rule.
    """
    if scoring is None:
        return scored

    def right(rows: Sequence[tuple[str, str]]) -> NDArray[np.bool_]:
        asked = ((questions[question_id], response) for question_id, response in rows)
        return np.array(
            [scoring.is_right(response, one.choices, one.answer) for one, response in asked],
            dtype=np.bool_,
        )

    said = {(row.question_id, row.mix_id): row.response for row in answers}
    clean = {row.question_id: row.response for row in answers if row.noise_kind == CLEAN}
    noisy = [(question_id, said[question_id, mix_id]) for question_id, mix_id in scored.keys]
    return replace(
        scored,
        noisy=replace(scored.noisy, right_authors=right(noisy)),
        clean=replace(scored.clean, right_authors=right(sorted(clean.items()))),
    )

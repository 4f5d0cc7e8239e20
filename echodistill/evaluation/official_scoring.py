"""Score our answers by the rule of the benchmark's own authors: select the rule and apply it to the
rows.
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
"""File endings, by source, of the manifests whose choices have letters; the second of the source's
two rules applies to them.
"""


@dataclass(frozen=True)
class Scoring:
    """The scoring rule of a source's authors."""

    source: Source
    rule: str
    is_right: Rule

    def as_dict(self) -> dict[str, str]:
        return {"source": self.source, "rule": self.rule}


def scoring_of(source: Source, manifest: str) -> Scoring | None:
    """Return the rule of the authors of ``source``, or ``None`` if it has none. Of two rules,
    return the one for the rows of ``manifest``.
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
    """Return ``scored`` with ``right_authors`` filled in by the authors' rule; unchanged without a
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

    responses = {(row.question_id, row.mix_id): row.response for row in answers}
    clean = {row.question_id: row.response for row in answers if row.noise_kind == CLEAN}
    noisy = [(question_id, responses[question_id, mix_id]) for question_id, mix_id in scored.keys]
    return replace(
        scored,
        noisy=replace(scored.noisy, right_authors=right(noisy)),
        clean=replace(scored.clean, right_authors=right(sorted(clean.items()))),
    )

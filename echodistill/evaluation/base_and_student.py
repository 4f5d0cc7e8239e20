"""Compare two systems: figures, intervals, paired differences. Pure."""

from collections.abc import Sequence

import numpy as np

from echodistill.core.errors import UserError
from echodistill.core.seeds import rng
from echodistill.evaluation.figures import (
    AGREEMENT,
    OUTCOME_FIGURES,
    Rows,
    figures_of,
    noisy_figure,
)
from echodistill.evaluation.intervals import mean_interval, rate_interval, resamples
from echodistill.evaluation.scores import Scored, summarise
from echodistill.params.evaluate import EvaluateParams

RATES = (*OUTCOME_FIGURES, *AGREEMENT, *(f"clean_{name}" for name in OUTCOME_FIGURES))
"""Figures whose difference is reported; those of forced choice exist only where questions have
choices.
"""


def compare_systems(
    method: str,
    base: Scored,
    student: Scored,
    settings: EvaluateParams,
    unseen: Sequence[str],
    seed: int,
) -> dict[str, object]:
    """Return the content of ``reports/metrics.json``; every difference is paired row by row.

    Raise ``UserError`` if the systems did not answer the same rows.
    """
    if not base.same_rows(student):
        odd = [
            *sorted(set(base.keys) ^ set(student.keys)),
            *sorted(set(base.clean_keys) ^ set(student.clean_keys)),
        ]
        raise UserError(
            f"base and student did not answer the same mixes, e.g. {odd[:3]}: run `echodistill run"
            " predict` again"
        )
    drawn = resamples(base.sample.units, settings.bootstrap_draws, rng(seed, "bootstrap"))
    limit = settings.headline_max_snr_db
    figures = figures_of(base, limit)
    kinds = {str(kind) for kind in np.unique(base.noise_kind)}
    parts = {"seen": kinds - set(unseen), "unseen": kinds & set(unseen)}

    def values_of(scored: Scored, rows: Rows) -> dict[str, float]:
        values, unit = rows(scored)
        return rate_interval(values[None], unit, drawn, settings.confidence).as_dict()

    def paired(rows: Rows) -> dict[str, float]:
        (before, unit), (after, _) = rows(base), rows(student)
        return mean_interval((after - before)[None], unit, drawn, settings.confidence).as_dict()

    def of_kinds(chosen: set[str]) -> Rows:
        return noisy_figure("acc", (base.snr_db <= limit) & np.isin(base.noise_kind, list(chosen)))

    by_snr = {f"{snr:g}": figures[f"acc@{snr:g}"] for snr in np.unique(base.snr_db)}
    return {
        "method": method,
        "base": summarise(base, unseen, limit),
        "student": summarise(student, unseen, limit),
        "difference": (
            {name: paired(figures[name]) for name in RATES if name in figures}
            | {f"acc_{part}": paired(of_kinds(chosen)) for part, chosen in parts.items() if chosen}
        ),
        "intervals": {
            name: (
                {"clean": values_of(scored, figures["clean_acc"])}
                | {snr: values_of(scored, rows) for snr, rows in by_snr.items()}
            )
            for name, scored in (("base", base), ("student", student))
        },
        "difference_by_snr": {snr: paired(rows) for snr, rows in by_snr.items()},
        "difference_by_noise": {kind: paired(figures[f"acc/{kind}"]) for kind in sorted(kinds)},
        "unseen_kinds": sorted(parts["unseen"]),
        **base.sample.as_dict(),
        "headline_max_snr_db": limit,
        "confidence": settings.confidence,
    }

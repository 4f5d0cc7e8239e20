"""Two systems side by side: figures, intervals, paired differences. Pure."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from echodistill.errors import UserError
from echodistill.evaluation.intervals import clip_weights, mean_interval
from echodistill.evaluation.scores import Scored, summarise
from echodistill.params import CompareParams
from echodistill.seeds import rng

METRICS = {"acc": "right", "noisy": "agrees_base", "gsr": "agrees_self"}


def compare_systems(
    method: str, base: Scored, student: Scored, settings: CompareParams, unseen: Sequence[str], seed: int
) -> dict[str, object]:
    """What ``reports/metrics.json`` holds. Raises ``UserError`` when the systems did not answer the same rows."""
    if base.keys != student.keys:
        odd = sorted(set(base.keys) ^ set(student.keys))[:3]
        raise UserError(f"base and student did not answer the same mixes, e.g. {odd}: run `echodistill run predict` again")
    weights = clip_weights(int(max(base.clip.max(), base.clean_clip.max())) + 1, settings.bootstrap_draws, rng(seed, "bootstrap"))
    headline = base.snr_db <= settings.headline_max_snr_db

    def interval(values: NDArray[np.floating], clip: NDArray[np.int64]) -> dict[str, float]:
        return mean_interval(values, clip, weights, settings.confidence).as_dict()

    def paired(field: str, rows: NDArray[np.bool_]) -> dict[str, float]:
        gain = getattr(student, field)[rows].astype(float) - getattr(base, field)[rows].astype(float)
        return interval(gain, base.clip[rows])

    def acc(scored: Scored, rows: NDArray[np.bool_]) -> dict[str, float]:
        return interval(scored.right[rows].astype(float), scored.clip[rows])

    difference = {name: paired(field, headline) for name, field in METRICS.items()}
    clean_gain = student.clean_right.astype(float) - base.clean_right.astype(float)
    difference["clean_acc"] = interval(clean_gain, base.clean_clip)
    return {
        "method": method,
        "base": summarise(base, unseen, settings.headline_max_snr_db),
        "student": summarise(student, unseen, settings.headline_max_snr_db),
        "difference": difference,
        "intervals": {
            name: {
                "clean": interval(scored.clean_right.astype(float), scored.clean_clip),
                **{f"{snr:g}": acc(scored, scored.snr_db == snr) for snr in np.unique(scored.snr_db)},
            }
            for name, scored in (("base", base), ("student", student))
        },
        "difference_by_snr": {f"{snr:g}": paired("right", base.snr_db == snr) for snr in np.unique(base.snr_db)},
        "clips": len(np.unique(base.clip)),
        "headline_max_snr_db": settings.headline_max_snr_db,
        "confidence": settings.confidence,
    }

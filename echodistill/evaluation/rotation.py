"""What it costs not to have trained with a kind of noise: each kind judged by students trained with it and without it. Pure numpy.

Held-out kinds may be easier or harder than the others, so a gain on them and a gain on the others cannot be compared. In rotation
every kind is held out of one training and part of the others, and the two gains are paired row by row.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from echodistill.errors import UserError
from echodistill.evaluation.scores import Scored
from echodistill.evaluation.seeded import Resamples, rate_interval, resamples, seeded_interval
from echodistill.params import CompareParams
from echodistill.seeds import rng

ALL = "all kinds"


@dataclass(frozen=True)
class Fold:
    """A student and the kinds of noise that its training did not have."""

    held_out: Sequence[str]
    student: Scored


def rotation_table(base: Scored, folds: Sequence[Fold], settings: CompareParams, seed: int) -> dict[str, dict[str, object]]:
    """Return by kind of noise, and over all kinds, the base's accuracy up to the headline's SNR and three paired differences to it.

    ``trained`` is the mean gain of the students that were trained with the kind, ``held_out`` the gain of the one that was not,
    ``difference`` the second less the first; every figure is an interval over units with ``n`` rows. Raises ``UserError`` when a
    student did not answer what the base did.
    """
    if any(fold.student.keys != base.keys for fold in folds):
        raise UserError("the students of the folds did not answer the same mixes as the base: run `echodistill compare` again")
    fold_of = {kind: index for index, fold in enumerate(folds) for kind in fold.held_out}
    headline = base.snr_db <= settings.headline_max_snr_db
    before = base.right.astype(np.float64)
    after_FN = np.stack([fold.student.right for fold in folds]).astype(np.float64)
    without_FN = np.stack([[fold_of.get(str(kind)) == index for kind in base.noise_kind] for index in range(len(folds))])
    held_out = np.where(without_FN, after_FN, 0.0).sum(axis=0)
    trained = np.where(without_FN, 0.0, after_FN).sum(axis=0) / (len(folds) - 1)
    drawn = resamples(int(base.clip.max()) + 1, settings.bootstrap_draws, rng(seed, "bootstrap"))
    covered = headline & np.isin(base.noise_kind, list(fold_of))
    groups = {kind: headline & (base.noise_kind == kind) for kind in fold_of} | {ALL: covered}
    return {name: _figures(before, trained, held_out, rows, base.clip, drawn, settings.confidence) for name, rows in groups.items()}


def _figures(
    before_N: NDArray[np.float64],
    trained_N: NDArray[np.float64],
    held_out_N: NDArray[np.float64],
    rows_N: NDArray[np.bool_],
    clip_N: NDArray[np.int64],
    drawn: Resamples,
    confidence: float,
) -> dict[str, object]:
    parts = {"trained": trained_N - before_N, "held_out": held_out_N - before_N, "difference": held_out_N - trained_N}
    clips = clip_N[rows_N]
    figures: dict[str, object] = {"base": rate_interval(before_N[None, rows_N], clips, drawn, confidence).as_dict()}
    figures |= {name: seeded_interval(values[None, rows_N], clips, drawn, confidence).as_dict() for name, values in parts.items()}
    return figures | {"n": int(rows_N.sum())}

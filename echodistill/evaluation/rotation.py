"""Measure the cost of not training with a kind of noise: each kind is judged by students trained
with it and without it. Pure numpy.

Held-out kinds may be easier or harder than the others, so the gain on them cannot be compared with
the gain on the others. In rotation every kind is held out of one training and is part of the
others, and the two gains are paired row by row.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from echodistill.audio.kinds import ALL_KINDS
from echodistill.core.errors import UserError
from echodistill.core.seeds import rng
from echodistill.evaluation.intervals import Resamples, mean_interval, rate_interval, resamples
from echodistill.evaluation.scores import Outcomes, Scored
from echodistill.params.evaluate import EvaluateParams

Kinds = dict[str, dict[str, object]]
"""The intervals ``base``, ``trained``, ``held_out`` and ``difference`` and the number of rows
``n``, by kind of noise and over all kinds.
"""


@dataclass(frozen=True)
class Fold:
    """A student, with the kinds of noise that its training did not have."""

    held_out: Sequence[str]
    student: Scored


def rotation_table(
    base: Scored, folds: Sequence[Fold], settings: EvaluateParams, seed: int
) -> dict[str, Kinds]:
    """Return the gains over the base up to the headline's SNR, for free answers (``acc``) and for
    forced choice (``acc_forced``).

    ``trained`` is the mean gain of the students that were trained with the kind, ``held_out`` the
    gain of the student that was not, and ``difference`` is ``held_out`` minus ``trained``. Without
    choices there is no ``acc_forced``. Raise ``UserError`` if a student did not answer the same
    mixes as the base.
    """
    if not all(fold.student.same_rows(base) for fold in folds):
        raise UserError(
            "the students of the folds did not answer the same mixes as the base: run `echodistill"
            " compare` again"
        )
    drawn = resamples(base.sample.units, settings.bootstrap_draws, rng(seed, "bootstrap"))
    headline = base.snr_db <= settings.headline_max_snr_db
    found = {"acc": _kinds(base, folds, headline, "right", drawn, settings.confidence)}
    if (offered := headline & base.noisy.has_choices).any():
        found["acc_forced"] = _kinds(base, folds, offered, "forced", drawn, settings.confidence)
    return found


def _kinds(
    base: Scored,
    folds: Sequence[Fold],
    rows_N: NDArray[np.bool_],
    field: str,
    drawn: Resamples,
    confidence: float,
) -> Kinds:
    fold_of = {kind: index for index, fold in enumerate(folds) for kind in fold.held_out}
    before_N = _values(base.noisy, field)
    after_FN = np.stack([_values(fold.student.noisy, field) for fold in folds])
    without_FN = np.stack(
        [
            [fold_of.get(str(kind)) == index for kind in base.noise_kind]
            for index in range(len(folds))
        ]
    )
    held_out_N = np.where(without_FN, after_FN, 0.0).sum(axis=0) - before_N
    trained_N = np.where(without_FN, 0.0, after_FN).sum(axis=0) / (len(folds) - 1) - before_N
    gains = {"trained": trained_N, "held_out": held_out_N, "difference": held_out_N - trained_N}
    groups = {kind: rows_N & (base.noise_kind == kind) for kind in fold_of} | {
        ALL_KINDS: rows_N & np.isin(base.noise_kind, list(fold_of))
    }
    found: Kinds = {}
    for name, rows in groups.items():
        unit = base.noisy.unit[rows]
        figures: dict[str, object] = {
            "base": rate_interval(before_N[None, rows], unit, drawn, confidence).as_dict()
        }
        figures |= {
            part: mean_interval(gain[None, rows], unit, drawn, confidence).as_dict()
            for part, gain in gains.items()
        }
        found[name] = figures | {"n": int(rows.sum())}
    return found


def _values(outcomes: Outcomes, field: str) -> NDArray[np.float64]:
    values: NDArray[np.float64] = getattr(outcomes, field).astype(np.float64)
    return values

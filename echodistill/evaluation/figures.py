"""The figures of a system by name, each as the rows it is the mean of. Pure."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from echodistill.evaluation.scores import Outcomes, Scored

Values = tuple[NDArray[np.float64], NDArray[np.int64]]
"""What each row counts, and the unit each row belongs to."""
Rows = Callable[[Scored], Values]
"""The rows of a figure."""

FORCED = {"acc_forced": "forced", "acc_forced_norm": "forced_norm"}
"""Only over questions that have choices."""
OF_OUTCOMES = {"acc": "right"} | FORCED | {"unparsed": "unparsed", "truncated": "truncated"}
AUTHORS = "acc_authors"
AGREEMENT = {"noisy": "agrees_base", "gsr": "agrees_self"}


def figures_of(scored: Scored, headline_max_snr_db: float) -> dict[str, Rows]:
    """Return every figure that ``scored`` has, by name.

    ``acc`` is over the headline's SNRs, ``acc@-5`` at one SNR, ``acc/crowd`` of one kind of noise
    over the headline's SNRs; ``clean_acc`` is of clean input.
    """
    headline = scored.snr_db <= headline_max_snr_db
    table = _clean_figures(scored.clean) | _noisy_figures(scored, headline)
    for snr in np.unique(scored.snr_db):
        found = _noisy_figures(scored, scored.snr_db == snr)
        table |= {f"{name}@{snr:g}": rows for name, rows in found.items() if name != AUTHORS}
    for kind in np.unique(scored.noise_kind):
        found = _noisy_figures(scored, headline & (scored.noise_kind == kind))
        table |= {f"{name}/{kind}": found[name] for name in ("acc", "acc_forced") if name in found}
    return table


def noisy_figure(name: str, chosen: NDArray[np.bool_]) -> Rows:
    """Return the figure ``name`` over the ``chosen`` noisy rows."""
    if name in AGREEMENT:
        field = AGREEMENT[name]
        return lambda one: (getattr(one, field)[chosen].astype(np.float64), one.noisy.unit[chosen])
    return lambda one: _values(name, one.noisy, chosen)


def clean_figure(name: str) -> Rows:
    """Return the figure ``name`` over all clean rows."""
    return lambda one: _values(name, one.clean, np.ones_like(one.clean.right))


def _noisy_figures(scored: Scored, chosen: NDArray[np.bool_]) -> dict[str, Rows]:
    names = [*_names(scored.noisy, chosen), *AGREEMENT]
    return {name: noisy_figure(name, chosen) for name in names}


def _clean_figures(outcomes: Outcomes) -> dict[str, Rows]:
    names = _names(outcomes, np.ones_like(outcomes.right))
    return {f"clean_{name}": clean_figure(name) for name in names}


def _names(outcomes: Outcomes, chosen: NDArray[np.bool_]) -> list[str]:
    """Return the figures that have rows."""
    forced = (chosen & outcomes.has_choices).any()
    names = [name for name in OF_OUTCOMES if forced or name not in FORCED]
    return names if outcomes.right_authors is None else [*names, AUTHORS]


def _values(name: str, outcomes: Outcomes, chosen: NDArray[np.bool_]) -> Values:
    rows = chosen & outcomes.has_choices if name in FORCED else chosen
    field = "right_authors" if name == AUTHORS else OF_OUTCOMES[name]
    return getattr(outcomes, field)[rows].astype(np.float64), outcomes.unit[rows]

"""Define the figures of a system by name, each by the rows whose mean it is. Pure."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from echodistill.evaluation.scores import Outcomes, Scored

Values = tuple[NDArray[np.float64], NDArray[np.int64]]
"""The value of each row, (N,) float64, and the number of its unit, (N,) int64."""
Rows = Callable[[Scored], Values]
"""A function from a system's scores to the rows of a figure."""

FORCED = {"acc_forced": "forced", "acc_forced_norm": "forced_norm"}
"""Figures of forced choice, over the questions that have choices."""
OUTCOME_FIGURES = {"acc": "right"} | FORCED | {"unparsed": "unparsed", "truncated": "truncated"}
AUTHORS = "acc_authors"
AGREEMENT = {"noisy": "agrees_base", "gsr": "agrees_self"}


def figures_of(scored: Scored, headline_max_snr_db: float) -> dict[str, Rows]:
    """Return all figures of ``scored``, by name.

    ``acc`` is over the headline's SNRs, ``acc@-5`` at the SNR -5 dB, ``acc/crowd`` of the noise
    ``crowd`` over the headline's SNRs; ``clean_acc`` is over clean input.
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
    """Return the names of the figures that have rows among the ``chosen`` ones."""
    forced = (chosen & outcomes.has_choices).any()
    names = [name for name in OUTCOME_FIGURES if forced or name not in FORCED]
    return names if outcomes.right_authors is None else [*names, AUTHORS]


def _values(name: str, outcomes: Outcomes, chosen: NDArray[np.bool_]) -> Values:
    rows = chosen & outcomes.has_choices if name in FORCED else chosen
    field = "right_authors" if name == AUTHORS else OUTCOME_FIGURES[name]
    return getattr(outcomes, field)[rows].astype(np.float64), outcomes.unit[rows]

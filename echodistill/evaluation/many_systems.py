"""Compute one table of figures, intervals and paired tests for many systems that are each trained
with several seeds. Pure numpy.

The table has what reviewers require (arXiv 2605.23954, table 1 and its controls): every figure has
its interval over units and seeds and its standard deviation over seeds, every difference is paired
by row, the p-value of accuracy comes from the same statistic as its interval, and Holm's correction
is applied over the whole table.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from echodistill.core.counted import counted
from echodistill.core.errors import UserError
from echodistill.core.seeds import rng
from echodistill.evaluation.figures import Rows, figures_of
from echodistill.evaluation.intervals import (
    Interval,
    Resamples,
    mean_interval,
    p_value,
    rate_interval,
    resamples,
)
from echodistill.evaluation.scores import Scored
from echodistill.evaluation.significance import discordance, holm
from echodistill.params.evaluate import EvaluateParams


@dataclass(frozen=True)
class System:
    """The scores of one system, one entry per seed; a system that is not trained has one entry."""

    name: str
    scored: tuple[Scored, ...]

    def __post_init__(self) -> None:
        first = self.scored[0]
        if odd := [
            number for number, other in enumerate(self.scored) if not other.same_rows(first)
        ]:
            raise UserError(
                f"seeds of {self.name} did not answer the same mixes (number {odd[0] + 1}): run"
                " `echodistill compare` again"
            )


def table_of(
    systems: Sequence[System], pairs: Sequence[tuple[str, str]], settings: EvaluateParams, seed: int
) -> dict[str, Any]:
    """Return ``{"systems": {name: {figure: interval}}, "differences": {"a - b": {...}}}`` together
    with the accuracies by noise and SNR, the sample sizes and the settings.

    Each interval has the keys value, low, high, n, seeds and seed_sd. ``pairs`` holds the names of
    the two systems of each difference. Raise ``UserError`` unless all systems answered the same
    mixes.
    """
    by_name = {system.name: system for system in systems}
    first = systems[0].scored[0]
    if odd := [system.name for system in systems if not system.scored[0].same_rows(first)]:
        raise UserError(
            f"{odd[0]} and {systems[0].name} did not answer the same mixes: run `echodistill"
            " compare` again"
        )
    figures = figures_of(first, settings.headline_max_snr_db)
    drawn = resamples(first.sample.units, settings.bootstrap_draws, rng(seed, "bootstrap"))
    units = {name: rows(first)[1] for name, rows in figures.items()}

    def own(system: System, name: str) -> dict[str, float | None]:
        values = _values(system, figures[name])
        return _entry(values, rate_interval(values, units[name], drawn, settings.confidence))

    def paired(one: System, other: System, name: str) -> dict[str, float | None]:
        gain = _gain(one, other, figures[name])
        return _entry(gain, mean_interval(gain, units[name], drawn, settings.confidence))

    differences: dict[str, dict[str, dict[str, Any]]] = {}
    for names in pairs:
        one, other = (by_name[name] for name in names)
        test = _test(_gain(one, other, figures["acc"]), units["acc"], drawn, settings.confidence)
        differences[" - ".join(names)] = {name: paired(one, other, name) for name in figures} | {
            "test": test
        }
    corrected = holm({name: found["test"]["p"] for name, found in differences.items()})
    for name, p in corrected.items():
        differences[name]["test"]["p_holm"] = p
    return {
        "systems": {
            system.name: {name: own(system, name) for name in figures} for system in systems
        },
        "differences": differences,
        "cells": {system.name: _cells(system) for system in systems},
        **first.sample.as_dict(),
        "headline_max_snr_db": settings.headline_max_snr_db,
        "confidence": settings.confidence,
    }


def _entry(values_SN: NDArray[np.float64], interval: Interval) -> dict[str, float | None]:
    """Return a figure with its interval, its number of rows, its number of seeds and the standard
    deviation of the seeds' means.

    The deviation is that of a sample (divided by seeds - 1); it is ``None`` for one seed.
    """
    seeds, rows = values_SN.shape
    deviation = float(values_SN.mean(axis=1).std(ddof=1)) if seeds > 1 else None
    return interval.as_dict() | {"n": rows, "seeds": seeds, "seed_sd": deviation}


def _cells(system: System) -> dict[str, dict[str, float]]:
    """Return the accuracy by kind of noise and SNR, averaged over all seeds; it is for a heat map
    and has no intervals.
    """
    first = system.scored[0]
    right_N = np.mean([scored.noisy.right for scored in system.scored], axis=0)
    return {
        str(kind): {
            f"{snr:g}": float(right_N[(first.noise_kind == kind) & (first.snr_db == snr)].mean())
            for snr in np.unique(first.snr_db)
        }
        for kind in np.unique(first.noise_kind)
    }


def _values(system: System, rows: Rows) -> NDArray[np.float64]:
    return np.stack([rows(scored)[0] for scored in system.scored])


def _gain(one: System, other: System, rows: Rows) -> NDArray[np.float64]:
    """Return the differences on the same rows, (seeds, N): between equal seeds, or between each
    seed and the one entry of a system without seeds.
    """
    first, second = _values(one, rows), _values(other, rows)
    if first.shape[0] != second.shape[0] and 1 not in (first.shape[0], second.shape[0]):
        raise UserError(
            f"{one.name} has {counted(first.shape[0], 'seed')} and {other.name}"
            f" {second.shape[0]}: give both"
            " the same"
        )
    return first - second


def _test(
    gain_SN: NDArray[np.float64], unit_N: NDArray[np.int64], drawn: Resamples, confidence: float
) -> dict[str, Any]:
    """Return the p-value and the effect size of a difference in accuracy; the effect size counts
    the rows of all seeds together.
    """
    found = discordance(gain_SN)
    return {
        "only_first": found.only_first,
        "only_second": found.only_second,
        "cohens_g": found.cohens_g,
        "p": p_value(gain_SN, unit_N, drawn, confidence),
    }

"""Many systems, each trained with several seeds, to one table of figures with intervals and paired tests. Pure numpy.

The table a reviewer asks for (arXiv 2605.23954, table 1 and its controls): every figure with its interval over clips and seeds, every
difference paired by row, McNemar's test on accuracy, and Holm's correction over the whole table.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from echodistill.errors import UserError
from echodistill.evaluation.scores import Scored
from echodistill.evaluation.seeded import rate_interval, resamples, seeded_interval
from echodistill.evaluation.significance import discordance, holm, mcnemar
from echodistill.params import CompareParams
from echodistill.seeds import rng

NOISY_METRICS = {"acc": "right", "noisy": "agrees_base", "gsr": "agrees_self", "parsed": "parsed"}
"""Figures over the headline's SNRs, by the rows they are the mean of."""


@dataclass(frozen=True)
class System:
    """One system's scores, a seed after another; a system without training has one."""

    name: str
    scored: tuple[Scored, ...]

    def __post_init__(self) -> None:
        first = self.scored[0]
        if odd := [number for number, other in enumerate(self.scored) if other.keys != first.keys]:
            raise UserError(
                f"seeds of {self.name} did not answer the same mixes (number {odd[0] + 1}): run `echodistill compare` again"
            )


Rows = Callable[[Scored], tuple[NDArray[np.bool_], NDArray[np.int64]]]
"""The rows of a figure: right or wrong each, and the clip each belongs to."""


def figures_of(scored: Scored, headline_max_snr_db: float) -> dict[str, Rows]:
    """Every figure of the table by name, as the rows it is the mean of."""
    headline = scored.snr_db <= headline_max_snr_db

    def noisy(field: str, rows: NDArray[np.bool_]) -> Rows:
        return lambda one: (getattr(one, field)[rows], one.clip[rows])

    table: dict[str, Rows] = {"clean_acc": lambda one: (one.clean_right, one.clean_clip)}
    table |= {name: noisy(field, headline) for name, field in NOISY_METRICS.items()}
    if scored.right_authors is not None:
        table |= {"clean_acc_authors": _clean_authors, "acc_authors": noisy("right_authors", headline)}
    for snr in np.unique(scored.snr_db):
        table |= {f"{name}@{snr:g}": noisy(field, scored.snr_db == snr) for name, field in NOISY_METRICS.items() if name != "parsed"}
    for kind in np.unique(scored.noise_kind):
        table[f"acc/{kind}"] = noisy("right", headline & (scored.noise_kind == kind))
    return table


def _clean_authors(one: Scored) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    assert one.clean_right_authors is not None
    return one.clean_right_authors, one.clean_clip


def table_of(systems: Sequence[System], pairs: Sequence[tuple[str, str]], settings: CompareParams, seed: int) -> dict[str, Any]:
    """``{"systems": {name: {figure: interval}}, "differences": {"a - b": {...}}}``; an interval is value, low, high, n and seeds.

    ``pairs`` are the differences asked for, by name. Every system must have answered the same mixes. Raises ``UserError``.
    """
    by_name = {system.name: system for system in systems}
    first = systems[0].scored[0]
    if odd := [system.name for system in systems if system.scored[0].keys != first.keys]:
        raise UserError(f"{odd[0]} and {systems[0].name} did not answer the same mixes: run `echodistill compare` again")
    figures = figures_of(first, settings.headline_max_snr_db)

    drawn = resamples(int(max(first.clip.max(), first.clean_clip.max())) + 1, settings.bootstrap_draws, rng(seed, "bootstrap"))

    def interval(values_SN: NDArray[np.float64], clip_N: NDArray[np.int64], of: Any = seeded_interval) -> dict[str, float]:
        found = of(values_SN, clip_N, drawn, settings.confidence)
        return found.as_dict() | {"n": values_SN.shape[1], "seeds": values_SN.shape[0]}

    def own(system: System, rows: Rows) -> dict[str, float]:
        return interval(_values(system, rows), rows(first)[1], rate_interval)

    differences: dict[str, dict[str, dict[str, Any]]] = {}
    for one, other in pairs:
        sides = [by_name[one], by_name[other]]
        differences[f"{one} - {other}"] = {
            name: interval(_gain(sides[0], sides[1], rows), rows(first)[1]) for name, rows in figures.items() if name != "parsed"
        } | {"test": _test(sides[0], sides[1], figures["acc"])}
    corrected = holm({name: found["test"]["p"] for name, found in differences.items()})
    for name, p in corrected.items():
        differences[name]["test"]["p_holm"] = p
    return {
        "systems": {system.name: {name: own(system, rows) for name, rows in figures.items()} for system in systems},
        "differences": differences,
        "cells": {system.name: _cells(system) for system in systems},
        "clips": int(np.unique(first.clip).size),
        "headline_max_snr_db": settings.headline_max_snr_db,
        "confidence": settings.confidence,
    }


def _cells(system: System) -> dict[str, dict[str, float]]:
    """Accuracy by kind of noise and SNR, all seeds: for a heat map, without intervals."""
    first = system.scored[0]
    right_N = np.mean([scored.right for scored in system.scored], axis=0)
    return {
        str(kind): {
            f"{snr:g}": float(right_N[(first.noise_kind == kind) & (first.snr_db == snr)].mean()) for snr in np.unique(first.snr_db)
        }
        for kind in np.unique(first.noise_kind)
    }


def _values(system: System, rows: Rows) -> NDArray[np.float64]:
    return np.stack([rows(scored)[0] for scored in system.scored]).astype(np.float64)


def _gain(one: System, other: System, rows: Rows) -> NDArray[np.float64]:
    """Difference on the same rows (seeds, N): seed by seed, or of every seed to the one system without seeds."""
    mine, theirs = _values(one, rows), _values(other, rows)
    if mine.shape[0] != theirs.shape[0] and 1 not in (mine.shape[0], theirs.shape[0]):
        raise UserError(f"{one.name} has {mine.shape[0]} seeds and {other.name} {theirs.shape[0]}: give both the same")
    return mine - theirs


def _test(one: System, other: System, rows: Rows) -> dict[str, Any]:
    """McNemar on the accuracy of all seeds together, with its effect size."""
    seeds = max(len(one.scored), len(other.scored))
    mine, theirs = (np.tile(_values(side, rows), (seeds // len(side.scored), 1)).astype(bool) for side in (one, other))
    clip = np.tile(rows(one.scored[0])[1], seeds)
    found = discordance(mine.ravel(), theirs.ravel())
    return {
        "only_first": found.only_first,
        "only_second": found.only_second,
        "cohens_g": found.cohens_g,
        "p": mcnemar(mine.ravel(), theirs.ravel(), clip),
    }

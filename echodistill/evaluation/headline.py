"""Flatten the comparison's top figures for ``dvc metrics``, ``dvc plots`` and MLflow. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any

from echodistill.evaluation.figures import figures_of
from echodistill.evaluation.many_systems import System

METRICS = (
    "clean_acc",
    "clean_acc_forced",
    "acc",
    "acc_forced",
    "acc_forced_norm",
    "noisy",
    "gsr",
    "unparsed",
)
"""Top figures; those of forced choice exist only where questions have choices."""
CURVE_METRICS = ("acc", "acc_forced", "noisy", "gsr", "unparsed")
PARTS = ("value", "low", "high")


def top_figures(table: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Return ``{system: {metric: value}}`` of ``reports/compare.json``, and the differences as
    ``{"a - b": {metric: value}}``.
    """
    parts = {**table["systems"], **table["differences"]}
    return {
        name: {metric: found["value"] for metric, found in top_intervals(figures).items()}
        for name, figures in parts.items()
    }


def top_intervals(figures: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the top figures of a system or difference."""
    return {metric: figures[metric] for metric in METRICS if metric in figures}


def seed_figures(system: System, headline_max_snr_db: float) -> list[dict[str, float]]:
    """Return the top figures of each seed."""
    figures = figures_of(system.scored[0], headline_max_snr_db)
    return [
        {
            metric: float(figures[metric](scored)[0].mean())
            for metric in METRICS
            if metric in figures
        }
        for scored in system.scored
    ]


def curve_points(table: Mapping[str, Any]) -> Iterator[dict[str, str | float]]:
    """Yield one row for each system and SNR: ``system``, ``snr_db``, and each metric with its
    interval.
    """
    for system, figures in table["systems"].items():
        snrs = sorted(float(name.partition("@")[2]) for name in figures if name.startswith("acc@"))
        for snr in snrs:
            row: dict[str, str | float] = {"system": system, "snr_db": snr}
            for metric in CURVE_METRICS:
                if found := figures.get(f"{metric}@{snr:g}"):
                    row |= {
                        metric if end == "value" else f"{metric}_{end}": found[end] for end in PARTS
                    }
            yield row

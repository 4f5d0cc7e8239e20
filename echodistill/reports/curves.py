"""Draw accuracy by SNR, and write the points for ``dvc plots``."""

import csv
from pathlib import Path
from typing import Any

from echodistill.core.atomic import atomic_path
from echodistill.core.counted import counted
from echodistill.reports.sentences import units_text

COLOURS = {"base": "#8a6d3b", "student": "#1f6f8b"}
MARKERS = {"base": "o", "student": "s"}


def write_curve_points(path: Path, figures: dict[str, Any]) -> None:
    """Write CSV rows ``system, snr_db, acc, noisy, gsr``, with ``acc_forced`` if every SNR
    has it.
    """
    cells = [cell for system in ("base", "student") for cell in figures[system]["by_snr"].values()]
    names = [
        name
        for name in ("acc", "acc_forced", "noisy", "gsr")
        if all(name in cell for cell in cells)
    ]
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["system", "snr_db", *names])
        for system in ("base", "student"):
            for snr in sorted(figures[system]["by_snr"], key=float):
                cell = figures[system]["by_snr"][snr]
                writer.writerow([system, snr, *(f"{cell[name]:.4f}" for name in names)])


def accuracy_curves(path: Path, figures: dict[str, Any]) -> None:
    """Write a PNG of the accuracy of base and student at each SNR with intervals; the clean
    accuracy is a dashed line in the same colour.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    pyplot.rcParams.update({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False})
    figure, axes = pyplot.subplots(figsize=(7.0, 4.4), dpi=150, layout="constrained")
    for system in ("base", "student"):
        intervals = figures["intervals"][system]
        snrs = sorted(figures[system]["by_snr"], key=float)
        values = [100 * intervals[snr]["value"] for snr in snrs]
        low, high = ([100 * intervals[snr][end] for snr in snrs] for end in ("low", "high"))
        where = [float(snr) for snr in snrs]
        label = "base" if system == "base" else f"student ({figures['method']})"
        axes.fill_between(where, low, high, color=COLOURS[system], alpha=0.15, linewidth=0)
        axes.plot(
            where,
            values,
            color=COLOURS[system],
            marker=MARKERS[system],
            markersize=5,
            linewidth=2,
            label=label,
        )
        axes.axhline(
            100 * figures[system]["clean_acc"], color=COLOURS[system], linestyle="--", linewidth=1
        )
    confidence = f"{100 * figures['confidence']:.0f} %"
    axes.set_xlabel("SNR (dB), by full-clip mean power")
    axes.set_ylabel("accuracy (%)")
    axes.set_xticks(where)
    axes.set_ylim(0, 102)
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    bands = f"bands: {confidence} over {units_text(figures)}"
    axes.set_title(
        f"Accuracy under noise, {counted(figures['clips'], 'test clip')}; {bands}; dashed: clean",
        fontsize=10,
    )
    axes.legend(frameon=False, loc="lower right")
    with atomic_path(path) as temporary:
        # the file has no software version, so that the same figures give the same bytes
        figure.savefig(temporary, format="png", metadata={"Software": None})
    pyplot.close(figure)

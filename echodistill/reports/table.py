"""Print the table at the end of a run."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.text import Text

from echodistill.core.counted import counted
from echodistill.reports.console_table import print_table
from echodistill.reports.sentences import (
    decision_lines,
    few_units_warning,
    headline_sentence,
    percent,
    units_text,
    with_interval,
    without_choices,
)

SYSTEMS = ("base", "student")
HEADLINE = (
    ("acc", "Acc"),
    ("acc_forced", "Acc, forced choice"),
    ("acc_forced_norm", "Acc, forced, per token"),
    ("noisy", "Noisy"),
    ("gsr", "GSR"),
    ("unparsed", "no choice named"),
    ("truncated", "cut at the limit"),
)
CLEAN = (
    ("clean_acc_forced", "forced choice, clean"),
    ("clean_acc_forced_norm", "forced, per token, clean"),
    ("clean_unparsed", "no choice named, clean"),
    ("clean_truncated", "cut at the limit, clean"),
)
LOWER_IS_BETTER = ("unparsed", "truncated", "clean_unparsed", "clean_truncated")
REASONS = ", see reports/promotion.json"
FORCED_CHOICE = (
    "Forced choice: the offered text with the highest log-probability, summed or as the mean per"
    " token (length-normalised)."
)
AGREEMENT = (
    "Noisy: agreement with the base's clean answer. GSR: with the model's own; read it with Acc."
)
NOTES = (
    "≤: mean over these SNRs. Unseen: noise kinds that only the test has.",
    FORCED_CHOICE,
    AGREEMENT,
)


def _gain(interval: Mapping[str, float], lower_is_better: bool = False) -> Text:
    rises, falls = interval["low"] > 0, interval["high"] < 0
    better, worse = (falls, rises) if lower_is_better else (rises, falls)
    style = "green" if better else "red" if worse else "dim"
    return Text(
        f"{100 * interval['value']:+.1f} [{100 * interval['low']:+.0f},"
        f" {100 * interval['high']:+.0f}]",
        style,
    )


def result_table(
    figures: Mapping[str, Any], decision: Mapping[str, Any] | None, console: Console
) -> None:
    """Print the figures of base and student on clean audio, at each SNR, over the headline and by
    kind of noise, with intervals.

    ``decision`` is the content of ``reports/promotion.json`` if there is one; a negative decision
    is printed with its reasons.
    """
    over = f"{100 * figures['confidence']:g} % intervals over {units_text(figures)}"
    _print(
        f"Accuracy in %, {counted(figures['clips'], 'test clip')}; in brackets {over}",
        figures,
        _blocks(figures),
        console,
    )
    limit = f"SNR ≤ {figures['headline_max_snr_db']:g} dB"
    _print(f"Accuracy in % by kind of noise, {limit}", figures, _kinds(figures), console)
    console.print(headline_sentence(figures), markup=False)
    for line in (few_units_warning(figures), without_choices(figures["base"])):
        if line:
            console.print(line, markup=False)
    for line in NOTES:
        console.print(line, markup=False)
    if decision is None:
        return
    verdict, *reasons = decision_lines(decision)
    console.print(
        f"Decision: [{'green' if decision['promote'] else 'yellow'}]{verdict}[/]"
        + ("" if decision["promote"] else REASONS)
    )
    for line in [] if decision["promote"] else reasons:
        console.print(line, markup=False)


Row = tuple[str, str, str, Text]


def _print(
    title: str, figures: Mapping[str, Any], blocks: Iterator[list[Row]], console: Console
) -> None:
    heads = ("audio", "base", figures["method"], "difference, paired")
    print_table(
        console,
        title,
        heads,
        [[[*map(Text, row[:3]), row[3]] for row in block] for block in blocks],
    )


def _blocks(figures: Mapping[str, Any]) -> Iterator[list[Row]]:
    """Yield the rows of each block: free answers by SNR, the headline's SNRs, clean audio."""
    own = figures["intervals"]

    def at(name: str, condition: str, gain: Mapping[str, float]) -> Row:
        base, student = (with_interval(own[system][condition]) for system in SYSTEMS)
        return name, base, student, _gain(gain)

    snrs = sorted(figures["difference_by_snr"], key=float, reverse=True)
    yield [
        at("clean", "clean", figures["difference"]["clean_acc"]),
        *(at(f"{snr} dB", snr, figures["difference_by_snr"][snr]) for snr in snrs),
    ]
    limit = f"≤ {figures['headline_max_snr_db']:g} dB"
    for names, where in ((HEADLINE, f" {limit}"), (CLEAN, "")):
        yield [
            _plain(figures, name, f"{label}{where}")
            for name, label in names
            if name in figures["difference"]
        ]


def _plain(figures: Mapping[str, Any], name: str, label: str) -> Row:
    base, student = (percent(figures[system][name]) for system in SYSTEMS)
    return label, base, student, _gain(figures["difference"][name], name in LOWER_IS_BETTER)


def _kinds(figures: Mapping[str, Any]) -> Iterator[list[Row]]:
    """Yield the rows of the kinds that training had, then those of the others; each block begins
    with its mean.
    """
    base, student = (figures[system] for system in SYSTEMS)
    kinds = sorted(base["by_noise"], key=lambda kind: (base["by_noise"][kind]["acc"], kind))
    for part in ("seen", "unseen"):
        if not base[part]:
            continue
        gain = _gain(figures["difference"][f"acc_{part}"])
        rows = [
            (f"all {part} kinds", percent(base[part]["acc"]), percent(student[part]["acc"]), gain)
        ]
        for kind in kinds:
            if (kind in figures["unseen_kinds"]) == (part == "unseen"):
                before, after = (
                    percent(system["by_noise"][kind]["acc"]) for system in (base, student)
                )
                rows.append(
                    (f"  {kind}", before, after, _gain(figures["difference_by_noise"][kind]))
                )
        yield rows

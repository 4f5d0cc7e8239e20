"""The closing table of a run."""

from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _with_interval(interval: dict[str, float]) -> str:
    return f"{_percent(interval['value'])} [{100 * interval['low']:.0f}, {100 * interval['high']:.0f}]"


def _gain(interval: dict[str, float]) -> str:
    style = "green" if interval["low"] > 0 else "red" if interval["high"] < 0 else "dim"
    return f"[{style}]{100 * interval['value']:+.1f} \\[{100 * interval['low']:+.0f}, {100 * interval['high']:+.0f}][/{style}]"


def result_table(figures: dict[str, Any], promoted: bool | None, console: Console) -> None:
    """Print base and student on clean audio, at each SNR and over the headline, with intervals."""
    base, student, difference = figures["base"], figures["student"], figures["difference"]
    confidence = f"{100 * figures['confidence']:.0f} %"
    title = f"Accuracy in %, {figures['clips']} test clips; in brackets {confidence} intervals by clip"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    table.add_column("audio", no_wrap=True)
    for heading in ("base", figures["method"], "difference, paired"):
        table.add_column(heading, justify="right", no_wrap=True)
    own = figures["intervals"]
    table.add_row("clean", *(_escape(_with_interval(own[s]["clean"])) for s in ("base", "student")), _gain(difference["clean_acc"]))
    for snr in sorted(base["by_snr"], key=float, reverse=True):
        cells = (_escape(_with_interval(own[system][snr])) for system in ("base", "student"))
        table.add_row(f"{snr} dB", *cells, _gain(figures["difference_by_snr"][snr]))
    table.add_section()
    limit = f"≤ {figures['headline_max_snr_db']:g} dB"
    for name, says in (("acc", "Acc"), ("noisy", "Noisy"), ("gsr", "GSR")):
        table.add_row(f"{says} {limit}", _percent(base[name]), _percent(student[name]), _gain(difference[name]))
    for part in ("seen", "unseen"):
        if base[part]:
            gain = 100 * (student[part]["acc"] - base[part]["acc"])
            accuracies = (_percent(system[part]["acc"]) for system in (base, student))
            table.add_row(f"Acc {part} {limit}", *accuracies, f"{gain:+.1f}")
    failures = (_percent(system["parse_failure_rate"]) for system in (base, student))
    table.add_row("not parsed", *failures, "")
    console.print(table)
    console.print("≤: mean over these SNRs. Seen, unseen: noise kinds heard in training or not.")
    console.print("Noisy: agreement with the base's clean answer. GSR: with the model's own; read it with Acc.")
    if promoted is not None:
        console.print(
            "Decision: " + ("[green]promote[/green]" if promoted else "[yellow]do not promote[/yellow], see reports/promotion.json")
        )


def _escape(text: str) -> str:
    return text.replace("[", "\\[")

"""The closing table of a run."""

from typing import Any

from rich.console import Console
from rich.table import Table


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _with_interval(interval: dict[str, float]) -> str:
    return f"{_percent(interval['value'])} [{_percent(interval['low'])}, {_percent(interval['high'])}]"


def _gain(interval: dict[str, float]) -> str:
    style = "green" if interval["low"] > 0 else "red" if interval["high"] < 0 else "dim"
    return f"[{style}]{100 * interval['value']:+.1f} \\[{100 * interval['low']:+.1f}, {100 * interval['high']:+.1f}][/{style}]"


def result_table(figures: dict[str, Any], promoted: bool | None) -> None:
    """Print base and student on clean audio, at each SNR and over the headline, with intervals."""
    base, student, difference = figures["base"], figures["student"], figures["difference"]
    confidence = f"{100 * figures['confidence']:.0f} %"
    table = Table(title=f"Accuracy in %, [interval {confidence}], {figures['clips']} test clips", title_justify="left")
    table.add_column("audio")
    for heading in ("base", f"student ({figures['method']})", "paired difference"):
        table.add_column(heading, justify="right")
    own = figures["intervals"]
    table.add_row("clean", *(_escape(_with_interval(own[s]["clean"])) for s in ("base", "student")), _gain(difference["clean_acc"]))
    for snr in sorted(base["by_snr"], key=float, reverse=True):
        cells = (_escape(_with_interval(own[system][snr])) for system in ("base", "student"))
        table.add_row(f"{snr} dB", *cells, _gain(figures["difference_by_snr"][snr]))
    table.add_section()
    limit = f"SNR ≤ {figures['headline_max_snr_db']:g} dB"
    for name, says in (("acc", "Acc"), ("noisy", "Noisy"), ("gsr", "GSR")):
        table.add_row(f"{says}, {limit}", _percent(base[name]), _percent(student[name]), _gain(difference[name]))
    for part in ("seen", "unseen"):
        if base[part]:
            gain = 100 * (student[part]["acc"] - base[part]["acc"])
            accuracies = (_percent(system[part]["acc"]) for system in (base, student))
            table.add_row(f"Acc, {part} noises, {limit}", *accuracies, f"{gain:+.1f}")
    failures = (_percent(system["parse_failure_rate"]) for system in (base, student))
    table.add_row("answers not parsed", *failures, "")
    console = Console()
    console.print(table)
    console.print("Noisy: agreement with the base's clean answer. GSR: agreement with the model's own clean answer; read it with Acc.")
    if promoted is not None:
        console.print(
            "Decision: " + ("[green]promote[/green]" if promoted else "[yellow]do not promote[/yellow], see reports/promotion.json")
        )


def _escape(text: str) -> str:
    return text.replace("[", "\\[")

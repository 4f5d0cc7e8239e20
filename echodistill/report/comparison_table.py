"""The table of a comparison: every system with its intervals and what it gains, in the terminal and in Markdown."""

from collections.abc import Iterator
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from echodistill.systems import BASE

COLUMNS = (("clean_acc", "clean"), ("acc", "Acc"), ("noisy", "Noisy"), ("gsr", "GSR"))
BUDGET_CAPTION = "What training took, mean over seeds"
BUDGET_HEADS = ("system", "steps", "prompts", "tokens sampled", "tokens given")
AUTHORS = (("clean_acc_authors", "clean, authors'"), ("acc_authors", "Acc, authors'"))
"""Only where the test's source has a scoring rule of its own."""
LEGEND = (
    "g: Cohen's g, the share of differing answers that are won, less a half.",
    "p: McNemar's test on Acc, clip by clip, with Holm's correction over the table.",
    "text: the student without audio. constant: always the first choice; its GSR shows why GSR is read with Acc.",
    "Tokens sampled: by the student in training. Given: of the teacher's references, or of gold answers, that it learned from.",
)


def columns(table: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    """Figures that the table has, with their headings."""
    first = next(iter(table["systems"].values()))
    return (*COLUMNS, *(column for column in AUTHORS if column[0] in first))


def legend(table: dict[str, Any]) -> tuple[str, ...]:
    """What stands below the table."""
    if "scoring" not in table:
        return LEGEND
    source, rule = table["scoring"]["source"], table["scoring"]["rule"]
    says = f"authors': right by the rule of {source}'s authors ({rule}), to our prompt: no figure of a leaderboard."
    return (*LEGEND, says)


def _own(interval: dict[str, Any]) -> str:
    value = f"{100 * interval['value']:.1f}"
    return value if interval["seeds"] == 1 and interval["low"] == interval["high"] else f"{value} {_range(interval)}"


def _range(interval: dict[str, Any]) -> str:
    return f"[{100 * interval['low']:.0f}, {100 * interval['high']:.0f}]"


def _gain(interval: dict[str, Any]) -> str:
    return f"{100 * interval['value']:+.1f} [{100 * interval['low']:+.1f}, {100 * interval['high']:+.1f}]"


def _p(test: dict[str, Any]) -> str:
    return "<.001" if test["p_holm"] < 0.001 else f"{test['p_holm']:.3f}".removeprefix("0")


def system_rows(table: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """One row a system: name, seeds, its figures, its gain in Acc over the base, effect size, corrected p."""
    for name, figures in table["systems"].items():
        cells = [name, str(figures["acc"]["seeds"]), *(_own(figures[metric]) for metric, _ in columns(table))]
        found = table["differences"].get(f"{name} - {BASE}")
        last = (_gain(found["acc"]), f"{found['test']['cohens_g']:+.2f}", _p(found["test"])) if found else ("", "", "")
        yield (*cells, *last)


def difference_rows(table: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """One row a difference between systems that are both trained: its figures with intervals, effect size, corrected p."""
    for name, found in table["differences"].items():
        if not name.endswith(f" - {BASE}"):
            yield (
                name,
                *(_gain(found[metric]) for metric, _ in columns(table)),
                f"{found['test']['cohens_g']:+.2f}",
                _p(found["test"]),
            )


def headings(table: dict[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Of the systems and of the differences."""
    limit = f"≤ {table['headline_max_snr_db']:g} dB"
    metrics = [heading if metric.startswith("clean") else f"{heading} {limit}" for metric, heading in columns(table)]
    return ("system", "seeds", *metrics, "Acc - base", "g", "p"), ("difference", *metrics, "g", "p")


def denoised_caption(part: dict[str, Any]) -> str:
    """What the denoisers' table is over, and why its base is not that of the first table."""
    answers = next(iter(part["systems"].values()))["acc"]["n"]
    return f"Denoise first, on {answers:,} of the noisy answers (two kinds of noise a clip and level), student of the first seed: "


def budget_rows(table: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """One row a trained system: what its training took."""
    for name, budget in table["budget"].items():
        yield (name, *(f"{budget[key]:,.0f}" for key in ("steps", "prompts", "sampled_tokens", "target_tokens")))


def print_comparison(table: dict[str, Any], console: Console) -> None:
    """All tables of ``reports/compare.json``."""
    parts = [("", table)] + ([(denoised_caption(table["denoised"]), table["denoised"])] if "denoised" in table else [])
    for says, part in parts:
        of_systems, of_differences = headings(part)
        confidence = f"{100 * part['confidence']:g} %"
        title = f"{says}accuracy and agreement in %, {part['clips']} test clips; {confidence} intervals over clips and seeds"
        _print(console, title, of_systems, list(system_rows(part)))
        if rows := list(difference_rows(part)):
            _print(console, f"{says}differences, paired", of_differences, rows)
    _print(console, BUDGET_CAPTION, BUDGET_HEADS, list(budget_rows(table)))
    for line in legend(table):
        console.print(line)


def _print(console: Console, title: str, heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    shown = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    for index, heading in enumerate(heads):
        shown.add_column(heading, justify="left" if index == 0 else "right", overflow="fold")
    for row in rows:
        shown.add_row(*(cell.replace("[", "\\[") for cell in row))
    console.print(shown)


def markdown(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A table for README and model cards."""
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads), *("| " + " | ".join(row) + " |" for row in rows)]
    return "\n".join(lines) + "\n"

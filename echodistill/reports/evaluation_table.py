"""Make the tables of an evaluation without training: the base, and a student if there is one, by
level and kind of noise.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from echodistill.core.counted import counted
from echodistill.reports.compare_table import Cells, TextTable, print_text_table
from echodistill.reports.sentences import few_units_warning, points, units_text, with_interval
from echodistill.reports.table import AGREEMENT, FORCED_CHOICE, HEADLINE
from echodistill.reports.table import CLEAN as OF_CLEAN
from echodistill.systems import BASE, STUDENT

NOISY = (HEADLINE[0], ("acc_authors", "Acc, authors' rule"), *HEADLINE[1:])
"""Figures over the headline's SNRs, as far as they exist, with their labels."""
CLEAN = (("clean_acc_authors", "authors' rule, clean"), *OF_CLEAN)
Figures = Mapping[str, Any]


def evaluation_tables(table: Figures) -> list[TextTable]:
    """Return the tables: accuracy by level of noise, the other figures, and accuracy by kind of
    noise.
    """
    base = table["systems"][BASE]
    limit = f"≤ {table['headline_max_snr_db']:g} dB"
    snrs = sorted(
        (name.partition("@")[2] for name in base if name.startswith("acc@")),
        key=float,
        reverse=True,
    )
    kinds = sorted(
        (name for name in base if name.startswith("acc/")),
        key=lambda name: (base[name]["value"], name),
    )
    over = f"{100 * table['confidence']:g} % intervals over {units_text(table)}"
    parts = (
        (
            f"Accuracy in %, {counted(table['clips'], 'test clip')}; {over}",
            [("clean_acc", "clean"), *((f"acc@{snr}", f"{snr} dB") for snr in snrs)],
        ),
        ("Other figures in %", [*((name, f"{label} {limit}") for name, label in NOISY), *CLEAN]),
        (
            f"Accuracy in % by kind of noise, SNR {limit}",
            [(name, name.partition("/")[2]) for name in kinds],
        ),
    )
    heads = (
        "audio",
        "base",
        *([_student(table), "difference, paired"] if STUDENT in table["systems"] else []),
    )
    return [
        TextTable(title, heads, [_row(table, *figure) for figure in wanted if figure[0] in base])
        for title, wanted in parts
    ]


def _student(table: Figures) -> str:
    return f"student ({table['method']})"


def _row(table: Figures, name: str, label: str) -> Cells:
    cells = [
        with_interval(table["systems"][system][name])
        for system in (BASE, STUDENT)
        if system in table["systems"]
    ]
    gain = table["differences"].get(f"{STUDENT} - {BASE}")
    return (label, *cells, *([points(gain[name])] if gain else []))


def evaluation_headline(table: Figures) -> str:
    """Return the result in one short sentence."""
    clean, noisy = (
        f"{100 * table['systems'][BASE][name]['value']:.1f} %" for name in ("clean_acc", "acc")
    )
    return (
        f"On {table['source']} the base answers {clean} right, and {noisy} in noise of"
        f" {table['headline_max_snr_db']:g} dB and louder."
    )


def evaluation_sentence(table: Figures) -> str:
    """Return one sentence on how well the base answers with and without noise, and what a student
    changes.
    """
    base = table["systems"][BASE]
    limit = f"{table['headline_max_snr_db']:g} dB"
    sentence = (
        f"On {table['source']} the base answers {with_interval(base['clean_acc'])} % right on"
        f" clean clips and {with_interval(base['acc'])} % in noise of {limit} and louder"
        " (guessing gives"
        f" {100 * table['chance']:.1f} %)"
    )
    if not (gain := table["differences"].get(f"{STUDENT} - {BASE}")):
        return f"{sentence}."
    return (
        f"{sentence}; the student differs from it by {points(gain['clean_acc'])} and"
        f" {points(gain['acc'])} points."
    )


def evaluation_legend(table: Figures) -> Sequence[str]:
    """Return the lines of explanation below the tables."""
    lines = [
        AGREEMENT,
        FORCED_CHOICE,
        "No choice named: free answers that name none or several; they count as wrong.",
    ]
    if "acc/crowd" in table["systems"][BASE] and table["crowd_of"] == "test":
        lines.append(
            "Crowd: babble of other groups' test clips, or recordings of one, since there are no"
            " training clips to make it of."
        )
    if "scoring" in table:
        source, rule = table["scoring"]["source"], table["scoring"]["rule"]
        lines.append(
            f"Authors' rule: right by the rule of {source}'s authors ({rule}), to our prompt: no"
            " figure of a leaderboard."
        )
    return lines


def print_evaluation(table: Figures, console: Console) -> None:
    """Print all tables of ``reports/evaluation.json``."""
    for shown in evaluation_tables(table):
        print_text_table(console, shown)
    for line in (evaluation_sentence(table), few_units_warning(table), *evaluation_legend(table)):
        if line:
            console.print(line, markup=False)

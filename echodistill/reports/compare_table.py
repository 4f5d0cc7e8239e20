"""Make the tables of a comparison: every system with its intervals and its gain, for the terminal
and in Markdown.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.text import Text

from echodistill.core.counted import counted
from echodistill.reports.console_table import print_table
from echodistill.reports.sentences import (
    few_units_warning,
    percent,
    points,
    units_text,
    with_interval,
)
from echodistill.systems import BASE, ECHODISTILL

COLUMNS = (
    ("clean_acc", "clean"),
    ("acc", "Acc"),
    ("acc_forced", "forced"),
    ("noisy", "Noisy"),
    ("gsr", "GSR"),
)
AUTHORS = (("clean_acc_authors", "clean, authors'"), ("acc_authors", "Acc, authors'"))
"""Columns that exist only if the test's source has a scoring rule of its own."""
FORMAT = (
    ("clean_acc_forced", "forced, clean"),
    ("acc_forced", "forced"),
    ("clean_acc_forced_norm", "per token, clean"),
    ("acc_forced_norm", "per token"),
    ("clean_unparsed", "no choice, clean"),
    ("unparsed", "no choice"),
    ("truncated", "cut off"),
)
"""Columns of forced choice, and of free answers that could not be used."""
BUDGET_CAPTION = "What training took, mean over seeds"
BUDGET_HEADS = ("system", "steps", "prompts", "tokens sampled", "tokens given")
NOTES = (
    (
        "Forced: right by the offered text with the highest log-probability, summed or as the mean"
        " per token (length-normalised)."
    ),
    (
        "No choice: free answers that name none or several; they count as wrong. Cut off: at the"
        " length limit."
    ),
    "s.d.: of Acc, or of the difference in Acc, over training seeds, in points.",
    "g: Cohen's g, the share of differing answers that are won, less a half.",
    (
        "p: of the difference in Acc over units and seeds, from the interval's own statistic, with"
        " Holm's correction over the table."
    ),
    (
        "text: the student without audio. constant: always the first choice; its GSR shows why GSR"
        " is read with Acc."
    ),
    (
        "Tokens sampled: by the student in training. Given: of the teacher's references, or of gold"
        " answers, that it learned from."
    ),
)

Figures = Mapping[str, Any]
Cells = tuple[str, ...]


@dataclass(frozen=True)
class TextTable:
    """A table with the texts that are shown."""

    caption: str
    heads: Cells
    rows: Sequence[Cells]


def columns(table: Figures) -> tuple[tuple[str, str], ...]:
    """Return the existing figures of the first table with their headings."""
    return _existing(table, (*COLUMNS, *AUTHORS))


def _existing(table: Figures, wanted: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    first = next(iter(table["systems"].values()))
    return tuple(column for column in wanted if column[0] in first)


def legend(table: Figures) -> tuple[str, ...]:
    """Return the lines of explanation below the tables."""
    base = next(iter(table["systems"].values()))
    rows, offered = base["acc"]["n"], base.get("acc_forced", {"n": 0})["n"]
    lines = (
        NOTES
        if rows == offered
        else (
            *NOTES,
            f"Forced: over the {offered:,} of {rows:,} rows whose questions have choices.",
        )
    )
    if "scoring" not in table:
        return lines
    source, rule = table["scoring"]["source"], table["scoring"]["rule"]
    description = (
        f"authors': right by the rule of {source}'s authors ({rule}), to our prompt: no figure of a"
        " leaderboard."
    )
    return (*lines, description)


def over(table: Figures) -> str:
    """Return the text on the intervals, as in ``95 % intervals over 16 groups and 3 seeds``."""
    seeds = max(figures["acc"]["seeds"] for figures in table["systems"].values())
    trainings = f"{seeds} seeds" if seeds > 1 else "one seed"
    return f"{100 * table['confidence']:g} % intervals over {units_text(table)} and {trainings}"


def _figure(interval: Figures) -> str:
    is_exact = interval["seeds"] == 1 and interval["low"] == interval["high"]
    return percent(interval["value"]) if is_exact else with_interval(interval)


def _p(test: Figures) -> str:
    return "<.001" if test["p_holm"] < 0.001 else f"{test['p_holm']:.3f}".removeprefix("0")


def _deviation(interval: Figures) -> str:
    return "" if interval["seed_sd"] is None else f"{100 * interval['seed_sd']:.1f}"


def system_rows(table: Figures) -> Iterator[Cells]:
    """Yield one row for each system: name, seeds, its figures with the seeds' s.d. of Acc, its gain
    over the base, effect size, corrected p-value.
    """
    for name, figures in table["systems"].items():
        cells = [name, str(figures["acc"]["seeds"])]
        for metric, _ in columns(table):
            cells += [
                _figure(figures[metric]),
                *([_deviation(figures[metric])] if metric == "acc" else []),
            ]
        found = table["differences"].get(f"{name} - {BASE}")
        last = (
            (points(found["acc"]), f"{found['test']['cohens_g']:+.2f}", _p(found["test"]))
            if found
            else ("", "", "")
        )
        yield (*cells, *last)


def difference_rows(table: Figures) -> Iterator[Cells]:
    """Yield one row for each difference that is not with the base: its figures with intervals,
    effect size, corrected p-value.
    """
    for name, found in table["differences"].items():
        if name.endswith(f" - {BASE}"):
            continue
        cells = [name]
        for metric, _ in columns(table):
            cells += [
                points(found[metric]),
                *([_deviation(found[metric])] if metric == "acc" else []),
            ]
        yield (*cells, f"{found['test']['cohens_g']:+.2f}", _p(found["test"]))


def headings(table: Figures) -> tuple[Cells, Cells]:
    """Return the headings of the systems and of the differences."""
    metrics: list[str] = []
    for metric, heading in columns(table):
        metrics += [_heading(metric, heading, table), *(["s.d."] if metric == "acc" else [])]
    return ("system", "seeds", *metrics, "Acc - base", "g", "p"), ("difference", *metrics, "g", "p")


def _heading(metric: str, heading: str, table: Figures) -> str:
    return (
        heading
        if metric.startswith("clean")
        else f"{heading} ≤ {table['headline_max_snr_db']:g} dB"
    )


def _format_table(description: str, table: Figures) -> TextTable:
    """Return the table of every system's forced choices and unusable answers, with the gain over
    the base by forced choice.
    """
    wanted = _existing(table, FORMAT)
    forced = "acc_forced" in dict(wanted)
    heads = ["system", *(heading for _, heading in wanted), *(["forced - base"] if forced else [])]
    rows = []
    for name, figures in table["systems"].items():
        found = table["differences"].get(f"{name} - {BASE}")
        gain = [points(found["acc_forced"]) if found else ""] if forced else []
        rows.append((name, *(_figure(figures[metric]) for metric, _ in wanted), *gain))
    limit = f"{table['headline_max_snr_db']:g} dB"
    caption = (
        f"{description}forced choice, and free answers that could not be used, in % at SNR ≤"
        f" {limit} and on clean audio; {over(table)}"
    )
    return TextTable(_capital(caption), tuple(heads), rows)


def kinds_table(table: Figures) -> TextTable | None:
    """Return the table of our gain over the base by kind of noise, the hardest kinds for the base
    first; ``None`` if the table lacks the gain or the unseen kinds.
    """
    gain = table["differences"].get(f"{ECHODISTILL} - {BASE}")
    if gain is None or "unseen_kinds" not in table:
        return None
    base, student = (table["systems"][name] for name in (BASE, ECHODISTILL))
    unseen = table["unseen_kinds"]
    names = sorted(
        (name for name in base if name.startswith("acc/")),
        key=lambda name: (base[name]["value"], name),
    )
    kinds = [(name, name.partition("/")[2]) for name in names]
    rows = [
        (
            kind,
            "no" if kind in unseen else "yes",
            _figure(base[name]),
            _figure(student[name]),
            points(gain[name]),
        )
        for name, kind in kinds
    ]
    limit = f"SNR ≤ {table['headline_max_snr_db']:g} dB"
    return TextTable(
        f"Accuracy in % by kind of noise, {limit}",
        ("noise", "in training", BASE, ECHODISTILL, "difference, paired"),
        rows,
    )


def rotation_table(table: Figures) -> TextTable | None:
    """Return the table of the cost of not training with a kind of noise, by kind; ``None`` without
    a rotation.
    """
    if "rotation" not in table:
        return None
    rotation = table["rotation"]
    measured = [
        (metric, name)
        for metric, name in (("acc", "free"), ("acc_forced", "forced"))
        if metric in rotation
    ]
    heads = [
        "noise",
        *(
            f"{name}: {part}"
            for _, name in measured
            for part in ("base", "trained with", "held out", "difference")
        ),
    ]
    rows = []
    for kind in rotation["acc"]:
        cells = [kind]
        for metric, _ in measured:
            found = rotation[metric][kind]
            cells += [
                f"{100 * found['base']['value']:.1f}",
                *(points(found[part]) for part in ("trained", "held_out", "difference")),
            ]
        rows.append(tuple(cells))
    folds = "; ".join(", ".join(kinds) for kinds in rotation["held_out"] if kinds)
    caption = (
        f"Gain over the base in points by kind of noise, SNR ≤ {table['headline_max_snr_db']:g} dB:"
        f" EchoDistill trained with the kind, and with it held out ({folds}), first seed"
    )
    return TextTable(caption, tuple(heads), rows)


def denoised_caption(part: Figures) -> str:
    """Return the caption of the denoisers' table, with the rows that it is over, since its base
    differs from that of the first table.
    """
    answers = next(iter(part["systems"].values()))["acc"]["n"]
    return (
        f"Denoise first, on {answers:,} of the noisy answers (two kinds of noise a clip and level),"
        " student of the first seed: "
    )


def budget_rows(table: Figures) -> Iterator[Cells]:
    """Yield one row for each trained system with the cost of its training."""
    for name, budget in table["budget"].items():
        yield (
            name,
            *(
                f"{budget[key]:,.0f}"
                for key in ("steps", "prompts", "sampled_tokens", "target_tokens")
            ),
        )


def tables(table: Figures) -> list[TextTable]:
    """Return the tables of all systems, and those of denoisers if there are any."""
    found = []
    parts = [
        ("", table),
        *(
            [(denoised_caption(table["denoised"]), table["denoised"])]
            if "denoised" in table
            else []
        ),
    ]
    for description, part in parts:
        of_systems, of_differences = headings(part)
        caption = (
            f"{description}accuracy and agreement in %, {counted(part['clips'], 'test clip')};"
            f" {over(part)}"
        )
        found.append(TextTable(_capital(caption), of_systems, list(system_rows(part))))
        if rows := list(difference_rows(part)):
            found.append(
                TextTable(
                    _capital(
                        f"{description}differences in points, paired row by row; {over(part)}"
                    ),
                    of_differences,
                    rows,
                )
            )
        found.append(_format_table(description, part))
    return found


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def print_comparison(table: Figures, console: Console) -> None:
    """Print all tables of ``reports/compare.json``."""
    of_kinds = kinds_table(table)
    rotation = rotation_table(table)
    budget = TextTable(BUDGET_CAPTION, BUDGET_HEADS, list(budget_rows(table)))
    for shown in (*tables(table), of_kinds, rotation, budget):
        if shown:
            print_text_table(console, shown)
    if warning := few_units_warning(table):
        console.print(warning, markup=False)
    for line in legend(table):
        console.print(line, markup=False)


def print_text_table(console: Console, table: TextTable) -> None:
    """Print one table; its first column has names, the others have figures."""
    print_table(console, table.caption, table.heads, [[[*map(Text, row)] for row in table.rows]])


def markdown(heads: Cells, rows: Sequence[Cells]) -> str:
    """Return a Markdown table for the README and model cards."""
    lines = [
        "| " + " | ".join(heads) + " |",
        "|" + "---|" * len(heads),
        *("| " + " | ".join(row) + " |" for row in rows),
    ]
    return "\n".join(lines) + "\n"

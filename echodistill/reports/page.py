"""Render the report as one self-contained HTML page: figures, curves, and audio examples that
training fixed or broke.
"""

import math
import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from echodistill.audio.levels import Waveform
from echodistill.audio.stored import encode_flac
from echodistill.core.counted import counted
from echodistill.core.records import Quarantined
from echodistill.evaluation.given_answers import is_right
from echodistill.models.prompts import LETTERS
from echodistill.params.methods import METHODS
from echodistill.reports.audio_examples import Example
from echodistill.reports.charts import Series, bars, heat_map, line_chart
from echodistill.reports.compare_table import (
    BUDGET_CAPTION,
    BUDGET_HEADS,
    TextTable,
    budget_rows,
    kinds_table,
    legend,
    over,
    rotation_table,
    tables,
)
from echodistill.reports.sentences import few_units_warning, headline_sentence, percent
from echodistill.reports.spectrogram import png, spectrogram
from echodistill.systems import BASE, ECHODISTILL

HERE = Path(__file__).parent
SHOWN_FAILURES = 40
PERCENT = (0.0, 100.0)
PLOTTED = (BASE, ECHODISTILL, *(name for name in METHODS if name != ECHODISTILL))
OWN_COLECHODISTILL, COLECHODISTILL = 5, 8
"""The first of ``PLOTTED`` have a colour of their own; ``page.css`` has so many in all."""
CURVES = {
    "acc": ("Accuracy", "right answers (%)"),
    "acc_forced": ("Accuracy by forced choice", "right choices (%)"),
    "noisy": ("Agreement with the base's clean answer", "agreement (%)"),
    "gsr": ("Agreement with its own clean answer (GSR)", "agreement (%)"),
}
TRAINING = {
    "reward": "Mean reward of the samples",
    "kl": "Divergence from the clean teacher",
    "loss": "Loss",
}


@dataclass(frozen=True)
class AudioExample:
    """An example with its clean and noisy audio."""

    example: Example
    clean: Waveform
    noisy: Waveform


@dataclass(frozen=True)
class Failure:
    """An answer that names no choice, or several."""

    system: str
    seed: str
    """Seed of the training; empty for a system that was not trained."""
    mix_id: str
    question: str
    response: str


@dataclass(frozen=True, kw_only=True)
class ReportPage:
    """The content that all report pages have in common."""

    table: Mapping[str, Any]
    """Content of ``reports/compare.json`` or ``reports/evaluation.json``."""
    domains: Sequence[tuple[str, float, float, float]]
    """Kinds of question, each with the accuracy of one system on it and the ends of its interval,
    in %.
    """
    failures: Sequence[Failure]
    answer_count: int
    """Number of answers among which the failures are."""
    quarantined: Sequence[Quarantined]
    facts: Sequence[tuple[str, str]]
    """Facts on how the report was made, as names and values."""

    def values(self) -> dict[str, Any]:
        """Return the values that the templates of all pages have in common."""
        failures = failure_rows(self.failures)
        return {
            "style": style(),
            "warning": few_units_warning(self.table),
            "domains": Markup(bars(self.domains, "%")) if self.domains else "",
            "failures": failures,
            "shown_failures": failures[:SHOWN_FAILURES],
            "answer_count": self.answer_count,
            "quarantined": [(one.row, one.reason) for one in self.quarantined],
            "facts": self.facts,
        }


@dataclass(frozen=True, kw_only=True)
class Page(ReportPage):
    """The content of a comparison's page."""

    audio_examples: Sequence[AudioExample]
    training: Mapping[str, Sequence[Mapping[str, float]]]
    """Training metrics of each system, one entry for each step."""


def render(page: Page) -> str:
    """Return the whole HTML document; text from data is escaped."""
    return template("page.html").render(
        page.values(),
        highlighted=ECHODISTILL,
        headline=headline(page.table),
        lead=lead(page.table),
        tables=tables(page.table),
        kinds=kinds_table(page.table),
        rotation=rotation_table(page.table),
        over=over(page.table),
        legend=" ".join(legend(page.table)),
        curves=curves(page.table, PLOTTED),
        budget=TextTable(BUDGET_CAPTION, BUDGET_HEADS, list(budget_rows(page.table))),
        generalisation=_severities(page.table["generalisation"]),
        distortions=_severities(page.table["distortions"]),
        heat=Markup(_heat(page.table["cells"])),
        audio_examples=[_example(one) for one in page.audio_examples],
        training=_training(page.training),
    )


def template(name: str) -> Template:
    """Return a page's template, which escapes text from data."""
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["ranged"] = _ranged
    return environment.get_template(name)


def style() -> Markup:
    """Return the style sheet of all pages."""
    return Markup((HERE / "page.css").read_text(encoding="utf-8"))


def failure_rows(failures: Sequence[Failure]) -> list[tuple[str, str, str, str]]:
    """Return the answers that name no choice, as rows of a table."""
    return [
        (f"{one.system} {one.seed}".strip(), one.mix_id, one.question, one.response or "(nothing)")
        for one in failures
    ]


def headline(table: Mapping[str, Any]) -> str:
    """Return the result in one short sentence; if an interval contains 0 the sentence states that
    there is no distinguishable difference.
    """
    gain = table["differences"][f"{ECHODISTILL} - {BASE}"]
    where = f"In noise of {table['headline_max_snr_db']:g} dB and louder, EchoDistill"
    change, equal = (
        _change(gain["acc"]),
        f"does not differ significantly from its base ({_points(gain['acc'])})",
    )
    free = f"answers {change} questions right than its base" if change else equal
    if "acc_forced" not in gain:
        return f"{where} {free}."
    points_forced = _points(gain["acc_forced"])
    forced = _change(gain["acc_forced"]) or f"there is no significant difference ({points_forced})"
    return f"{where} {free}; by forced choice among the offered texts {forced}."


def _change(gain: Mapping[str, float]) -> str | None:
    """Return ``7.4 points more`` or ``7.4 points fewer``; ``None`` if the interval contains 0."""
    if gain["low"] <= 0 <= gain["high"]:
        return None
    return f"{100 * abs(gain['value']):.1f} points {'more' if gain['low'] > 0 else 'fewer'}"


def _points(gain: Mapping[str, float]) -> str:
    return f"{100 * gain['value']:+.1f} points"


def sentence(table: Mapping[str, Any]) -> str:
    """Return ``headline_sentence`` of a comparison's table."""
    base, student = (
        {name: found["value"] for name, found in table["systems"][system].items()}
        for system in (BASE, ECHODISTILL)
    )
    limit = table["headline_max_snr_db"]
    gain = table["differences"][f"{ECHODISTILL} - {BASE}"]
    return headline_sentence(
        {"base": base, "student": student, "difference": gain, "headline_max_snr_db": limit}
    )


def lead(table: Mapping[str, Any]) -> str:
    """Return the text behind the headline: both gains with their intervals, the figures on clean
    audio, and the number of trainings.
    """
    base, student = (table["systems"][name] for name in (BASE, ECHODISTILL))
    clean = table["differences"][f"{ECHODISTILL} - {BASE}"]["clean_acc"]
    seeds = student["acc"]["seeds"]
    trainings = (
        f"Mean of {seeds} trainings"
        if seeds > 1
        else "One training (how much another seed would differ is not known)"
    )
    return (
        f"{sentence(table)} On clean clips {percent(base['clean_acc']['value'])} and"
        f" {percent(student['clean_acc']['value'])} % ({100 * clean['value']:+.1f} points,"
        f" {100 * clean['low']:+.1f} to {100 * clean['high']:+.1f}). {trainings};"
        f" {base['acc']['n']:,} noisy questions about {counted(table['clips'], 'clip')};"
        f" {over(table)}."
    )


def _ranged(cell: str) -> tuple[str, str]:
    """Return a figure's value and its interval with brackets, which is empty if there is none.
    Other text with brackets, such as a name, is not split.
    """
    figure = re.fullmatch(r"([+-]?[0-9.]+) (\[[^]]*\])", cell)
    return (figure[1], figure[2]) if figure else (cell, "")


def curves(table: Mapping[str, Any], systems: Sequence[str]) -> list[dict[str, Any]]:
    """Return one chart by SNR for each figure, with those of ``systems`` that the table has."""
    snrs = sorted(
        float(key.split("@")[1]) for key in table["systems"][BASE] if key.startswith("acc@")
    )
    found = []
    for metric, (title, label) in CURVES.items():
        if f"{metric}@{snrs[0]:g}" not in table["systems"][BASE]:
            continue
        # the base's agreement with the base's clean answer equals that with its own
        names = [
            name
            for name in systems
            if name in table["systems"] and (metric, name) != ("noisy", BASE)
        ]
        if not names:
            continue
        series = [_series(table["systems"][name], name, metric, snrs) for name in names]
        ends = "; ".join(f"{one.name} {one.value[0]:.0f} to {one.value[-1]:.0f}" for one in series)
        description = f"{title} against SNR, from {snrs[0]:g} to {snrs[-1]:g} dB: {ends}"
        found.append(
            {
                "title": title,
                "svg": Markup(
                    line_chart(description, "SNR (dB)", label, series, snrs, y_range=PERCENT)
                ),
            }
        )
    return found


def _series(figures: Mapping[str, Any], name: str, metric: str, snrs: Sequence[float]) -> Series:
    found = [figures[f"{metric}@{snr:g}"] for snr in snrs]
    value, low, high = ([100 * one[end] for one in found] for end in ("value", "low", "high"))
    return Series(name, snrs, value, low, high, _colour(name))


def _colour(name: str) -> int:
    """Return the number of a system's colour, which is the same everywhere on the page; later
    methods, controls and ablations share the remaining colours.
    """
    if name in PLOTTED[:OWN_COLECHODISTILL]:
        return PLOTTED.index(name)
    return OWN_COLECHODISTILL + sum(name.encode()) % (COLECHODISTILL - OWN_COLECHODISTILL)


def _heat(cells: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    base, student = cells[BASE], cells[ECHODISTILL]
    snrs = sorted(next(iter(base.values())), key=float)
    rows = [
        (kind, [100 * (student[kind][snr] - base[kind][snr]) for snr in snrs])
        for kind in sorted(base)
    ]
    return heat_map(
        "noise",
        [f"{snr} dB" for snr in snrs],
        rows,
        max(abs(value) for _, values in rows for value in values),
    )


def _severities(table: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return one chart for each kind of severity, with equal steps, since the kinds share no scale.
    If training had some of the levels, all others are starred.
    """
    found = []
    for kind in table.values():
        conditions = kind["conditions"]
        steps = list(range(1, len(conditions) + 1))
        series = []
        for part, name in (("base", BASE), ("student", ECHODISTILL)):
            value, low, high = (
                [100 * one[part][end] for one in conditions] for end in ("value", "low", "high")
            )
            series.append(Series(name, steps, value, low, high, _colour(name)))
        some = any(one["trained"] for one in conditions)
        severities = [
            f"{one['severity']:g}" + ("*" if some and not one["trained"] else "")
            for one in conditions
        ]
        description = (
            f"Accuracy under {kind['display'].lower()} of {', '.join(severities)} {kind['unit']}"
        )
        svg = line_chart(
            description, kind["unit"], "right answers (%)", series, steps, severities, PERCENT
        )
        found.append({"title": kind["display"], "svg": Markup(svg)})
    return found


def _example(audio: AudioExample) -> dict[str, Any]:
    one, question = audio.example, audio.example.question
    parts = (("clean", audio.clean), ("noisy", audio.noisy))
    return {
        "outcome": one.outcome,
        "noise": f"{one.noise_kind} at {one.snr_db:g} dB",
        "recordings": [
            {
                "name": name,
                "picture": _base64(png(spectrogram(wave))),
                "sound": _base64(encode_flac(wave)),
            }
            for name, wave in parts
        ],
        "question": question.question,
        "choices": ", ".join(
            f"{letter}. {choice}" for letter, choice in zip(LETTERS, question.choices, strict=False)
        ),
        "answer": question.answer,
        "responses": [
            (
                name,
                response,
                "right" if is_right(response, question) else "wrong",
            )
            for name, response in (
                ("base", one.base),
                ("EchoDistill", one.student),
                ("teacher, clean", one.clean),
            )
        ],
    }


def _base64(content: bytes) -> str:
    return b64encode(content).decode()


def _training(training: Mapping[str, Sequence[Mapping[str, float]]]) -> list[dict[str, Any]]:
    found = []
    for metric, title in TRAINING.items():
        series = []
        for name, rows in training.items():
            if points := [
                (row["step"], row[metric])
                for row in rows
                if math.isfinite(row.get(metric, math.nan))
            ]:
                steps, values = zip(*points, strict=True)
                series.append(Series(name, steps, values, colour=_colour(name)))
        if series:
            found.append(
                {
                    "title": title,
                    "svg": Markup(
                        line_chart(f"{title} by training step", "step", title.lower(), series)
                    ),
                }
            )
    return found

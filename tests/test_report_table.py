"""Tests of the closing table and of the sentences that reports share."""

import io
import re
from collections import Counter
from typing import Any

import pytest
from rich.console import Console

from echodistill.evaluation.base_and_student import compare_systems
from echodistill.reports.compare_table import print_comparison
from echodistill.reports.sentences import (
    few_units_warning,
    headline_sentence,
    points,
    units_text,
    without_choices,
)
from echodistill.reports.table import result_table
from tests.made_up_page import made_up_page
from tests.test_evidence import SETTINGS, scored


def compared() -> dict[str, Any]:
    """Figures of two made-up systems as the stage writes them; wind is only in the test."""
    return compare_systems(
        "echodistill", scored("base", 0.4), scored("student", 0.7), SETTINGS, ["wind"], 1
    )


PROMOTED = {"promote": True, "criteria": [], "obstacles": [], "remarks": []}


def printed(
    figures: dict[str, Any], width: int = 100, decision: dict[str, Any] | None = PROMOTED
) -> list[str]:
    plain = io.StringIO()
    result_table(figures, decision, Console(file=plain, width=width, no_color=True))
    return plain.getvalue().splitlines()


def row(lines: list[str], name: str) -> list[str]:
    """The cells of the one row that begins with ``name``."""
    (found,) = [line.strip() for line in lines if line.strip().startswith(f"{name} ")]
    return found.removeprefix(name).split()


def test_each_printed_rate_is_of_the_block_it_is_in() -> None:
    figures, base, student = compared(), scored("base", 0.4), scored("student", 0.7)
    lines = printed(figures)
    loud = base.snr_db <= 0
    for label, field in (
        ("no choice named ≤ 0 dB", "unparsed"),
        ("Acc, forced choice ≤ 0 dB", "forced"),
        ("Acc ≤ 0 dB", "right"),
    ):
        shown = [f"{100 * getattr(one.noisy, field)[loud].mean():.1f}" for one in (base, student)]
        assert row(lines, label)[:2] == shown
    of_clean = [f"{100 * one.clean.unparsed.mean():.1f}" for one in (base, student)]
    assert row(lines, "no choice named, clean")[:2] == of_clean
    assert base.noisy.unparsed[loud].mean() != base.noisy.unparsed.mean()


def test_kinds_stand_below_the_mean_of_those_that_training_had_or_had_not() -> None:
    figures = compared()
    lines = printed(figures)
    order = [
        next(n for n, line in enumerate(lines) if name in line)
        for name in ("all seen kinds", "  crowd", "all unseen kinds", "  wind")
    ]
    assert order == sorted(order)
    gain = figures["difference_by_noise"]["wind"]
    assert row(lines, "wind")[2] == f"{100 * gain['value']:+.1f}"
    assert row(lines, "wind")[0] == f"{100 * figures['base']['by_noise']['wind']['acc']:.1f}"


def test_the_table_states_what_its_intervals_are_over_and_warns_of_few() -> None:
    figures = compared()
    assert "95 % intervals over 40 clips" in printed(figures)[0]
    assert not [line for line in printed(figures) if "Warning" in line]
    few = printed(figures | {"units": 6, "unit": "group"})
    assert "95 % intervals over 6 groups" in few[0]
    assert [line for line in few if line.startswith("Warning: the test has only 6 groups")]
    assert few_units_warning({"units": 10, "unit": "group"}) is None
    assert str(few_units_warning({"units": 1, "unit": "group"})).startswith(
        "Warning: the test has one group, so nothing is known"
    )
    assert units_text({"units": 1, "unit": "clip"}) == "1 clip"
    assert headline_sentence(figures) in " ".join(" ".join(printed(figures)).split())


def test_a_negative_decision_is_below_the_table_with_its_reasons() -> None:
    assert printed(compared())[-1] == "Decision: promote"
    assert not any("Decision" in line for line in printed(compared(), decision=None))
    unmet = {"name": "Acc is better", "value": 0.01, "low": -0.02, "high": 0.04, "met": False}
    refused = {
        "promote": False,
        "criteria": [unmet],
        "obstacles": ["one group"],
        "remarks": ["few clips"],
        "next": ["more clips"],
    }
    assert printed(compared(), decision=refused)[-5:] == [
        "Decision: do not promote, see reports/promotion.json",
        "  obstacle: one group",
        "  not met: Acc is better: +1.0 [-2.0, +4.0] points",
        "  note: few clips",
        "  next: more clips",
    ]


def changed(
    acc: tuple[float, float], forced: tuple[float, float] | None, unparsed: tuple[float, float]
) -> dict[str, Any]:
    """Figures of base and student; intervals reach 4 points to either side."""
    systems: list[dict[str, float]] = [{"acc": acc[n], "unparsed": unparsed[n]} for n in (0, 1)]
    pairs = {"acc": acc}
    if forced:
        pairs["acc_forced"] = forced
        systems = [one | {"acc_forced": forced[n]} for n, one in enumerate(systems)]
    gains = {
        name: {"value": b - a, "low": b - a - 0.04, "high": b - a + 0.04}
        for name, (a, b) in pairs.items()
    }
    return {
        "base": systems[0],
        "student": systems[1],
        "difference": gains,
        "headline_max_snr_db": 0.0,
    }


def test_the_headline_states_both_gains_and_what_is_format() -> None:
    assert (
        headline_sentence(changed((0.487, 0.64), (0.63, 0.704), (0.264, 0.081)))
        == "At SNR ≤ 0 dB accuracy rises from 48.7 to 64.0 %: +15.3 [+11.3, +19.3] points in free"
        " answers, and from 63.0 to 70.4 %: +7.4 [+3.4, +11.4] points by forced choice among the"
        " offered texts; the rest is format: free answers that name no choice fall from 26.4 to"
        " 8.1 %."
    )


@pytest.mark.parametrize(
    ("acc", "forced", "unparsed", "there", "absent"),
    [
        (
            (0.5, 0.6),
            (0.6, 0.55),
            (0.3, 0.1),
            ("falls from 60.0 to 55.0 %: -5.0", "the gain is format: free"),
            "the rest",
        ),
        (
            (0.5, 0.4),
            (0.6, 0.7),
            (0.1, 0.3),
            ("falls from 50.0 to 40.0 %", "no choice rise from 10.0 to 30.0"),
            "is format",
        ),
        ((0.5, 0.6), (0.6, 0.8), (0.3, 0.1), ("no choice fall from 30.0 to 10.0 %.",), "is format"),
        ((0.5, 0.6), (0.6, 0.65), (0.1, 0.2), ("no choice rise",), "is format"),
        (
            (0.5, 0.5),
            (0.6, 0.6),
            (0.1, 0.1),
            ("stays at 50.0 %: +0.0", "no choice stay at 10.0 %"),
            "is format",
        ),
        (
            (0.5, 0.6),
            None,
            (0.3, 0.1),
            ("rises from 50.0 to 60.0 %: +10.0 [+6.0, +14.0] points; free answers",),
            "forced",
        ),
    ],
)
def test_the_headline_stays_true_when_signs_differ(
    acc: tuple[float, float],
    forced: tuple[float, float] | None,
    unparsed: tuple[float, float],
    there: tuple[str, ...],
    absent: str,
) -> None:
    message = headline_sentence(changed(acc, forced, unparsed))
    assert all(part in message for part in there), message
    assert absent not in message


def test_how_many_rows_have_choices_is_shown_only_where_some_have_not() -> None:
    assert without_choices({"n": 9, "n_forced": 9}) is None
    assert (
        without_choices({"n": 1200, "n_forced": 40})
        == "Forced choice: over the 40 of 1,200 rows whose questions have choices."
    )
    assert (
        without_choices({"n": 9, "n_forced": 0})
        == "No question has choices, so there is no forced choice."
    )
    assert points({"value": -0.0001, "low": -0.02, "high": 0.02}) == "+0.0 [-2.0, +2.0]"


@pytest.mark.parametrize("width", [20, 25, 30, 40, 50, 60, 70, 80, 100, 136, 250])
def test_a_narrow_terminal_gets_every_digit(width: int) -> None:
    """Check that every figure of the wide table is in the narrow one, whole and in one line; only
    intervals may be left out.
    """
    figures, page = compared(), made_up_page()
    for show in (
        lambda console: result_table(figures, None, console),
        lambda console: print_comparison(dict(page.table), console),
    ):
        wide, narrow = io.StringIO(), io.StringIO()
        show(Console(file=wide, width=400, no_color=True))
        show(Console(file=narrow, width=width, no_color=True))
        number = re.compile(r"(?<![\w.])[+-]?(?:\d+\.\d|\d{2,}|\d,\d{3})(?![\w.])")
        figures_only = [
            line
            for line in re.sub(r"\[.*?\]", "", wide.getvalue()).splitlines()
            if line.startswith(" ")
        ]
        missing = Counter(number.findall("\n".join(figures_only))) - Counter(
            number.findall(narrow.getvalue())
        )
        assert not missing
        assert "…" not in narrow.getvalue()
        assert max(map(len, narrow.getvalue().splitlines())) <= width


def test_a_terminal_of_40_columns_gets_a_note_that_intervals_are_left_out() -> None:
    lines = printed(compared(), 40)
    assert row(lines, "clean") == ["92.5", "92.5", "+0.0"]
    assert "intervals are left out, the terminal is too narrow" in " ".join(" ".join(lines).split())
    assert "left out" not in "".join(printed(compared(), 84))

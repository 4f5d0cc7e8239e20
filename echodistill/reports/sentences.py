"""Write the sentences that the terminal, the page and the card share. Pure text."""

from collections.abc import Mapping
from typing import Any

FEW_UNITS = 10
"""Number of units below which the spread between units is itself uncertain."""


def headline_sentence(figures: Mapping[str, Any]) -> str:
    """Return one sentence on what training changed in free answers, by forced choice and in format.

    ``figures`` has ``base``, ``student``, ``difference`` and ``headline_max_snr_db`` in the form of
    ``reports/metrics.json``.
    """
    base, student, difference = figures["base"], figures["student"], figures["difference"]
    where = f"At SNR ≤ {figures['headline_max_snr_db']:g} dB accuracy"
    free = f"{_moves(base['acc'], student['acc'])}: {points(difference['acc'])} points"
    format_moves = _moves(base["unparsed"], student["unparsed"], plural=True)
    named = f"free answers that name no choice {format_moves}."
    if "acc_forced" not in difference:
        return f"{where} {free}; {named}"
    forced = _moves(base["acc_forced"], student["acc_forced"])
    if forced.split()[0] == free.split()[0]:
        forced = forced.partition(" ")[2]  # the verb is not repeated
    both = (
        f"{where} {free} in free answers, and {forced}: "
        f"{points(difference['acc_forced'])} points by forced choice among the offered texts"
    )
    return f"{both}; {_share_of_format(base, student, difference)}{named}"


def _share_of_format(
    base: Mapping[str, float], student: Mapping[str, float], difference: Mapping[str, Any]
) -> str:
    """Return the words that attribute a gain to the format of answers; empty unless the gains and
    the rates support it.
    """
    free, forced = (difference[name]["value"] for name in ("acc", "acc_forced"))
    if free <= max(0.0, forced) or student["unparsed"] >= base["unparsed"]:
        return ""
    return "the rest is format: " if forced > 0.0 else "the gain is format: "


def _moves(before: float, after: float, plural: bool = False) -> str:
    """Return ``rises from 48.7 to 64.0 %``; the verb follows from the rounded numbers."""
    was, is_now = f"{100 * before:.1f}", f"{100 * after:.1f}"
    if was == is_now:
        return f"{'stay' if plural else 'stays'} at {was} %"
    verb = "rise" if after > before else "fall"
    return f"{verb if plural else f'{verb}s'} from {was} to {is_now} %"


def percent(value: float) -> str:
    """Return a share in percent with one decimal and no percent sign."""
    return f"{100 * value:.1f}"


def with_interval(interval: Mapping[str, float]) -> str:
    """Return a share in percent with its interval: ``47.9 [39, 55]``."""
    low, high = (f"{100 * interval[end]:.0f}" for end in ("low", "high"))
    return f"{percent(interval['value'])} [{low}, {high}]"


def points(interval: Mapping[str, float]) -> str:
    """Return a difference in points with its interval: ``+15.3 [+11.1, +19.4]``."""
    value, low, high = (
        f"{round(100 * interval[end], 1) + 0.0:+.1f}" for end in ("value", "low", "high")
    )
    return f"{value} [{low}, {high}]"


def decision_lines(decision: Mapping[str, Any]) -> list[str]:
    """Return the decision on a promotion as lines: the verdict, the obstacles, the unmet criteria,
    remarks, and what to try.

    ``decision`` is the content of ``reports/promotion.json``.
    """
    remarks = [f"  note: {remark}" for remark in decision.get("remarks", [])]
    if decision["promote"]:
        return ["promote", *remarks]
    return [
        "do not promote",
        *(f"  obstacle: {obstacle}" for obstacle in decision.get("obstacles", [])),
        *(
            f"  not met: {one['name']}: {points(one)} points"
            for one in decision.get("criteria", [])
            if not one["met"]
        ),
        *remarks,
        *(f"  next: {step}" for step in decision.get("next", [])),
    ]


def units_text(figures: Mapping[str, Any]) -> str:
    """Return the number and kind of the units that intervals are over: ``16 groups``, ``120
    clips``.
    """
    count, unit = figures["units"], figures["unit"]
    return f"{count} {unit}" if count == 1 else f"{count} {unit}s"


def few_units_warning(figures: Mapping[str, Any]) -> str | None:
    """Return a warning if the test has too few units for reliable intervals, else ``None``."""
    if figures["units"] >= FEW_UNITS:
        return None
    if figures["units"] == 1:
        return (
            f"Warning: the test has one {figures['unit']}, so nothing is known about others: "
            "intervals are as wide as they can be. Test on more."
        )
    return (
        f"Warning: the test has only {units_text(figures)}; below {FEW_UNITS} "
        "intervals are wide and uncertain themselves. Test on more."
    )


def without_choices(figures: Mapping[str, Any]) -> str | None:
    """Return how many noisy rows forced choice is over, or ``None`` if all questions have choices.

    ``figures`` are a system's, with ``n`` and ``n_forced``.
    """
    rows, offered = figures["n"], figures["n_forced"]
    if rows == offered:
        return None
    if not offered:
        return "No question has choices, so there is no forced choice."
    return f"Forced choice: over the {offered:,} of {rows:,} rows whose questions have choices."

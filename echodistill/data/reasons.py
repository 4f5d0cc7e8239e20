"""Group the reasons of quarantined rows into kinds, each with its number of rows and a cure."""

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from echodistill.audio.containers.unusable import CONVERT, KEEP_COUNTED, KEEP_REST
from echodistill.core.records import Quarantined
from echodistill.data.missing import NO_AUDIO
from echodistill.data.repeated import ALSO_IN
from echodistill.models.prompts import LETTERS

Cure = Callable[[Sequence[str]], str]
"""Function that returns the cure for rows with the given reasons."""
LENGTH = re.compile(r"([\d.]+) s is (?:longer|shorter) than the allowed ([\d.]+) s")
SLIGHT_EXCESS = 0.1
"""The cure for clips that exceed the limit by at most this share also offers to cut them."""
ROUNDED_S = 0.05
"""Largest difference in seconds between a length and its text form with one decimal."""
EXAMPLE_ROW = (
    '{"id": "a1", "audio_path": "a1.wav", "question": "What is heard?", "choices": ["rain", "a'
    ' crowd"], "answer": "rain"}'
)
"""A row of a manifest with all fields that a row needs."""
VARYING_PARTS = re.compile(r"`[^`]*`|'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|\[.*\]|\d+(?:\.\d+)?")
"""Parts that differ between reasons of one kind: quoted texts, lists and numbers."""


@dataclass(frozen=True)
class Kind:
    """Quarantined rows whose reasons have the same cure."""

    label: str
    count: int
    cure: str
    examples: tuple[Quarantined, ...]
    """The first rows, in the order of the source."""

    @property
    def line(self) -> str:
        """Return the number of rows, the label and the cure as one line."""
        return f"{self.count} {self.label}" + (f": {self.cure}" if self.cure else "")


def _lengths(reasons: Sequence[str]) -> tuple[list[float], float]:
    """Return the lengths of the clips and the allowed length, in seconds."""
    found = [match for reason in reasons if (match := LENGTH.match(reason))]
    return [float(match[1]) for match in found], float(found[0][2])


def _allow_longer(reasons: Sequence[str]) -> str:
    written, allowed = _lengths(reasons)
    lengths = [length + ROUNDED_S for length in written]
    cure = f"corpus.max_duration_s={math.floor(max(lengths)) + 1}"
    if slight := [length for length in lengths if length <= allowed * (1 + SLIGHT_EXCESS)]:
        those = "them" if len(slight) == len(lengths) else f"{len(slight)} of them"
        cure += (
            f", or corpus.trim_excess_s={math.ceil(10 * (max(slight) - allowed)) / 10:g} to cut"
            f" {those}"
        )
    return cure


def _allow_shorter(reasons: Sequence[str]) -> str:
    shortest = math.floor(100 * (min(_lengths(reasons)[0]) - ROUNDED_S / 10)) / 100
    return f"corpus.min_duration_s={shortest:g}" if shortest > 0 else "leave them out"


def _constant(cure: str) -> Cure:
    return lambda _reasons: cure


KNOWN: tuple[tuple[re.Pattern[str], str, Cure], ...] = tuple(
    (re.compile(pattern), label, cure)
    for pattern, label, cure in (
        (
            f"{NO_AUDIO}: .* are there",
            "whose recording's name fits several files",
            _constant("write it as the file is called"),
        ),
        (
            NO_AUDIO,
            "without their recording",
            _constant("put it below corpus.path (of a test's own source corpus.test.path)"),
        ),
        (r"[\d.]+ s is longer than the allowed [\d.]+ s", "too long", _allow_longer),
        (r"[\d.]+ s is shorter than the allowed [\d.]+ s", "too short", _allow_shorter),
        ("silent", "silent", _constant("replace the recordings, or leave them out")),
        (
            ALSO_IN,
            "whose recording is also in a split that is judged on",
            _constant("kept there alone, nothing need be done"),
        ),
        (
            "the id is given twice",
            "with the id of an earlier row",
            _constant("give each row an id of its own"),
        ),
        (
            "choice .* is given twice",
            "with a choice that is given twice",
            _constant("write each choice once"),
        ),
        (
            "answer .* is not among the choices",
            "whose answer is no choice",
            _constant("write a choice's text, letter or number"),
        ),
        (
            "the recording is of group",
            "whose recording is of two groups",
            _constant("give it one group"),
        ),
        (
            "group .* is in several splits",
            "of a group in several splits",
            _constant("name one split for all of a group's rows"),
        ),
        (
            "split .* is none of",
            "of no known split",
            _constant("write train, validation, decision or test"),
        ),
        (
            r"\d+ choices?; 2 to",
            "with too few or too many choices",
            _constant(f"write 2 to {len(LETTERS)}"),
        ),
        (
            "audio path .* is outside the folder",
            "whose audio path is outside the folder",
            _constant("put the recording below corpus.path"),
        ),
        (
            "the file is empty",
            "whose recording is an empty file",
            _constant("copy the recording again, or leave the row out"),
        ),
        (
            "no field 'choices'",
            "without choices",
            _constant(
                'write a list, "choices": ["rain", "a crowd"], or columns choice_a, choice_b, ..;'
                f" A, B, ..; or choice_1, choice_2, ..; a whole row: {EXAMPLE_ROW}"
            ),
        ),
        (
            "no field 'answer'",
            "without an answer",
            _constant(f"write a choice's text, letter or number; a whole row: {EXAMPLE_ROW}"),
        ),
        (
            "no field",
            "that lack a field",
            _constant(f"name the column so, and fill it in; a whole row: {EXAMPLE_ROW}"),
        ),
        (
            "field .* is empty|choice .* is (?:empty|null)",
            "with an empty text",
            _constant("fill it in"),
        ),
        ("not valid JSON", "that are no valid JSON", _constant("write one whole object a line")),
    )
)
"""How a reason begins, the label of such rows, and their cure. The first pattern that matches is
used.
"""


def kinds_of(quarantined: Iterable[Quarantined], shown: int) -> list[Kind]:
    """Return the kinds of reasons, the most frequent first, each with its first ``shown`` rows.

    Reasons that ``KNOWN`` does not list form one kind where they differ only in quoted texts, lists
    and numbers.
    """
    rows_of: dict[tuple[str, str], list[Quarantined]] = {}
    cure_of: dict[tuple[str, str], Cure] = {}
    for row in quarantined:
        label, masked, cure = _kind(row.reason)
        rows_of.setdefault((label, masked), []).append(row)
        cure_of.setdefault((label, masked), cure)
    kinds = [
        Kind(key[0], len(rows), cure_of[key]([row.reason for row in rows]), tuple(rows[:shown]))
        for key, rows in rows_of.items()
    ]
    return sorted(kinds, key=lambda kind: -kind.count)


def _kind(reason: str) -> tuple[str, str, Cure]:
    """Return the label of rows with such a reason, a text that further distinguishes their kind,
    and their cure.

    The work of ffmpeg on a recording is the same for all rows of a kind, although the command
    differs for each recording. In other reasons a cure or further detail follows the colon.
    """
    for pattern, label, cure in KNOWN:
        if pattern.match(reason):
            return label, "", cure
    masked = VARYING_PARTS.sub(lambda found: "…" * len(found[0]), reason)
    for by_ffmpeg in (CONVERT, KEEP_REST, KEEP_COUNTED):
        label, cured, _ = masked.partition(f": {by_ffmpeg}")
        if cured:
            return (
                f"({_shortened(label)})",
                "",
                _constant(f"{by_ffmpeg} with ffmpeg, the list has the command for each"),
            )
    label, colon, _ = masked.partition(": ")
    return f"({_shortened(label)})", _shortened(masked), _constant(reason[len(label + colon) :])


def _shortened(masked: str) -> str:
    return re.sub("…+", "…", masked)

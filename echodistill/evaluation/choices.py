"""The one parser of answers: training rewards and evaluation scores both use it.

A response names a choice by its letter ("B", "(b)", "Answer: B."), by its text, or both. Anything that names no choice, or more
than one, is a parse failure; a failure is counted, never dropped.
"""

import re
import unicodedata
from collections.abc import Sequence

from echodistill.models.prompts import LETTERS

_LEAD = r"(?:(?:the\s+)?(?:correct\s+|final\s+|right\s+)?(?:answer|choice|option)(?:\s+is)?\s*[:=]?\s*)?"
_LETTER = re.compile(rf"^{_LEAD}[\(\[]?([a-z])[\)\].:,]?(?:\s|$)", re.IGNORECASE)
_BARE_LETTER = re.compile(rf"^{_LEAD}[\(\[]?([a-z])[\)\].:,]*$", re.IGNORECASE)
_LEAD_ONLY = re.compile(rf"^{_LEAD}", re.IGNORECASE)


def normalise(text: str) -> str:
    """Lower case, compatibility form, one space between words, no quotes around, no full stop behind."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(folded.split()).strip(" \t\"'`“”‘’*.。!,;:")


def parse_choice(response: str, choices: Sequence[str]) -> int | None:
    """Index of the choice that ``response`` names, or ``None``."""
    wanted = [normalise(choice) for choice in choices]
    text = normalise(response)
    if not text:
        return None
    if text in wanted:
        return wanted.index(text)
    said = normalise(_LEAD_ONLY.sub("", text))
    if said in wanted:
        return wanted.index(said)
    if match := _BARE_LETTER.match(text):
        return _letter_index(match.group(1), len(choices))
    # "B. red dog": the letter counts where the text behind it does not name another choice
    named = _choices_named(text, wanted)
    if match := _LETTER.match(text):
        index = _letter_index(match.group(1), len(choices))
        rest = text[match.end() :]
        if index is not None and (match.group(0).rstrip()[-1] in ").:,]" or said != text):
            return index if _choices_named(rest, wanted) in ([], [index]) else None
    return named[0] if len(named) == 1 else None


def _letter_index(letter: str, count: int) -> int | None:
    index = LETTERS.index(letter.upper())
    return index if index < count else None


def _choices_named(text: str, wanted: Sequence[str]) -> list[int]:
    """Choices that stand in ``text`` as whole words; one inside a longer one that also stands there does not count."""
    spans = []
    for index, choice in enumerate(wanted):
        if choice and (found := re.search(rf"(?<!\w){re.escape(choice)}(?!\w)", text)):
            spans.append((index, found.start(), found.end()))
    return [
        index
        for index, start, end in spans
        if not any(other != index and s <= start and end <= e and e - s > end - start for other, s, e in spans)
    ]


def reward(response: str, choices: Sequence[str], answer_index: int) -> float:
    """Task reward: right choice +1, another choice -1, nothing parsed 0. Source: arXiv 2605.23954 [code]."""
    parsed = parse_choice(response, choices)
    return 0.0 if parsed is None else 1.0 if parsed == answer_index else -1.0

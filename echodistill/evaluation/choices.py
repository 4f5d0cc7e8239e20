"""The one parser of answers: training rewards and evaluation scores both use it.

A response names a choice by its letter ("B", "(b)", "Answer: B."), by its text, or by both. The parser collects every choice a
response names; exactly one is an answer. None, several, a denied one ("not B") or a letter that contradicts the text are parse
failures: a wrong guess is worse than a failure, which is counted and never dropped.
"""

import re
import unicodedata
from collections.abc import Sequence

from echodistill.models.prompts import LETTERS

_MARKUP = re.compile(r"[*`\"“”„«»]|(?<!\w)'|'(?!\w)")
# where a response declares its answer; texts that stand before are musings
_DECLARATIONS = (
    re.compile(r"\b(?:answer|choice|option)(?: to (?:the|this) question)?(?: (?:is|would be|must be)\b:?| ?[:=]| [-–—] )\.? ?", re.I),
    re.compile(r"\b(?:it is|it's|i(?:'d| would)? (?:choose|pick|select|say|go with)) ", re.I),
)
# a letter that labels a choice: first, in brackets or after "option"; § stands for a choice's text. Neither an article ("A §") nor
# a key ("C major") is one.
_LABEL = re.compile(
    r"(?:^|[(\[{>] ?|\b(?i:answer|option|choice|letter)[ :(]+)([A-Za-z])"
    r"(?= ?(?:$|[)\]}<.,:;!?。、])| [-–—(]|(?<!I) (?:is|was|because|since|as)\b|(?<=[B-HJ-Z]) §)"
)
_LONE_CAPITAL = re.compile(r"(?<![^ (\[{>])([B-HJ-Z]|(?<=[^.!?:] )A)(?=$|[ )\]}<.,:;!?])")
_NEGATION = re.compile(r"\b(?:not|no|never|neither|nor|none|cannot|without|except|unlike|instead|rather)\b|n't\b", re.I)
_DOUBT = re.compile(r"\b(?:or|either|wrong|incorrect|unsure|unclear|idea|clue)\b|\?$", re.I)
_PRONOUN = re.compile(r"\b(?:this|that|which|first|second|third|last|other) one\b", re.I)


def normalise(text: str) -> str:
    """Compatibility form without markup and quotes, one space between words, a line's end as a full stop, bare at both ends."""
    plain = _MARKUP.sub("", unicodedata.normalize("NFKC", text).replace("‘", "'").replace("’", "'"))
    lines = ". ".join(line.strip() for line in plain.splitlines() if line.strip())
    return " ".join(lines.split()).lstrip("([{ ").rstrip(")]} .。!,;:")


def parse_choice(response: str, choices: Sequence[str]) -> int | None:
    """Index of the one choice that ``response`` names, or ``None``."""
    wanted = [normalise(choice) for choice in choices]
    text = normalise(response)
    if whole := _named_by_whole(text, wanted):
        return _only(whole, len(choices))
    musings, said = _declared(text)
    texts, rest = _named_in_text(said, wanted)
    # "I don't think the answer is B": what denies the answer may stand before it in the sentence
    context = re.split(r"[.!?;] ", musings)[-1] + rest
    denied = _NEGATION.search(context) and not any(_NEGATION.search(wanted[index]) for index in texts)
    if denied or _DOUBT.search(context) or _PRONOUN.search(said):
        return None
    labels = _letters(_LABEL.findall(musings))
    if whole := _named_by_whole(normalise(said), wanted):
        return _only(whole | labels, len(choices))
    named = labels | texts | _letters(_LABEL.findall(rest))
    # a capital in passing names nothing by itself ("vitamin C"), but it may contradict ("B and C")
    return None if _letters(_LONE_CAPITAL.findall(rest)) - named else _only(named, len(choices))


def _letters(found: Sequence[str]) -> set[int]:
    return {LETTERS.index(letter.upper()) for letter in found}


def _only(named: set[int], count: int) -> int | None:
    return next(iter(named)) if len(named) == 1 and max(named) < count else None


def _named_by_whole(text: str, wanted: Sequence[str]) -> set[int]:
    """Choices that the whole ``text`` names, as text or as letter: two where a choice's text is another one's letter."""
    named = {index for index, choice in enumerate(wanted) if choice and choice.casefold() == text.casefold()}
    return named | {index for index, letter in zip(range(len(wanted)), LETTERS, strict=False) if letter == text.upper()}


def _declared(text: str) -> tuple[str, str]:
    """What stands before the declaration of the answer, and what follows it; without one, nothing and all."""
    for declaration in _DECLARATIONS:
        if (match := declaration.search(text)) and text[match.end() :]:
            return text[: match.start()], text[match.end() :]
    return "", text


def _named_in_text(text: str, wanted: Sequence[str]) -> tuple[set[int], str]:
    """Choices that stand in ``text`` as whole words, and ``text`` with § in their places.

    A choice inside a longer one ("red" in "red dog") does not count there. Numbers and single letters are too common in a
    sentence to name a choice.
    """
    spans = []
    for index, choice in enumerate(wanted):
        if re.search(r"[^\W\d]{2}", choice):
            found = re.finditer(rf"(?<![\w'-]){re.escape(choice)}(?![\w'-])", text, re.I)
            spans += [(match.start(), match.end(), index) for match in found]
    kept = [(s, e, i) for s, e, i in spans if not any(s2 <= s and e <= e2 and e2 - s2 > e - s for s2, e2, _ in spans)]
    for start, end in sorted({(start, end) for start, end, _ in kept}, reverse=True):
        text = f"{text[:start]}§{text[end:]}"
    return {index for _, _, index in kept}, text


def reward(response: str, choices: Sequence[str], answer_index: int) -> float:
    """Task reward: right choice +1, another choice -1, nothing parsed 0. Source: arXiv 2605.23954 [code]."""
    parsed = parse_choice(response, choices)
    return 0.0 if parsed is None else 1.0 if parsed == answer_index else -1.0

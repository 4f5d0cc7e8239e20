"""The one parser of answers: training rewards and evaluation scores both use it.

A response names a choice by its letter ("B", "(b)", "Answer: B."), by its text, or by both. The parser collects every choice a
response names; exactly one is an answer. None, several, a denied one ("not B") or a letter that contradicts the text are parse
failures: a wrong guess is worse than a failure, which is counted and never dropped. Set against another ("B, not A") a choice is named.

Answers in other languages are read where they declare themselves as these do: "答案是B", "la respuesta es (b)", "B。".
"""

import re
import unicodedata
from collections.abc import Sequence

from echodistill.models.prompts import LETTERS

_THOUGHTS = re.compile(r"<think(?:ing)?>.*?</think(?:ing)?>", re.I | re.S)
_FINAL = re.compile(r"<answer>(.*?)</answer>|\\boxed\{(?:\\text\{)?([^{}]*)\}", re.I | re.S)
_MARKUP = re.compile(r"[*`\"“”„‟«»‹›「」『』《》〈〉¿¡]|(?<!\w)'|'(?!\w)")
_PUNCTUATION = str.maketrans(
    {"‘": "'", "’": "'", "【": "[", "】": "]", "〔": "(", "〕": ")", "、": ", ", "،": ", ", "؛": "; ", "؟": "?"}
)
_FULL_STOP = re.compile("[。।۔]")
# where a response declares its answer; texts that stand before are musings
_DECLARATIONS = (
    re.compile(r"\b(?:answer|choice|option)(?: to (?:the|this) question)?(?: (?:is|would be|must be)\b:?| ?[:=]| [-–—] )\.? ?", re.I),
    re.compile(
        r"\b(?:respuesta|réponse|antwort|risposta|resposta|ответ)(?: \w+)?(?: (?:es|est|ist|lautet|è|é)\b:?| ?[:=]| [-–—] ) ?", re.I
    ),
    re.compile(r"(?:答案|正确选项|應該選|应该选|我选择?|答え|正解|回答)(?:应该|應該)?(?:是|为|為|は|選|选)?:? ?"),
    re.compile(r"\b(?:it is|it's|i(?:'d| would)? (?:choose|pick|select|say|go with)) ", re.I),
)
# what stands for a choice's text in a response: one private character a choice
_FIRST_MARK = 0xE000
_MARK = "[\ue000-\uf8ff]"
# a letter that labels a choice: first, in brackets or after "option". Neither an article ("A dog") nor a key ("C major") is one.
_LABEL = re.compile(
    r"(?:^|[(\[{>] ?|\b(?i:answer|option|choice|letter)[ :(]+)([A-Za-z])"
    rf"(?= ?(?:$|[)\]}}<.,:;!?]|选项|です|だ)| [-–—(]|(?<!I) (?:is|was|because|since|as)\b|(?<=[B-HJ-Z]) {_MARK})"
)
_LONE_CAPITAL = re.compile(r"(?<![^ (\[{>])([B-HJ-Z]|(?<=[^.!?:] )A)(?=$|[ )\]}<.,:;!?])")
_NEGATION = re.compile(
    r"\b(?:not|no|never|neither|nor|none|cannot|without|except|unlike|instead|rather|nicht|keine?|pas|não|не)\b|n't\b|不|ではな|じゃな",
    re.I,
)
# one choice set against another: "not the cat but the dog", "B, not A or C"
_NAMED = rf"(?:(?:the|a|an|option|choice) )*[(\[]?(?:[A-Z]\b|{_MARK})[)\]]?(?:[.:]? {_MARK})?"
_SEVERAL = rf"{_NAMED}(?:(?:,| or| nor| and|, or|, and) {_NAMED})*"
_SET_AGAINST = re.compile(
    rf"\bnot {_SEVERAL},? but (?!also\b|not\b)|(?:(?:,|,? and|,? but) not|,? rather than|,? instead of) {_SEVERAL}(?=$|[.,;!])"
)
_DOUBT = re.compile(r"\b(?:or|either|wrong|incorrect|unsure|unclear|idea|clue)\b|\?$", re.I)
_UNSPACED = re.compile("[\u3040-\u30ff\u3400-\u9fff]")  # Chinese, Japanese
_PRONOUN = re.compile(r"\b(?:this|that|which|first|second|third|last|other) one\b", re.I)


def normalise(text: str) -> str:
    """Compatibility form without markup, quotes and invisible characters; one space between words, bare at both ends.

    A line's end is a full stop, and so are those of other scripts.
    """
    visible = "".join(character for character in unicodedata.normalize("NFKC", text) if not _is_invisible(character))
    plain = _MARKUP.sub("", _FULL_STOP.sub(". ", visible.translate(_PUNCTUATION)))
    lines = ". ".join(line.strip() for line in plain.splitlines() if line.strip())
    return " ".join(lines.split()).lstrip("([{ ").rstrip(")]} .!,;:")


def _is_invisible(character: str) -> bool:
    """Marks of direction, joiners and soft hyphens; and private characters, which mark choices here."""
    return unicodedata.category(character) in ("Cf", "Co")


def parse_choice(response: str, choices: Sequence[str]) -> int | None:
    """Index of the one choice that ``response`` names, or ``None``."""
    response = _THOUGHTS.sub("", response)
    if finals := {tagged or boxed for tagged, boxed in _FINAL.findall(response)}:
        found = {_parse(final, choices) for final in finals}
        return found.pop() if len(found) == 1 else None
    return _parse(response, choices)


def _parse(response: str, choices: Sequence[str]) -> int | None:
    wanted = [normalise(choice) for choice in choices]
    text = normalise(response)
    if whole := _named_by_whole(text, wanted):
        return _only(whole, len(choices))
    musings, said = _declared(text)
    rest = _SET_AGAINST.sub(" ", _with_marks(said, wanted)).strip()
    texts = {ord(mark) - _FIRST_MARK for mark in re.findall(_MARK, rest)}
    # "I don't think the answer is B": what denies the answer may stand before it in the sentence
    context = re.split(r"[.!?;] ", musings)[-1] + rest
    denied = _NEGATION.search(context) and not any(_NEGATION.search(wanted[index]) for index in texts)
    if denied or _DOUBT.search(context) or _PRONOUN.search(said):
        return None
    labels = _letters(_LABEL.findall(f"{musings}_"))  # "A resposta é B": a letter right before the declaration is an article
    if whole := _named_by_whole(normalise(said), wanted) or _named_by_whole(rest.rstrip(" .,;!"), wanted):
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


def _with_marks(text: str, wanted: Sequence[str]) -> str:
    """``text`` with each choice that stands there as whole words replaced by its mark.

    A choice inside a longer one ("red" in "red dog") does not count there. Numbers and single letters are too common in a
    sentence to name a choice. Scripts without blanks have no whole words: there a choice counts wherever it stands.
    """
    spans = []
    for index, choice in enumerate(wanted):
        if _UNSPACED.search(choice):
            spans += [(match.start(), match.end(), index) for match in re.finditer(re.escape(choice), text, re.I)]
        elif re.search(r"[^\W\d]{2}", choice):
            found = re.finditer(rf"(?<![\w'-]){re.escape(choice)}(?![\w'-])", text, re.I)
            spans += [(match.start(), match.end(), index) for match in found]
    kept = [(s, e, i) for s, e, i in spans if not any(s2 <= s and e <= e2 and e2 - s2 > e - s for s2, e2, _ in spans)]
    # choices of one wording share a place and stand there side by side
    for start, end in sorted({(start, end) for start, end, _ in kept}, reverse=True):
        marks = "".join(chr(_FIRST_MARK + index) for s, e, index in kept if (s, e) == (start, end))
        text = f"{text[:start]}{marks}{text[end:]}"
    return text


def is_right(response: str, choices: Sequence[str], answer_index: int) -> bool:
    """Whether ``response`` names the right choice and no other."""
    return parse_choice(response, choices) == answer_index


def reward(response: str, choices: Sequence[str], answer_index: int) -> float:
    """Task reward: right choice +1, another choice -1, nothing parsed 0. Source: arXiv 2605.23954 [code]."""
    parsed = parse_choice(response, choices)
    return 0.0 if parsed is None else 1.0 if parsed == answer_index else -1.0

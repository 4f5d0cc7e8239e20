"""Parse which choice a response names; training rewards and evaluation scores both use this parser.

A response names a choice by its letter ("B", "(b)", "Answer: B."), by its text, or by both. It is
split into clauses, and each clause affirms the choices that it names or denies them ("A is wrong",
"there is no cat", "B, not A"). If exactly one choice is affirmed and no clause denies it, it is the
answer. If no choice or several are affirmed, if the choice is doubted, or if a letter contradicts
the text, the response is a parse failure: a wrong guess is worse than a failure, which is counted
and never dropped.

Answers in other languages are parsed where they declare the answer in such a form too: "答案是B",
"la respuesta es (b)", "B。".
"""

from collections.abc import Sequence
from functools import lru_cache

import regex

from echodistill.evaluation.answer_patterns import (
    CLAUSES,
    CLOSING_OFFER,
    COMPLEMENT_WORDS,
    CONTRAST,
    CORRECTION,
    DECLARATIONS,
    DOUBT,
    FINAL,
    FIRST_MARK,
    LEAD,
    MARK,
    MENTION_WORDS,
    NEGATION,
    NO_DOUBT,
    NOT_ONLY,
    RETRACTION,
    THOUGHTS,
    UNSPACED,
    UNSURE,
    normalise,
)
from echodistill.models.prompts import LETTERS

# a letter labels a choice if it is first, in brackets or behind "option". An article ("A dog") and
# a musical key ("C major") are not labels
_LABEL = regex.compile(
    r"(?:^|[(\[{>] ?|, (?=[A-Z]$)|\b(?:is|be)"
    r" (?=[A-Z]$)|\b(?i:answer|option|opción|choice|letter|вариант|विकल्प)[ :,(]+)([A-Za-z])"
    r"(?= ?(?:$|[)\]}<.,:;!?=|/→]|选项|です|だ|を|が|是|입니다|이다|है)"
    r"| [-–—(]|(?<!I) (?:is|was|would|should|must|it"
    rf" is|probably|ist|est|es|because|since|as)\b|(?<=[B-HJ-Z]) {MARK})"
)
_LONE_CAPITAL = regex.compile(r"(?<![^ (\[{>/&+])([B-HJ-Z]|(?<=[^.!?:] )A)(?=$|[ )\]}<.,:;!?/&+-])")
_LISTED = regex.compile(
    r"(?<![\w'])([A-Za-z])[)\].]?(?: ?[,;/&+)] ?| | (?:and|or|then|plus|to)(?: also)?"
    r" )(?:(?:maybe|also) )?"
    r"[(\[]?([b-hj-zB-HJ-Z]|[aA](?! \S))(?![\w'])"
)
_NUMBER = regex.compile(r"[-+]?\d(?:[\d.,:/]*\d)?%?")
_ORDINAL = regex.compile(
    r"(?:\b(?:option|choice|step|question|number|speaker|clip|track)|#) ?\d+", regex.I
)
_LONG_ENOUGH = regex.compile(r"...|\p{L}\p{M}*\p{L}|\p{Hangul}|" + UNSPACED.pattern)
_ARABIC, _HANGUL = regex.compile(r"\p{Arabic}"), regex.compile(r"\p{Hangul}$")
_PARTICLE = "(?:입니다|이다|이에요|예요|이야|야|이|가|은|는|을|를|의|와|과|랑|도|만|이나|나)?"


def parse_choice(response: str, choices: Sequence[str]) -> int | None:
    """Return the index of the one choice that ``response`` names, or ``None``."""
    for thoughts in THOUGHTS:
        response = thoughts.sub("", response)
    if finals := {tagged or boxed or value for tagged, boxed, value in FINAL.findall(response)}:
        found = {_parse(final, tuple(choices)) for final in finals if final.strip()}
        return found.pop() if len(found) == 1 else None
    return _parse(response, tuple(choices))


@lru_cache(maxsize=65_536)  # Models give the same short answer to many mixes of a question.
def _parse(response: str, choices: tuple[str, ...]) -> int | None:
    wanted = [normalise(choice) for choice in choices]
    text = normalise(response)
    if whole := _named_by_whole(text, wanted):
        return _only(whole, len(choices))
    spaced = [index for index, choice in enumerate(wanted) if not UNSPACED.search(choice)]
    for pattern in (CLOSING_OFFER, NO_DOUBT, NOT_ONLY):
        text = pattern.sub("", text)
    reasoning, stated = _declared(_with_marks(_without_restated(text, wanted), wanted, spaced))
    stated = _with_marks(
        stated, wanted, [index for index in range(len(wanted)) if index not in spaced]
    )
    affirmed, denied, passing = _named_before(reasoning, wanted), set[int](), set[int]()
    for against in CONTRAST.finditer(stated):
        denied |= _named(against[0], wanted)[0]
    clauses = [
        clause
        for part in CLAUSES.split(CONTRAST.sub(" ", stated))
        for clause in _lead_apart(part or "")
    ]
    # in "I don't think the answer is B" the negation precedes the declaration
    before = regex.split(r"[.!?;,] |\b(?:so|but)\b", reasoning)[-1]
    for number, clause in enumerate(clauses):
        named, capitals = _named(clause, wanted)
        start = "" if number else before
        if (
            UNSURE.search(clause)
            or RETRACTION.search(clause)
            or clause.endswith("?")
            or (affirmed and CORRECTION.search(clause))
        ):
            return None
        if NEGATION.search(f"{start} {clause}"):
            denied |= named | capitals
        elif DOUBT.search(clause):
            return None
        elif not MENTION_WORDS.search(f"{start} {clause}"):
            affirmed |= named
            passing |= capitals
    return (
        None if affirmed & denied or passing - affirmed - denied else _only(affirmed, len(choices))
    )


def _named(clause: str, wanted: Sequence[str]) -> tuple[set[int], set[int]]:
    """Return the choices that a clause names, affirmed or not, and the lone capital letters in it.

    A number that is none of the choices, beside one that is, adds -1 to the choices. A lone capital
    names no choice by itself ("vitamin C") but may contradict one ("B and C").
    """
    bare = clause.strip(" .,;:!()[]{}")
    while lead := LEAD.match(bare):
        bare = bare[lead.end() :]
    if whole := _named_by_whole(bare, wanted):
        return whole, set()
    listed = [letter for pair in _LISTED.findall(bare, overlapped=True) for letter in pair]
    letters = [letter.upper() for letter in _LABEL.findall(bare) + listed]
    named = (
        {ord(mark) - FIRST_MARK for mark in regex.findall(MARK, clause)}
        | _numbers(clause, wanted)
        | _letters(letters)
    )
    named |= {index for index, choice in enumerate(wanted) if choice.upper() in letters}
    return named, _letters(_LONE_CAPITAL.findall(clause))


def _letters(found: Sequence[str]) -> set[int]:
    return {LETTERS.index(letter.upper()) for letter in found}


def _numbers(clause: str, wanted: Sequence[str]) -> set[int]:
    """Return the numeric choices in the clause, and also -1 if other numbers are beside them or if
    the numbers count different things; nothing if no number is a choice.
    """
    choices = {choice: index for index, choice in enumerate(wanted) if _NUMBER.fullmatch(choice)}
    if not choices:
        return set()
    counted = regex.findall(rf"({_NUMBER.pattern}) ?([^\W\d]*)", _ORDINAL.sub(" ", clause))
    found = {choices.get(number, -1) for number, _ in counted}
    several = len({what for _, what in counted if what}) > 1  # as in "1 dog and 1 cat"
    return set() if found == {-1} else found | {-1} if several else found


def _only(named: set[int], count: int) -> int | None:
    return next(iter(named)) if len(named) == 1 and max(named) < count else None


def _named_by_whole(text: str, wanted: Sequence[str]) -> set[int]:
    """Return the choices that the whole ``text`` equals, as text or as letter; there are two if the
    text of one choice is the letter of another.
    """
    if regex.fullmatch(MARK, text):
        return {ord(text) - FIRST_MARK}
    named = {
        index
        for index, choice in enumerate(wanted)
        if choice and choice.casefold() == text.casefold()
    }
    return named | {
        index
        for index, letter in zip(range(len(wanted)), LETTERS, strict=False)
        if letter == text.upper()
    }


def _without_restated(text: str, wanted: Sequence[str]) -> str:
    """Return ``text`` without a list of all choices in their order, which repeats the question."""
    if not all(choice.casefold() in text.casefold() for choice in wanted):
        return text
    listed = [
        rf"(?:[(\[]?{letter}[)\].:]* ?)?{regex.escape(choice)}"
        for letter, choice in zip(LETTERS, wanted, strict=False)
    ]
    return regex.sub(
        rf"(?<!\w){'[ .,;|/]*(?:(?:and|or) )?'.join(listed)}(?!\w)[.,;]* ?", "", text, flags=regex.I
    )


def _declared(text: str) -> tuple[str, str]:
    """Return the text before the declaration of the answer and the text after it; without a
    declaration, an empty text and all of ``text``.
    """
    for declaration in DECLARATIONS:
        if (match := declaration.search(text)) and text[match.end() :]:
            return text[: match.start()], declaration.sub(_new_clause, text[match.end() :])
    return "", text


def _new_clause(again: regex.Match[str]) -> str:
    return str(again[0]) if COMPLEMENT_WORDS.search(again.string[: again.start()]) else ". "


def _named_before(reasoning: str, wanted: Sequence[str]) -> set[int]:
    """Return the choices that are a whole clause in the text before the declaration. The last
    clause is left out because the declaration continues it.
    """
    clauses = regex.split(r"(?<=[.!?;,]) ", reasoning)[:-1] + regex.findall(
        rf"^{MARK}(?=, ?$)", reasoning
    )
    return {
        index
        for clause in clauses
        if clause[-1:] != "?"
        for index in _named_by_whole(clause.rstrip(".!;,"), wanted)
    }


def _lead_apart(clause: str) -> list[str]:
    """Return a letter or choice before the first comma as a clause of its own ("B, not sure"), and
    the rest.
    """
    lead = regex.match(rf"((?:{MARK}|[(\[]?[A-Za-z][)\]]?)), (?!not\b [A-Z])", clause)
    return [lead[1], clause[lead.end() :]] if lead else [clause]


def _with_marks(text: str, wanted: Sequence[str], which: Sequence[int]) -> str:
    """Return ``text`` with each choice of ``which`` that occurs in it as whole words replaced by
    its mark.

    A choice inside a longer one ("red" in "red dog") is not replaced. Single letters are too common
    in a sentence to name a choice, and ``_numbers`` finds numbers. In scripts without spaces
    between words a choice is replaced wherever it occurs.
    """
    of: dict[str, list[int]] = {}
    for index in which:
        if _LONG_ENOUGH.search(wanted[index]) and not _NUMBER.fullmatch(wanted[index]):
            of.setdefault(wanted[index].casefold(), []).append(index)
    if not of:
        return text
    alternatives = sorted(of, key=len, reverse=True)

    def marks(found: regex.Match[str]) -> str:
        # choices with the same wording are all marked, side by side
        return "".join(
            chr(FIRST_MARK + index) for index in of[alternatives[int(str(found.lastgroup)[1:])]]
        )

    return regex.sub(
        "|".join(
            f"(?P<c{number}>{_whole_word(choice)})" for number, choice in enumerate(alternatives)
        ),
        marks,
        text,
        flags=regex.I,
    )


def _whole_word(choice: str) -> str:
    """Return a pattern that matches the choice where it is not part of a longer word or number."""
    if UNSPACED.search(choice):
        return regex.escape(choice)
    before, after = r"(?<![\w'-])(?<!\d[.,:/])", r"(?![\w'-])"
    if choice[0].isdigit():
        before += r"(?<![$€£+])"
    if choice[-1].isdigit():
        after += r"(?![.,:/]\d|%)"
    if choice == "one":
        before += r"(?<!\b(?:this|that|which|first|second|third|last|other) )"
    if _ARABIC.match(choice):
        before += "(?:[وفبكل]?(?:ال)?)?"
    if _HANGUL.search(choice):
        after = _PARTICLE + after
    return before + regex.escape(choice) + after

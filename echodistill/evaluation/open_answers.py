"""Find the answer that a response gives to an open question, one without choices, and compare it
with the right answer.

A response gives its answer in a tag or box, behind the last "Answer:", or else as a whole. Answers
are compared in a normal form, in which "Twenty-three.", "23" and "the 23" are equal.
"""

import unicodedata
from collections import Counter
from functools import lru_cache

import regex

from echodistill.evaluation.answer_patterns import FINAL, THOUGHTS, normalise
from echodistill.models.prompts import ANSWER

_LABEL = regex.compile(r"\b(?:final\s+)?answer(?:\s+is)?\s*[:=]|\banswer\s+is\b", regex.I)
_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"
    " sixteen seventeen eighteen nineteen"
).split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
_SMALL = {word: value for value, word in enumerate(_ONES)} | {
    word: 10 * value for value, word in enumerate(_TENS, start=2)
}
_SCALES = {"hundred": 100, "thousand": 1_000, "million": 1_000_000}
_ARTICLES = {"a", "an", "the"}
_HYPHEN = regex.compile(r"(?<=\w)-(?=\w)")
_MINUS = regex.compile(r"\b(?:minus|negative) (?=\d)")
_WORD = regex.compile(r"[-+]?\d+(?:[.,:/]\d+)*|[\p{L}\p{M}\p{N}']+|\S")


def final_answer(response: str) -> str:
    """Return the text that a response gives as its answer; empty where it gives none.

    A response that marks two different answers gives none.
    """
    for thoughts in THOUGHTS:
        response = thoughts.sub("", response)
    if marked := {tagged or boxed or value for tagged, boxed, value in FINAL.findall(response)}:
        forms = {normal_form(text) for text in marked}
        return marked.pop().strip() if len(forms) == 1 else ""
    labels = list(_LABEL.finditer(response))
    return (response[labels[-1].end() :] if labels else response).strip()


def parse_open(response: str) -> str | None:
    """Return the normal form of the answer that a response gives, or ``None`` where it gives
    none.
    """
    return normal_form(final_answer(response)) or None


@lru_cache(maxsize=65_536)  # Models give the same short answer to many mixes of a question.
def normal_form(text: str) -> str:
    """Return an answer in lower case without punctuation and articles, with numbers in digits.

    Numbers keep their sign and their decimal point; separators of thousands are removed.
    """
    plain = _HYPHEN.sub(" ", normalise(text).casefold())
    words = [bare for word in _WORD.findall(plain) if (bare := _plain(word))]
    joined = " ".join(word for word in _in_digits(words) if word not in _ARTICLES)
    return _MINUS.sub("-", joined)


def is_same_answer(response: str, answer: str) -> bool:
    """Return whether a response gives the right ``answer``, in any of its forms."""
    return parse_open(response) == normal_form(answer)


def token_f1(response: str, answer: str) -> float:
    """Return the F1 of the words that a response's answer shares with the right answer, from 0 to
    1.

    Words are counted as often as they occur, in normal form.
    """
    given, right = (parse_open(response) or "").split(), normal_form(answer).split()
    shared = sum((Counter(given) & Counter(right)).values())
    return 2.0 * shared / (len(given) + len(right)) if shared else 0.0


def is_chain(response: str) -> bool:
    """Return whether a response has steps and then, once and at its end, "Answer:" with an
    answer.
    """
    steps, label, answer = response.partition(ANSWER)
    return bool(label and steps.strip() and answer.strip()) and ANSWER not in answer


def _plain(word: str) -> str:
    """Return a word without its separators of thousands; punctuation gives an empty text."""
    if word[-1].isdigit():
        return regex.sub(r",(?=\d{3}(?!\d))", "", word)
    return word if unicodedata.category(word[0])[0] in "LMN" else ""


def _in_digits(words: list[str]) -> list[str]:
    """Return the words with each number in English words replaced by its digits.

    A digit behind a digit is a number of its own: "three five" is 3 and 5, "twenty five" is 25.
    """
    found: list[str] = []
    total = current = 0
    last = -1  # The latest number word's value; -1 outside a number.
    for word in [*words, ""]:
        value = _SMALL.get(word)
        scale = _SCALES.get(word)
        if value is not None and (last < 0 or (last >= 20 and value < last and _fits(last, value))):
            current, last = current + value, value
        elif scale is not None and last >= 0:
            if scale == 100:
                current *= scale
            else:
                total, current = total + current * scale, 0
            last = scale
        elif word == "and" and last in (100, 1_000, 1_000_000):
            continue
        else:
            if last >= 0:
                found.append(str(total + current))
            total, current, last = 0, 0, -1
            if value is not None:
                current, last = value, value
            elif word:
                found.append(word)
    return found


def _fits(last: int, value: int) -> bool:
    """Return whether the number word of ``value`` continues the one of ``last``."""
    return 1 <= value <= 9 if last < 100 else True

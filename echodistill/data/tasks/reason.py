"""Draw questions about 2 to 4 spoken words whose answer needs a short chain of steps: a sum, the
largest number, a count, or the numbers in order.

The worked solution has one step for each word, "WORD: RESULT SO FAR", so that its length grows with
the number of words and no step needs more than the one before it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from echodistill.data.sources import shuffled_choices

NUMBERS: Mapping[str, int] = {
    word: value
    for value, word in enumerate("one two three four five six seven eight nine".split(), start=1)
    if word != "eight"  # The built-in words leave it out.
}
ANIMALS = ("cat", "dog", "horse", "bird", "fish", "cow")
OTHERS = ("red", "blue", "green", "yellow", "black", "white", *NUMBERS)
CHOICES = 4


@dataclass(frozen=True)
class Reasoning:
    """Spoken words with a question about them."""

    words: tuple[str, ...]
    question: str
    choices: tuple[str, ...]
    """Choices, or none for an open question."""
    answer: str
    solution: str


def draw(stream: np.random.Generator, count: int, with_choices: bool, clip_id: str) -> Reasoning:
    """Return a question about ``count`` words; ``with_choices`` gives it four choices."""
    kind = KINDS[int(stream.integers(len(KINDS)))]
    words = kind.words(stream, count)
    results = [kind.result(words[: number + 1]) for number in range(count)]
    written = [str(NUMBERS.get(word, word)) for word in words]
    steps = [f"{word}: {result}" for word, result in zip(written, results, strict=True)]
    answer = results[-1]
    choices: tuple[str, ...] = ()
    if with_choices:
        wrong = _wrong(stream, kind, words, answer)
        choices = shuffled_choices(answer, wrong, clip_id, kind.question)
    return Reasoning(words, kind.question, choices, answer, ", ".join(steps))


@dataclass(frozen=True)
class _Kind:
    question: str
    words: Callable[[np.random.Generator, int], tuple[str, ...]]
    result: Callable[[Sequence[str]], str]
    """The answer after some of the words."""
    near: Callable[[np.random.Generator, Sequence[str]], str]
    """A wrong answer, or by chance the right one."""


def _numbers(stream: np.random.Generator, count: int) -> tuple[str, ...]:
    known = tuple(NUMBERS)
    return tuple(known[index] for index in stream.choice(len(known), size=count, replace=False))


def _animals_and_others(stream: np.random.Generator, count: int) -> tuple[str, ...]:
    known = [(ANIMALS, OTHERS)[int(stream.integers(2))] for _ in range(count)]
    return tuple(words[int(stream.integers(len(words)))] for words in known)


def _sum(words: Sequence[str]) -> str:
    return str(sum(NUMBERS[word] for word in words))


def _largest(words: Sequence[str]) -> str:
    return str(max(NUMBERS[word] for word in words))


def _count(words: Sequence[str]) -> str:
    return str(sum(word in ANIMALS for word in words))


def _sorted(words: Sequence[str]) -> str:
    return " ".join(str(value) for value in sorted(NUMBERS[word] for word in words))


def _shifted(stream: np.random.Generator, words: Sequence[str]) -> str:
    return str(max(0, int(_sum(words)) + int(stream.integers(-4, 5))))


def _another(stream: np.random.Generator, words: Sequence[str]) -> str:
    return str(list(NUMBERS.values())[int(stream.integers(len(NUMBERS)))])


def _up_to_four(stream: np.random.Generator, words: Sequence[str]) -> str:
    return str(int(stream.integers(5)))


def _other_order(stream: np.random.Generator, words: Sequence[str]) -> str:
    values = [NUMBERS[word] for word in words]
    values[int(stream.integers(len(values)))] = int(_another(stream, words))
    return " ".join(str(value) for value in sorted(values))


KINDS = (
    _Kind("What is the sum of the numbers?", _numbers, _sum, _shifted),
    _Kind("What is the largest number?", _numbers, _largest, _another),
    _Kind("How many animals are named?", _animals_and_others, _count, _up_to_four),
    _Kind("What are the numbers from small to large?", _numbers, _sorted, _other_order),
)


def _wrong(
    stream: np.random.Generator, kind: _Kind, words: Sequence[str], answer: str
) -> list[str]:
    """Return three different wrong answers that are near the right one."""
    wrong: list[str] = []
    while len(wrong) < CHOICES - 1:
        if (given := kind.near(stream, words)) != answer and given not in wrong:
            wrong.append(given)
    return wrong

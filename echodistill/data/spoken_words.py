"""Make questions about a clip of two spoken words: both words, the first, or the second."""

from collections.abc import Sequence

import numpy as np

from echodistill.data.sources import SourceQuestion, shuffled_choices

QUESTIONS = ("What is said?", "Which word is first?", "Which word is second?")
CHOICES = 4


def draw_words(stream: np.random.Generator, vocabulary: Sequence[str]) -> tuple[str, str]:
    """Draw two different words, in order."""
    first, second = stream.choice(len(vocabulary), size=2, replace=False)
    return vocabulary[first], vocabulary[second]


def ask(
    stream: np.random.Generator, clip_id: str, words: tuple[str, str], vocabulary: Sequence[str]
) -> SourceQuestion:
    """Return one of the three questions, with four choices. Wrong phrases share a word with the
    right one, so that both words are needed to answer.
    """
    kind = int(stream.integers(len(QUESTIONS)))
    others = [word for word in vocabulary if word not in words]
    picked = [others[index] for index in stream.choice(len(others), size=CHOICES, replace=False)]
    first, second = words
    if kind == 0:
        right = f"{first} {second}"
        wrong = [f"{first} {picked[0]}", f"{picked[1]} {second}", f"{picked[2]} {picked[3]}"]
    else:
        right = words[kind - 1]
        wrong = [
            words[2 - kind],
            picked[0],
            picked[1],
        ]  # The first wrong choice is the clip's other word.
    choices = shuffled_choices(right, wrong, clip_id, kind)
    return SourceQuestion(
        f"{clip_id}-q", QUESTIONS[kind], choices, right, "recognise", " ".join(words)
    )

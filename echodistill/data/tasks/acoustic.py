"""Draw questions about two spoken words that only the sound answers: which is higher or faster,
whether the speaker is the same, and what is in the background.

A transcript does not answer them; a caption does.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from echodistill.audio.backgrounds import BACKGROUNDS
from echodistill.data.sources import shuffled_choices

LOW_PITCH, HIGH_PITCH = (10, 25), (75, 95)
"""Ranges of espeak's pitch, from 0 to 99."""
SLOW_WPM, FAST_WPM = (105, 125), (225, 260)
"""Ranges of the rate in words per minute."""
BETWEEN = (40, 60), (160, 205)
"""Ranges of pitch and rate of words that do not differ in them."""


@dataclass(frozen=True)
class Utterance:
    """One spoken word."""

    text: str
    voice: str
    rate_wpm: int
    pitch: int


@dataclass(frozen=True)
class Sounding:
    """Two utterances with a question about their sound."""

    utterances: tuple[Utterance, Utterance]
    background: str | None
    """Name in ``BACKGROUNDS``, or ``None``."""
    question: str
    choices: tuple[str, ...]
    answer: str
    solution: str
    caption: str


def draw(
    stream: np.random.Generator,
    words: tuple[str, str],
    voice: str,
    other_voices: Sequence[str],
    clip_id: str,
) -> Sounding:
    """Return a question about two words, spoken by ``voice`` or, for one about the speaker, by one
    of ``other_voices`` too.
    """
    aspect = ASPECTS[int(stream.integers(len(ASPECTS)))]
    pitch, rate_wpm = (int(stream.integers(*between)) for between in BETWEEN)
    spoken = [Utterance(word, voice, rate_wpm, pitch) for word in words]
    # The word that is high or fast, or whether the speaker changes.
    place = int(stream.integers(2))
    background = None
    if aspect == "pitch":
        ranges = [HIGH_PITCH if number == place else LOW_PITCH for number in range(2)]
        spoken = [
            Utterance(one.text, voice, rate_wpm, int(stream.integers(*limits)))
            for one, limits in zip(spoken, ranges, strict=True)
        ]
        sounds = ["high" if number == place else "low" for number in range(2)]
    elif aspect == "rate":
        ranges = [FAST_WPM if number == place else SLOW_WPM for number in range(2)]
        spoken = [
            Utterance(one.text, voice, int(stream.integers(*limits)), pitch)
            for one, limits in zip(spoken, ranges, strict=True)
        ]
        sounds = ["fast" if number == place else "slow" for number in range(2)]
    elif aspect == "speaker" and place and other_voices:
        other = other_voices[int(stream.integers(len(other_voices)))]
        spoken[1] = Utterance(words[1], other, rate_wpm, pitch)
        sounds = ["one speaker", "another speaker"]
    elif aspect == "speaker":
        sounds = ["one speaker", "the same speaker"]
    else:
        background = BACKGROUNDS[int(stream.integers(len(BACKGROUNDS)))]
        sounds = [background]
    question, choices, answer = _asked(aspect, sounds, place)
    return Sounding(
        (spoken[0], spoken[1]),
        background,
        question,
        shuffled_choices(answer, [one for one in choices if one != answer], clip_id, aspect),
        answer,
        ", ".join(sounds),
        _caption(words, sounds, background),
    )


ASPECTS = ("pitch", "rate", "speaker", "background")


def _asked(aspect: str, sounds: Sequence[str], place: int) -> tuple[str, tuple[str, ...], str]:
    """Return the question about an aspect, its choices and the right one."""
    order = ("first", "second")
    if aspect == "pitch":
        return "Which word is spoken in a higher voice?", order, order[place]
    if aspect == "rate":
        return "Which word is spoken faster?", order, order[place]
    if aspect == "speaker":
        answers = ("yes", "no")
        return "Is it the same speaker?", answers, answers[sounds[1] == "another speaker"]
    return "What is in the background?", BACKGROUNDS, sounds[0]


def _caption(words: Sequence[str], sounds: Sequence[str], background: str | None) -> str:
    if background is not None:
        return f"A voice says {words[0]} {words[1]}, with {background} in the background."
    return f"{words[0]}: {sounds[0]}. {words[1]}: {sounds[1]}."

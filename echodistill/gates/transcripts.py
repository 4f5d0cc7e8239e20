"""Check the transcripts and captions of a corpus, which are optional: where no clip has one, none
is expected.

Whether the clips of a training have one each is a matter of the method (``method_data``). That a
transcript is the right answer is no fault: a clip may be one word, which is asked for.
"""

import re
from collections import defaultdict
from collections.abc import Sequence

from echodistill.core.records import Clip, Question
from echodistill.gates.expect import HOLDS, Between, Expect, Table

CHARACTERS_PER_S, MORE_CHARACTERS = 40, 20
"""Most characters of a second of speech, about twice those of fast speech, and as many more in any
clip: a cut may leave little of a long word.
"""
ENOUGH = 10
"""Number of transcripts from which on they must differ."""
SEPARATORS = re.compile(r"[,;|/\n]")
"""Characters that separate the items of a list."""
WORDS = re.compile(r"\w+")
CURE = (
    "the column `transcript` holds the spoken words of each clip: correct it, or leave the column"
    " out where no method needs it"
)

CAPTION_CURE = (
    "the column `caption` describes the sound of each clip: correct it, or leave the column out"
)


def transcript_checks(clips: Sequence[Clip], questions: Sequence[Question]) -> list[Expect]:
    """Return expectations about the transcripts of ``clips``; none where no clip has one."""
    given = [(clip, clip.transcript) for clip in clips if clip.transcript is not None]
    if not given:
        return []
    choices: dict[str, list[tuple[str, ...]]] = defaultdict(list)
    for question in questions:
        choices[question.clip_id].append(question.choices)
    table = Table.of(
        "transcripts",
        "clip_id",
        {
            "clip_id": [clip.clip_id for clip, _ in given],
            "characters": [len(text.strip()) for _, text in given],
            "characters_too_many": [
                max(0.0, len(text.strip()) - MORE_CHARACTERS - CHARACTERS_PER_S * clip.duration_s)
                for clip, text in given
            ],
            "is_no_list_of_choices": [
                not any(_lists(text, each) for each in choices[clip.clip_id])
                for clip, text in given
            ],
        },
    )
    return [
        table.expect("characters", Between(1), "no transcript is empty", CURE),
        table.expect(
            "characters_too_many",
            Between(0, 0),
            f"no transcript is longer than {CHARACTERS_PER_S} characters for each second of its"
            f" clip and {MORE_CHARACTERS} more",
            CURE,
        ),
        table.expect(
            "is_no_list_of_choices", HOLDS, "no transcript is the list of its choices", CURE
        ),
        *_different([text for _, text in given], "transcript", CURE),
    ]


def caption_checks(clips: Sequence[Clip]) -> list[Expect]:
    """Return expectations about the captions of ``clips``; none where no clip has one."""
    given = [(clip.clip_id, clip.caption) for clip in clips if clip.caption is not None]
    if not given:
        return []
    table = Table.of(
        "captions",
        "clip_id",
        {
            "clip_id": [clip_id for clip_id, _ in given],
            "characters": [len(text.strip()) for _, text in given],
        },
    )
    return [
        table.expect("characters", Between(1), "no caption is empty", CAPTION_CURE),
        *_different([text for _, text in given], "caption", CAPTION_CURE),
    ]


def _different(texts: Sequence[str], name: str, cure: str) -> list[Expect]:
    if len(texts) < ENOUGH:
        return []
    found = len({text.strip() for text in texts})
    table = Table.of(f"{name}_texts", "of", {"of": ["all clips"], "different": [found]})
    return [table.expect("different", Between(2), f"the clips have different {name}s", cure)]


def _lists(text: str, choices: Sequence[str]) -> bool:
    """Return whether a transcript is the choices of a question, with separators between them."""
    if len(choices) < 2 or not SEPARATORS.search(text.strip()):
        return False
    return _words(text) == _words(" ".join(choices))


def _words(text: str) -> list[str]:
    return WORDS.findall(text.casefold())

"""A corpus that is held in memory, for use without a pipeline."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from echodistill.audio.levels import SAMPLE_RATE, Waveform, dbfs
from echodistill.core.errors import UserError
from echodistill.core.records import Clip, Question
from echodistill.data.store import Corpus
from echodistill.evaluation.open_answers import normal_form


@dataclass(frozen=True)
class Example:
    """A recording and a question about it."""

    waveform: Waveform
    """(samples,) float32, 16 kHz mono, full scale 1.0."""
    question: str
    choices: Sequence[str]
    """Choices; empty for an open question."""
    answer: str
    """The right choice, as in ``choices``, or the right answer to an open question."""
    group: str = ""
    """Speaker or place of the recording, since clips of one group are not independent evidence. An
    empty string makes the clip a group of its own.
    """
    transcript: str | None = None
    """The spoken words, for a teacher that reads them."""
    caption: str | None = None
    """A description of the sound, for such a teacher too."""


class MemoryCorpus(Corpus):
    """A ``Corpus`` of examples of each split."""

    def __init__(self, examples: Mapping[str, Sequence[Example]]) -> None:
        """Store ``examples`` by split (``train``, ``test``). Raise ``UserError`` naming an example
        that cannot be used.
        """
        self.folder = Path()
        self.clips, self.questions = {}, {}
        waveforms: dict[str, Waveform] = {}
        for split, of_split in examples.items():
            for number, example in enumerate(of_split):
                name = f"{split}-{number:06d}"
                _check(example, f"example {number} of {split}")
                waveforms[name] = _frozen(example.waveform)
                self.clips[name] = _clip(name, split, waveforms[name], example)
                self.questions[name] = _question(name, split, example)
        self.waveform = waveforms.__getitem__  # type: ignore[assignment]


def _frozen(waveform: Waveform) -> Waveform:
    copy = np.array(waveform, dtype=np.float32)
    copy.flags.writeable = False
    return copy


def _check(example: Example, name: str) -> None:
    waveform = np.asarray(example.waveform)
    if waveform.ndim != 1 or waveform.size == 0 or not np.isfinite(waveform).all():
        raise UserError(f"{name}: a waveform is one row of finite samples, 16 kHz mono")
    if not example.choices and not normal_form(example.answer):
        raise UserError(f"{name}: the answer {example.answer!r} has no letter and no digit")
    if example.choices and list(example.choices).count(example.answer) != 1:
        raise UserError(f"{name}: the answer {example.answer!r} must be one of its choices, once")


def _clip(name: str, split: str, waveform: Waveform, example: Example) -> Clip:
    digest = hashlib.sha256(waveform.tobytes()).hexdigest()
    return Clip(
        clip_id=name,
        group=example.group or name,
        split=split,
        transcript=example.transcript,
        source="memory",
        source_sha256=digest,
        sha256=digest,
        source_rate=SAMPLE_RATE,
        duration_s=waveform.size / SAMPLE_RATE,
        level_dbfs=dbfs(waveform),
        shard="",
        offset=0,
        size=waveform.nbytes,
        caption=example.caption,
    )


def _question(name: str, split: str, example: Example) -> Question:
    choices = tuple(example.choices)
    index = choices.index(example.answer) if choices else None
    return Question(name, name, split, example.question, choices, example.answer, index)

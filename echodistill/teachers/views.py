"""Define the teacher's input in place of the student's noisy clip: the matched clean clip, its
transcript, or one of the controls that show whether it matters.

Source of the transcript: arXiv 2601.16547 [paper]. Source of the controls: arXiv 2605.23954, second
version, whose controls are a shuffled clip, random audio and silence in place of the matched one.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Protocol

import numpy as np

from echodistill.audio.levels import Waveform, power, scaled
from echodistill.core.counted import counted
from echodistill.core.errors import UserError
from echodistill.core.records import Question
from echodistill.core.seeds import rng
from echodistill.data.store import Corpus
from echodistill.models.base import Prompt, prompt_about_text, prompt_of
from echodistill.params.references import ViewName


class View(Protocol):
    """The teacher's input; the literature calls it privileged context."""

    def prompt(self, question: Question, gain: float = 1.0) -> Prompt:
        """Return the teacher's prompt for a training question. ``gain`` is the factor that the
        student's mix was scaled by; the teacher's audio is scaled by it too.
        """
        ...

    def cache_identity(self, question: Question) -> str:
        """Return the part of a reference's key that identifies everything in the prompt beside its
        text.
        """
        ...


class AudioView:
    """A view that gives the teacher some audio. ``seed`` determines which clip replaces which, and
    the random audio.
    """

    def __init__(self, corpus: Corpus, seed: int) -> None:
        self.corpus, self.seed = corpus, seed

    def prompt(self, question: Question, gain: float = 1.0) -> Prompt:
        audio = scaled(self.waveform(question.clip_id), gain)
        return prompt_of(question, audio)

    def cache_identity(self, question: Question) -> str:
        return self.corpus.clips[question.clip_id].sha256

    def waveform(self, clip_id: str) -> Waveform:
        """Return the teacher's audio, (samples,), for the clip ``clip_id`` that the student
        receives.
        """
        return self.corpus.waveform(clip_id)


class CleanView(AudioView):
    """The view with the matched clean clip."""


class TranscriptView(AudioView):
    """The view with the clip's words, and the caption of its sound, as text and without any audio.
    It is for questions that these answer.
    """

    def __init__(self, corpus: Corpus, seed: int) -> None:
        """Raise ``UserError`` where a clip with a training question has no transcript and no
        caption.
        """
        super().__init__(corpus, seed)
        asked = corpus.questions_of("train")
        lacking = [each.question_id for each in asked if not corpus.text_of(each.clip_id)]
        if lacking:
            raise UserError(
                "references.view: transcript needs the transcript or caption of every training"
                f" clip, and {counted(len(lacking), 'question', 'has/have')} none, question"
                f" {lacking[0]} for one: fill it in,"
                " or choose another view"
            )

    def prompt(self, question: Question, gain: float = 1.0) -> Prompt:
        return prompt_about_text(question, self.corpus.text_of(question.clip_id))

    def cache_identity(self, question: Question) -> str:
        return f"transcript {self.corpus.text_of(question.clip_id)}"


class ShuffledView(AudioView):
    """The view with another training clip, at that clip's own length; each clip is used as often as
    without shuffling.
    """

    def waveform(self, clip_id: str) -> Waveform:
        return self.corpus.waveform(self.partner(clip_id))

    def cache_identity(self, question: Question) -> str:
        return self.corpus.clips[self.partner(question.clip_id)].sha256

    def partner(self, clip_id: str) -> str:
        """Return the id of the clip that replaces ``clip_id``."""
        return self._partners[clip_id]

    @cached_property
    def _partners(self) -> dict[str, str]:
        clips = sorted(clip.clip_id for clip in self.corpus.clips_of("train"))
        return dict(zip(clips, shuffled(clips, self.seed), strict=True))


class NoiseView(AudioView):
    """The view with white noise of the clip's length and power: sound without any content."""

    def waveform(self, clip_id: str) -> Waveform:
        clean = self.corpus.waveform(clip_id)
        noise = rng(self.seed, "random audio", clip_id).standard_normal(clean.size)
        return (np.sqrt(power(clean) / power(noise)) * noise).astype(np.float32)

    def cache_identity(self, question: Question) -> str:
        return f"noise {self.seed} {super().cache_identity(question)}"


class SilenceView(AudioView):
    """The view with silence of the clip's length."""

    def waveform(self, clip_id: str) -> Waveform:
        return np.zeros_like(self.corpus.waveform(clip_id))

    def cache_identity(self, question: Question) -> str:
        return f"silence {super().cache_identity(question)}"


VIEWS: Mapping[ViewName, type[AudioView]] = {
    "clean": CleanView,
    "transcript": TranscriptView,
    "shuffled": ShuffledView,
    "noise": NoiseView,
    "silence": SilenceView,
}
"""The views that ``references.view`` may name."""


def shuffled(clips: Sequence[str], seed: int) -> list[str]:
    """Return the clips in an order in which none keeps its place. Raise ``UserError`` for fewer
    than two.
    """
    if len(clips) < 2:
        raise UserError("references.view: shuffled needs two training clips at least")
    # each clip is replaced by its neighbour in a random circular order
    order = rng(seed, "shuffled clips").permutation(len(clips))
    follower = dict(zip(order, np.roll(order, 1), strict=True))
    return [clips[follower[index]] for index in range(len(clips))]

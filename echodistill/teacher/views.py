"""What the teacher hears: the matched clean clip, or one of the controls that show whether it
matters.

Source: arXiv 2605.23954, second version, whose controls are a shuffled clip, random audio and
silence in place of the matched one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from echodistill.audio.levels import Waveform, power
from echodistill.datasets.store import Corpus
from echodistill.errors import UserError
from echodistill.params.references import ViewName
from echodistill.seeds import rng


@dataclass(frozen=True)
class View:
    """The teacher's audio for every training clip. ``seed`` draws who is shuffled with whom, and
    the random audio.
    """

    corpus: Corpus
    name: ViewName
    seed: int

    def waveform(self, clip_id: str) -> Waveform:
        """What the teacher hears when the student hears ``clip_id``: shape (samples,), of the heard
        clip's own length.
        """
        if self.name == "shuffled":
            return self.corpus.waveform(self.partner(clip_id))
        clean = self.corpus.waveform(clip_id)
        if self.name == "noise":
            # white noise of the clip's length and power: sound without anything to understand
            noise = rng(self.seed, "random audio", clip_id).standard_normal(clean.size)
            return (np.sqrt(power(clean) / power(noise)) * noise).astype(np.float32)
        return np.zeros_like(clean) if self.name == "silence" else clean

    def cache_identity(self, clip_id: str) -> str:
        """What stands for that audio in a content address."""
        if self.name == "shuffled":
            return self.corpus.clips[self.partner(clip_id)].sha256
        own = self.corpus.clips[clip_id].sha256
        return {"clean": own, "noise": f"noise {self.seed} {own}", "silence": f"silence {own}"}[
            self.name
        ]

    def partner(self, clip_id: str) -> str:
        """The clip heard instead when shuffled: another training clip, each heard as often as it
        would be unshuffled.
        """
        return self._partners[clip_id]

    @cached_property
    def _partners(self) -> dict[str, str]:
        clips = sorted(clip.clip_id for clip in self.corpus.clips_of("train"))
        return dict(zip(clips, shuffled(clips, self.seed), strict=True))


def shuffled(clips: Sequence[str], seed: int) -> list[str]:
    """The clips in an order in which none keeps its place. Raises ``UserError`` for a single
    one.
    """
    if len(clips) < 2:
        raise UserError("references.view: shuffled needs two training clips at least")
    # around a random circle each is followed by another
    order = rng(seed, "shuffled clips").permutation(len(clips))
    follower = dict(zip(order, np.roll(order, 1), strict=True))
    return [clips[follower[index]] for index in range(len(clips))]

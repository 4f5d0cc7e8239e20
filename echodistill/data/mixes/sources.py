"""Find the clips and recordings that the noises of the recipes are made from."""

from collections.abc import Iterable
from typing import Literal

from echodistill.audio.kinds import CROWD
from echodistill.audio.noises import BABBLE_VOICES
from echodistill.core.records import SPLITS, Clip
from echodistill.data.mixes.drawing import Sources
from echodistill.data.mixes.noise_settings import NoiseSettings
from echodistill.data.store import Corpus


def sources_of(corpus: Corpus, noise: NoiseSettings) -> dict[tuple[str, str], Sources]:
    """Return the sources by noise kind and split; a pair that is missing needs none.

    Babble is made of training clips, also for the test, so that no test speaker is part of it. A
    mix uses one recording at a time, also of ``crowd``, since such a recording already is a crowd.
    """
    names: dict[tuple[str, str], list[str]] = {}
    for segment in noise.segments:
        names.setdefault((segment.kind, segment.split), []).append(segment.name)
    found = {key: Sources(tuple(sorted(of_kind)), 1) for key, of_kind in names.items()}
    if CROWD in noise.kinds and CROWD not in noise.recorded_kinds:
        babble = babble_sources(corpus)
        found |= {(CROWD, split): babble for split in SPLITS}
    return found


def babble_sources(corpus: Corpus) -> Sources:
    """Return the clips that babble is made of: those of ``babble_split``."""
    split = babble_split(corpus.clips.values())
    clips = corpus.clips_of(split)
    return Sources(
        tuple(clip.clip_id for clip in clips),
        BABBLE_VOICES,
        {clip.clip_id: clip.group for clip in clips} if split == "test" else {},
    )


def babble_split(clips: Iterable[Clip]) -> Literal["train", "test"]:
    """Return the split whose clips babble is made of: training, or the test where the corpus is a
    test alone.
    """
    return "train" if any(clip.split == "train" for clip in clips) else "test"

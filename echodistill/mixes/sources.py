"""What the noises of the recipes are taken from."""

from collections.abc import Iterable
from typing import Literal

from echodistill.audio.kinds import CROWD
from echodistill.audio.noises import BABBLE_VOICES
from echodistill.audio.recordings import list_recordings, recordings_folder
from echodistill.datasets.store import Corpus
from echodistill.mixes.drawing import Sources
from echodistill.params import MixesParams
from echodistill.records import Clip


def sources_of(corpus: Corpus, settings: MixesParams) -> dict[str, Sources]:
    """By noise kind; a kind that is not there needs none. Raises ``UserError`` for a kind without recordings.

    Babble is made of training clips, also for the test: nobody in the crowd is a test speaker. Of recordings one is taken at a
    time, of ``crowd`` too: it is a crowd already.
    """
    folder = recordings_folder(settings.noise, settings.recordings)
    if folder is None:
        return {CROWD: babble_sources(corpus)}
    return {kind: Sources(names, 1) for kind, names in list_recordings(folder, settings.kinds).items()}


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
    """Return whose clips babble is made of: the training's or, where the corpus is a test alone, those of the test itself."""
    return "train" if any(clip.split == "train" for clip in clips) else "test"

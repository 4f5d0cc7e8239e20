"""What the noises of the recipes are taken from."""

from echodistill.audio.kinds import CROWD
from echodistill.audio.noises import BABBLE_VOICES
from echodistill.datasets.store import Corpus
from echodistill.mixes.drawing import Sources
from echodistill.mixes.noise_settings import NoiseSettings
from echodistill.records import SPLITS


def sources_of(corpus: Corpus, noise: NoiseSettings) -> dict[tuple[str, str], Sources]:
    """By noise kind and split; one that is not there needs none.

    Babble is made of training clips, also for the test: nobody in the crowd is a test speaker. Of recordings one is taken at a
    time, of ``crowd`` too: it is a crowd already.
    """
    names: dict[tuple[str, str], list[str]] = {}
    for segment in noise.segments:
        names.setdefault((segment.kind, segment.split), []).append(segment.name)
    found = {key: Sources(tuple(sorted(of_kind)), 1) for key, of_kind in names.items()}
    if CROWD in noise.kinds and CROWD not in noise.recorded_kinds:
        babble = Sources(tuple(clip.clip_id for clip in corpus.clips_of("train")), BABBLE_VOICES)
        found |= {(CROWD, split): babble for split in SPLITS}
    return found

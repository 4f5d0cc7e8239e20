"""Which mixes a clip gets: noise recipes drawn for one clip at a time. Needs no audio, and the order of the clips does not matter."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from echodistill.audio.kinds import CLEAN
from echodistill.audio.mixing import Mix, draw
from echodistill.params import MixesParams
from echodistill.seeds import rng


@dataclass(frozen=True)
class Sources:
    """What the noise of a kind is taken from: ``picks`` of the ``names``."""

    names: tuple[str, ...]
    picks: int


@dataclass(frozen=True)
class Drawer:
    """Draws all mixes of a clip, given its id and its split."""

    seed: int
    settings: MixesParams
    sources: Mapping[str, Sources] = field(default_factory=dict)
    """By noise kind; a kind that is not there needs none."""

    def __call__(self, clip: tuple[str, str]) -> list[Mix]:
        """Raises ``UserError`` for a crowd without a second clip."""
        clip_id, split = clip
        return list({"train": self._training, "validation": self._validation, "test": self._test}[split](clip_id))

    def count(self, split: str) -> int:
        """How many mixes a clip of ``split`` gets."""
        settings = self.settings
        snrs = len(settings.snrs_db)
        return {"train": settings.train_draws, "validation": 1 + snrs, "test": 1 + snrs * len(settings.kinds)}[split]

    def _training(self, clip_id: str) -> Iterator[Mix]:
        """``train_draws`` recipes, of seen kinds only."""
        settings = self.settings
        for repeat in range(settings.train_draws):
            stream = rng(self.seed, clip_id, "training condition", repeat)
            if stream.random() < settings.train_clean_share:
                yield draw(self.seed, clip_id, "train", CLEAN, None, repeat)
                continue
            kind = settings.seen[stream.integers(len(settings.seen))]
            snr = settings.train_snrs_db[stream.integers(len(settings.train_snrs_db))]
            yield self._draw(clip_id, "train", kind, snr, repeat)

    def _validation(self, clip_id: str) -> Iterator[Mix]:
        """Clean and once at every SNR, each time under a seen kind drawn for it."""
        seen = self.settings.seen
        yield draw(self.seed, clip_id, "validation", CLEAN, None, 0)
        for snr in self.settings.snrs_db:
            kind = seen[rng(self.seed, clip_id, "validation kind", snr).integers(len(seen))]
            yield self._draw(clip_id, "validation", kind, snr, 0)

    def _test(self, clip_id: str) -> Iterator[Mix]:
        """Clean and under every kind at every SNR."""
        yield draw(self.seed, clip_id, "test", CLEAN, None, 0)
        for kind in self.settings.kinds:
            for snr in self.settings.snrs_db:
                yield self._draw(clip_id, "test", kind, snr, 0)

    def _draw(self, clip_id: str, split: str, kind: str, snr: float, repeat: int) -> Mix:
        given = self.sources.get(kind, Sources((), 0))
        return draw(self.seed, clip_id, split, kind, snr, repeat, given.names, given.picks)

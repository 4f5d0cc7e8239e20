"""Draw the noise recipes of a clip, one clip at a time. This needs no audio, and the order of the
clips does not matter.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from echodistill.audio.kinds import CLEAN
from echodistill.audio.mixing import Mix, draw
from echodistill.core.errors import UserError
from echodistill.core.seeds import rng
from echodistill.params.mixes import MixesParams


@dataclass(frozen=True)
class Sources:
    """Candidates for the noise of a kind: each mix uses up to ``picks`` of the ``names``."""

    names: tuple[str, ...]
    picks: int
    group_of: Mapping[str, str] = field(default_factory=dict)
    """Group of each clip where the test's babble is made of test clips: no clip is mixed with its
    own group, so that no recording is its own noise.
    """

    def for_clip(self, clip_id: str) -> tuple[str, ...]:
        """Return the names that ``clip_id`` may be mixed with. Raise ``UserError`` where all are of
        its own group.
        """
        if clip_id not in self.group_of:
            return self.names
        others = tuple(name for name in self.names if self.group_of[name] != self.group_of[clip_id])
        if not others:
            own = self.group_of[clip_id]
            raise UserError(
                f"mixes.kinds: there are no clips of other groups than {own!r} to make a crowd of:"
                " leave `crowd` out of mixes.kinds, or give recordings of a crowd (mixes.noise:"
                " recordings)"
            )
        return others


NONE = Sources((), 0)
"""Sources of a procedural kind, which needs none."""


@dataclass(frozen=True)
class Drawer:
    """Draws all mixes of a clip from its id and its split."""

    seed: int
    settings: MixesParams
    sources: Mapping[tuple[str, str], Sources] = field(default_factory=dict)
    """Sources by noise kind and split; a pair that is missing needs none."""

    def __call__(self, clip: tuple[str, str]) -> list[Mix]:
        """Return all mixes of a clip. Raise ``UserError`` for a babble without a second clip."""
        clip_id, split = clip
        if split == "train":
            return list(self._training(clip_id))
        if split == "test":
            return list(self._test(clip_id))
        # Validation draws from the seen kinds, because unseen kinds must not influence a choice of
        # settings. The decision draws from all kinds, because it concerns the noises that a
        # promoted model will meet.
        if split == "validation":
            return list(
                self._once_at_every_snr(clip_id, split, self.settings.seen, self.settings.snrs_db)
            )
        return list(
            self._once_at_every_snr(
                clip_id, split, self.settings.kinds, self.settings.decision_snrs_db
            )
        )

    def count(self, split: str) -> int:
        """Return the number of mixes of each clip of ``split``."""
        settings = self.settings
        if split == "train":
            return settings.train_draws
        if split == "test":
            return 1 + len(settings.snrs_db) * len(settings.kinds)
        return 1 + len(settings.snrs_db if split == "validation" else settings.decision_snrs_db)

    def _training(self, clip_id: str) -> Iterator[Mix]:
        """Yield ``train_draws`` recipes, of seen kinds only."""
        settings = self.settings
        for repeat in range(settings.train_draws):
            stream = rng(self.seed, clip_id, "training condition", repeat)
            if stream.random() < settings.train_clean_share:
                yield draw(self.seed, clip_id, "train", CLEAN, None, repeat)
                continue
            kind = settings.seen[stream.integers(len(settings.seen))]
            snr = settings.train_snrs_db[stream.integers(len(settings.train_snrs_db))]
            yield self._draw(clip_id, "train", kind, snr, repeat)

    def _once_at_every_snr(
        self, clip_id: str, split: str, kinds: tuple[str, ...], snrs_db: tuple[float, ...]
    ) -> Iterator[Mix]:
        """Yield the clean condition, then each SNR once, with one of ``kinds`` drawn for it."""
        yield draw(self.seed, clip_id, split, CLEAN, None, 0)
        for snr in snrs_db:
            kind = kinds[rng(self.seed, clip_id, f"{split} kind", snr).integers(len(kinds))]
            yield self._draw(clip_id, split, kind, snr, 0)

    def _test(self, clip_id: str) -> Iterator[Mix]:
        """Yield the clean condition, then every kind at every SNR."""
        yield draw(self.seed, clip_id, "test", CLEAN, None, 0)
        for kind in self.settings.kinds:
            for snr in self.settings.snrs_db:
                yield self._draw(clip_id, "test", kind, snr, 0)

    def _draw(self, clip_id: str, split: str, kind: str, snr: float, repeat: int) -> Mix:
        given = self.sources.get((kind, split), NONE)
        return draw(
            self.seed, clip_id, split, kind, snr, repeat, given.for_clip(clip_id), given.picks
        )

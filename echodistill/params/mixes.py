"""Section ``mixes`` of ``params.yaml``: kinds of noise, and which mixes are drawn."""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field, field_validator, model_validator

from echodistill.audio.kinds import KINDS, fault_of_name
from echodistill.core.similar import meant
from echodistill.params.faults import BadKey
from echodistill.params.types import PositiveInt, Section, Share, SnrDb


def _check_procedural(key: str, kinds: Sequence[str]) -> None:
    """Raise ``BadKey`` where one of ``kinds`` cannot be computed."""
    if unknown := sorted(set(kinds) - set(KINDS)):
        raise BadKey(
            key,
            f"{unknown} have no procedural noise; known: {', '.join(KINDS)} (others need"
            f" mixes.noise: recordings){meant(unknown[0], KINDS)}",
        )


class MixesParams(Section):
    """The kinds of noise, and the mixes that are drawn."""

    kinds: tuple[str, ...] = Field(min_length=1)
    """The kinds of noise of the test; those that are not ``unseen`` are in training too."""
    unseen: tuple[str, ...]
    """Kinds that are in no training mix, only in the test and the decision. The default's are
    as hard for the base as the others (``benchmarks/README.md``).
    """
    noise: Literal["procedural", "recordings"]
    """Whether noise is computed or taken from ``recordings``."""
    recordings: str
    """Folder with one sub-folder of recordings for each kind (``rain/a.wav``), or files named after
    kinds (``rain.wav``, ``rain_2.wav``); ignored where ``noise`` is ``procedural``.
    """
    procedural: tuple[str, ...]
    """Kinds that are procedural although ``noise`` is ``recordings``."""
    snrs_db: tuple[SnrDb, ...] = Field(min_length=1)
    """SNRs in dB of the test, each with each kind."""
    train_snrs_db: tuple[SnrDb, ...] = Field(min_length=1)
    """SNRs in dB that training mixes are drawn from."""
    decision_snrs_db: tuple[SnrDb, ...] = Field(min_length=1)
    """SNRs in dB at which the promotion is decided, in addition to clean clips."""
    train_clean_share: Share
    """Share of the training mixes that stay clean, so that the student keeps its accuracy on clean
    clips.
    """
    train_draws: PositiveInt
    """Number of mixes drawn for each training clip."""

    @field_validator("kinds")
    @classmethod
    def _names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if faults := [fault for kind in value if (fault := fault_of_name(kind))]:
            raise ValueError(faults[0])
        return value

    @model_validator(mode="after")
    def _kinds(self) -> "MixesParams":
        # A kind that does not exist is reported before what follows from it.
        _check_procedural("kinds", self.kinds if self.noise == "procedural" else ())
        for name in ("unseen", "procedural"):
            if unknown := sorted(set(getattr(self, name)) - set(self.kinds)):
                cure = "leave them out, or add them there"
                raise BadKey(
                    name, f"{unknown} are not in kinds{meant(unknown[0], self.kinds)}: {cure}"
                )
        _check_procedural("procedural", self.procedural)
        if set(self.unseen) == set(self.kinds):
            raise BadKey("unseen", "every kind is unseen: nothing is left to train with")
        for name in ("kinds", "unseen", "procedural", "snrs_db", "decision_snrs_db"):
            if len(set(getattr(self, name))) != len(getattr(self, name)):
                raise BadKey(name, "an entry is given twice")
        return self

    @property
    def seen(self) -> tuple[str, ...]:
        return tuple(kind for kind in self.kinds if kind not in self.unseen)

    @property
    def recorded(self) -> tuple[str, ...]:
        """Return the kinds whose noise is taken from recordings."""
        return (
            ()
            if self.noise == "procedural"
            else tuple(kind for kind in self.kinds if kind not in self.procedural)
        )

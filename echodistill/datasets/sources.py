"""What every source of clips hands to the corpus stage."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from echodistill.audio.files import Decoded
from echodistill.errors import UserError
from echodistill.records import Quarantined
from echodistill.seeds import rng


class SourceFailed(UserError):
    """The source itself does not work. That is no clip's fault, so no clip is quarantined for it: the stage stops."""


@dataclass(frozen=True)
class SourceQuestion:
    """A question as found in the source, already normalised: ``answer`` is one of ``choices``."""

    question_id: str
    question: str
    choices: tuple[str, ...]
    answer: str


@dataclass(frozen=True)
class Raw:
    """What a clip is decoded from, as it leaves this machine: bytes alone, no path and no process."""

    parts: tuple[bytes, ...]
    """One or more whole files, or the samples of a synthesiser."""
    sample_rate: int | None = None
    """Hz, of samples; a file names its own."""

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(map(len, self.parts))


@dataclass(frozen=True)
class SourceClip:
    """A clip that has not been decoded yet."""

    clip_id: str
    group: str
    source: str
    """For error messages and provenance: a file or a voice."""
    fetch: Callable[[], Raw]
    """Read the files, or ask the synthesiser: here, where they are. Raises ``UserError``."""
    decode: Callable[[Raw], tuple[Decoded, str]]
    """Decode what was fetched, on any machine; gives also the sha256 of the raw bytes. Raises ``UserError``."""
    questions: tuple[SourceQuestion, ...]
    transcript: str | None = None

    def read(self) -> tuple[Decoded, str]:
        """Fetch and decode."""
        return self.decode(self.fetch())


@dataclass(frozen=True)
class SourceClips:
    """All a source found, and the rows it had to leave out."""

    clips: Sequence[SourceClip]
    splits: dict[str, str]
    """Group to split."""
    quarantined: Sequence[Quarantined] = field(default_factory=tuple)
    drawn: bool = False
    """The splits were drawn at random from all groups: the rows themselves name none."""


def split_groups(groups: Sequence[str], validation_share: float, test_share: float, seed: int) -> dict[str, str]:
    """Assign whole groups to splits, at random but fixed by ``seed``.

    Test groups are rounded up and validation groups down, so that a source with few speakers keeps an unseen test; at least one
    group is left for training.
    """
    names = sorted(set(groups))
    order = [names[index] for index in rng(seed, "splits").permutation(len(names))]
    test = min(-(-len(names) * round(test_share * 1000) // 1000), max(0, len(names) - 1))
    validation = min(int(len(names) * validation_share), max(0, len(names) - test - 1))
    split_of = ["test"] * test + ["validation"] * validation + ["train"] * (len(names) - test - validation)
    return dict(zip(order, split_of, strict=True))


def shuffled_choices(right: str, wrong: Sequence[str], *names: object) -> tuple[str, ...]:
    """The right and the wrong choices in an order fixed by ``names``, so that the right one stands everywhere alike."""
    choices = [right, *wrong]
    return tuple(choices[index] for index in rng(*names, "choices").permutation(len(choices)))

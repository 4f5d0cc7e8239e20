"""What every source of clips hands to the corpus stage."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from echodistill.audio.files import Decoded
from echodistill.errors import UserError
from echodistill.params import CorpusParams
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


FEWEST_GROUPS_TO_DECIDE = 4
"""With fewer groups there is no decision split: the test and the training need them more."""
FEWEST_GROUPS_BESIDE_VALIDATION = 2
"""Groups that must be left to train on before a validation share of less than one group is rounded up."""


def split_groups(groups: Sequence[str], params: CorpusParams, seed: int) -> dict[str, str]:
    """Assign whole groups to splits, at random but fixed by ``seed``.

    Groups of the test and of the decision are rounded up and groups of the validation down, so that a source
    with few speakers keeps an unseen test; at least one group is left for training, unless all are to be tested.
    A validation share of less than one group is rounded up to one where two groups are left to train on, so that a
    base is judged on voices that it was not trained on. The test is drawn first and the decision next, so that a
    change of another share leaves the test's groups as they are.
    """
    names = sorted(set(groups))
    order = [names[index] for index in rng(seed, "splits").permutation(len(names))]
    spare = len(names) if params.test_share == 1.0 else max(0, len(names) - 1)
    test = min(_rounded_up(len(names), params.test_share), spare)
    wanted = _rounded_up(len(names), params.decision_share) if len(names) >= FEWEST_GROUPS_TO_DECIDE else 0
    decision = min(wanted, spare - test)
    validation = min(int(len(names) * params.validation_share), spare - test - decision)
    if params.validation_share and not validation and len(names) - test - decision > FEWEST_GROUPS_BESIDE_VALIDATION:
        validation = 1
    train = len(names) - test - decision - validation
    parts = ["test"] * test + ["decision"] * decision + ["validation"] * validation + ["train"] * train
    return dict(zip(order, parts, strict=True))


def _rounded_up(count: int, share: float) -> int:
    """The share of a count, rounded up; a share has three decimals here, so that 0.1 of 10 is 1."""
    return -(-count * round(share * 1000) // 1000)


def shuffled_choices(right: str, wrong: Sequence[str], *names: object) -> tuple[str, ...]:
    """The right and the wrong choices in an order fixed by ``names``, so that the right one stands everywhere alike."""
    choices = [right, *wrong]
    return tuple(choices[index] for index in rng(*names, "choices").permutation(len(choices)))

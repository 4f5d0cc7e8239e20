"""The clips and questions that every source passes to the corpus stage."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from echodistill.audio.stored import Decoded
from echodistill.core.errors import UserError
from echodistill.core.records import PRETRAIN, Quarantined
from echodistill.core.seeds import rng
from echodistill.core.similar import meant
from echodistill.params.corpus import CorpusParams

NO_GROUPS: Mapping[str, str] = MappingProxyType({})
SHOWN_GROUPS = 10
"""Maximum number of groups that are listed where an unknown name resembles none of them."""


class SourceFailed(UserError):
    """The source itself does not work. No clip is at fault, so no clip is quarantined, and the
    stage stops.
    """


@dataclass(frozen=True)
class SourceQuestion:
    """A question from the source, already normalised: ``answer`` is one of ``choices``, or any
    text where there are none.
    """

    question_id: str
    question: str
    choices: tuple[str, ...]
    answer: str
    task: str = ""
    solution: str | None = None


@dataclass(frozen=True)
class Raw:
    """The data that a clip is decoded from, as it is sent to a worker: bytes alone, no path and no
    process.
    """

    parts: tuple[bytes, ...]
    """One or more whole files, or the samples of a synthesiser."""
    sample_rate: int | None = None
    """Sampling rate in Hz of samples; ``None`` for a file, which states its own."""

    @property
    def size(self) -> int:
        """Return the number of bytes."""
        return sum(map(len, self.parts))


@dataclass(frozen=True)
class SourceClip:
    """A clip that has not been decoded yet."""

    clip_id: str
    group: str
    source: str
    """A file or a voice, for error messages and provenance."""
    fetch: Callable[[], Raw]
    """Function that reads the files or calls the synthesiser, on this machine, where they are.
    Raises ``UserError``.
    """
    decode: Callable[[Raw], tuple[Decoded, str]]
    """Function that decodes the fetched data on any machine and also returns the SHA-256 of the raw
    bytes. Raises ``UserError``.
    """
    questions: tuple[SourceQuestion, ...]
    transcript: str | None = None
    caption: str | None = None

    def read(self) -> tuple[Decoded, str]:
        """Fetch and decode the clip."""
        return self.decode(self.fetch())


Draw = Callable[[Mapping[str, str]], dict[str, str]]
"""Function that returns the split of each group. Its argument gives groups that must share a split
the one name under which they are drawn.
"""


@dataclass(frozen=True)
class SourceClips:
    """All clips of a source, and the rows that were left out."""

    clips: Sequence[SourceClip]
    splits: dict[str, str]
    """Split of each group."""
    quarantined: Sequence[Quarantined] = field(default_factory=tuple)
    draw: Draw | None = None
    """Function that draws the splits again, where they were drawn at random; ``None`` where rows
    name them.
    """


MIN_GROUPS_FOR_DECISION = 4
"""With fewer groups there is no decision split, because the test and the training need them
more.
"""
MIN_GROUPS_BESIDE_VALIDATION = 2
"""A validation share of less than one group is rounded up to one where more groups than this are
left beside the test and the decision.
"""


def split_groups(
    groups: Sequence[str], params: CorpusParams, seed: int, joined: Mapping[str, str] = NO_GROUPS
) -> dict[str, str]:
    """Assign whole groups to splits, at random but fixed by ``seed``.

    Groups of the test and of the decision are rounded up and groups of the validation down, so that
    a source with few speakers keeps an unseen test. At least one group is left for training, unless
    all are to be tested (a ``test_share`` of 1). Half of the training groups of ``builtin`` are for
    pre-training where ``clips.pretrain`` asks for clips of them. A validation share of less than
    one group is rounded up to one where two groups are left to train on, so that a base is judged
    on voices that it was not trained on. The test is drawn first and the decision next, so that a
    change of another share leaves the test's groups as they are. ``joined`` gives groups that must
    share a split one name, under which they count once.

    Raise ``UserError`` where ``params.test_groups`` names an unknown group, or all groups.
    """
    drawn_as = {group: joined.get(group, group) for group in groups}
    names = sorted(set(drawn_as.values()))
    order = [names[index] for index in rng(seed, "splits").permutation(len(names))]
    tested = _named_test(params.test_groups, drawn_as)
    order = [
        *[name for name in order if name in tested],
        *[name for name in order if name not in tested],
    ]
    available = len(names) if params.test_share == 1.0 and not tested else max(0, len(names) - 1)
    test = len(tested) or min(_rounded_up(len(names), params.test_share), available)
    wanted = (
        _rounded_up(len(names), params.decision_share)
        if len(names) >= MIN_GROUPS_FOR_DECISION
        else 0
    )
    decision = min(wanted, available - test)
    validation = min(int(len(names) * params.validation_share), available - test - decision)
    if (
        params.validation_share
        and not validation
        and len(names) - test - decision > MIN_GROUPS_BESIDE_VALIDATION
    ):
        validation = 1
    train = len(names) - test - decision - validation
    pretrain = train // 2 if params.source == "builtin" and params.clips.pretrain else 0
    counts = {
        "test": test,
        "decision": decision,
        "validation": validation,
        "train": train - pretrain,
        PRETRAIN: pretrain,
    }
    parts = [split for split, count in counts.items() for _ in range(count)]
    split_of = dict(zip(order, parts, strict=True))
    return {group: split_of[name] for group, name in drawn_as.items()}


def _named_test(test_groups: Sequence[str], drawn_as: Mapping[str, str]) -> set[str]:
    """Return the names under which ``test_groups`` are drawn; none where there are no groups at
    all, since all rows were bad.
    """
    if not drawn_as:
        return set()
    for name in test_groups:
        if name not in drawn_as:
            more = len(drawn_as) - SHOWN_GROUPS
            raise UserError(
                f"corpus.test_groups: no clip is of group {name!r}; there are"
                f" {', '.join(map(repr, sorted(drawn_as)[:SHOWN_GROUPS]))}"
                + (f" and {more} more" if more > 0 else "")
                + meant(name, sorted(drawn_as))
            )
    tested = {drawn_as[name] for name in test_groups}
    if tested == set(drawn_as.values()):
        raise UserError("corpus.test_groups names every group: leave one to train on")
    return tested


def _rounded_up(count: int, share: float) -> int:
    """Return a share of a count, rounded up. The share is rounded to three decimals first, so that
    0.1 of 10 is 1.
    """
    return -(-count * round(share * 1000) // 1000)


def shuffled_choices(right: str, wrong: Sequence[str], *names: object) -> tuple[str, ...]:
    """Return the right and the wrong choices in an order fixed by ``names``, so that the right one
    is at each position about equally often.
    """
    choices = [right, *wrong]
    return tuple(choices[index] for index in rng(*names, "choices").permutation(len(choices)))

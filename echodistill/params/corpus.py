"""Section ``corpus`` of ``params.yaml``: where the clips come from and how they are split."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from echodistill.params.faults import BadKey
from echodistill.params.types import (
    Count,
    FirstNumber,
    GroupName,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    Section,
    Share,
)

Benchmark = Literal[
    "mmau", "mmar", "mmsu", "air-bench", "avqa", "voicebench", "echodistill", "seen"
]
Source = Literal["builtin", "folder", "fsdd", Benchmark]
EVALUATED: tuple[Benchmark, ...] = ("mmau", "mmar", "mmsu", "air-bench", "voicebench", "seen")
"""Benchmarks whose published rows are all meant for testing."""


class ClipCounts(Section):
    """Numbers of clips that ``builtin`` and ``fsdd`` make; the other sources take all clips they
    find.
    """

    pretrain: Count = 0
    """Number of clips that ``nano`` alone is pre-trained on, of half of the training voices; 0
    pre-trains it on the training clips. ``fsdd`` ignores it.
    """
    train: PositiveInt
    """Number of clips to train on."""
    validation: Count
    """Number of clips that settings are chosen on."""
    decision: Count
    """Number of clips that the promotion is decided on."""
    test: PositiveInt
    """Number of clips of the reported test."""


class SeparateTest(Section):
    """Where the clips of the test are read from, if not from ``corpus.source``."""

    source: Source | None
    """Source of the test's clips; ``None`` splits the test off ``corpus.source``.

    With a source of its own, the test is its test rows, or all rows where none names a split, and
    all of ``corpus.source`` is for training and validation.
    """
    path: str
    """Folder of the test's recordings."""
    manifest: str
    """Manifest of the test, as ``corpus.manifest``, below this ``path``."""
    answers_from: FirstNumber | None = None
    """Number of the first choice in the test's manifest, as ``corpus.answers_from``."""


class TaskWeights(Section):
    """Weights of the task families of ``builtin``: each clip belongs to one of them."""

    recognise: NonNegativeFloat
    """Which words are spoken."""
    reason: NonNegativeFloat
    """A sum, the largest number, a count or an order of 2 to 4 words: an open question."""
    reason_choices: NonNegativeFloat
    """As ``reason``, with four choices."""
    acoustic: NonNegativeFloat
    """What only the sound tells: pitch, rate, speaker or background."""

    @model_validator(mode="after")
    def _some(self) -> "TaskWeights":
        if not any(weight for _, weight in self):
            raise BadKey("recognise", "one task at least needs a weight above 0")
        return self


WordRange = tuple[Annotated[int, Field(ge=2, le=4)], Annotated[int, Field(ge=2, le=4)]]


class ReasonWords(Section):
    """The fewest and the most words of the questions of ``reason``, by the use of the clip."""

    pretrain: WordRange
    """Clips that ``nano`` is pre-trained on."""
    train: WordRange
    """Clips that the student is trained on."""
    evaluation: WordRange
    """Clips of the validation, the decision and the test."""

    @model_validator(mode="after")
    def _ordered(self) -> "ReasonWords":
        for name, (low, high) in self:
            if low > high:
                raise BadKey(name, "write the fewest words first, as in [2, 4]")
        return self


class CorpusParams(Section):
    """Where the clips are read from and how they are split."""

    source: Source
    """Source of the clips: ``builtin`` is synthetic speech, ``folder`` is recordings with a
    manifest, ``fsdd`` is the Free Spoken Digit Dataset, the others are published benchmarks.
    """
    path: str
    """Folder of recordings; ``builtin`` ignores it."""
    manifest: str
    """For ``folder`` and benchmarks: JSONL, JSON or CSV file below ``path``; for a benchmark also a
    parquet file, or a pattern for several files.
    """
    answers_from: FirstNumber | None
    """For ``folder``: the number of the first choice where answers are numbers. ``None`` takes the
    number that the choices are labelled with, else 0.
    """
    open_questions: bool
    """For ``folder``: whether a row without choices is an open question, whose answer is compared
    as text; otherwise it is quarantined.
    """
    benchmark_rows: Literal["test", "split"]
    """For a benchmark that is published for testing: ``test`` makes all its rows test rows,
    ``split`` splits them (and trains on them) like the rows of any other source.
    """
    test: SeparateTest
    test_groups: tuple[GroupName, ...]
    """Groups (speakers, voices, places) that make up the test, whatever the source; where there are
    none, ``test_share`` of the groups are drawn.
    """
    tasks: TaskWeights
    reason_words: ReasonWords
    clips: ClipCounts
    validation_share: Share
    """Share of the groups (speakers, voices) that settings are chosen on, rounded down; less than
    one group is rounded up to one where two groups are left to train on.
    """
    decision_share: Share
    """Share of the groups that the promotion is decided on, apart from the reported test; rounded
    up where there are four groups or more. With fewer groups there is no decision split.
    """
    test_share: Share
    """Share of the groups that are the test, rounded up; with 1 all groups are tested on and
    nothing is trained. It is ignored where ``test_groups`` or a source of its own (``test``) makes
    the test.
    """
    min_duration_s: PositiveFloat
    """Shortest allowed duration in seconds; a shorter clip is quarantined."""
    max_duration_s: PositiveFloat
    """Longest allowed duration in seconds; a longer clip is quarantined."""
    trim_excess_s: NonNegativeFloat
    """A clip that is longer than ``max_duration_s`` by at most this is cut to ``max_duration_s``
    and kept.
    """
    max_quarantined_share: Share
    """The run stops where more than this share of a source's rows is quarantined."""

    @model_validator(mode="after")
    def _ranges(self) -> "CorpusParams":
        if self.min_duration_s >= self.max_duration_s:
            raise BadKey("min_duration_s", "must be below max_duration_s")
        drawn_test_share = 0.0 if self.test_groups or self.test.source else self.test_share
        if (
            self.validation_share + self.decision_share + drawn_test_share >= 1.0
            and drawn_test_share < 1.0
        ):
            raise BadKey(
                "test_share",
                "the shares of the groups must stay below 1 in sum: something must be left to train"
                " on (or 1: test on all)",
            )
        if self.test.source == self.source and (self.source == "builtin" or self._same_source()):
            raise BadKey(
                "test.source",
                "corpus.source reads the same: write null, or name other rows in corpus.test.path"
                " and .manifest",
            )
        if self.test_groups and self.test.source is not None:
            raise BadKey(
                "test_groups", "corpus.test.source makes the test: write [], or null there"
            )
        if self.test_groups and self.needed_splits == ("test",):
            raise BadKey(
                "test_groups",
                "all rows of this benchmark are test rows: write [], or corpus.benchmark_rows:"
                " split",
            )
        if twice := [name for name in self.test_groups if self.test_groups.count(name) > 1]:
            raise BadKey("test_groups", f"{twice[0]!r} is given twice")
        return self

    def _same_source(self) -> bool:
        same = Path(self.path).resolve() == Path(self.test.path).resolve()
        return same and (self.source == "fsdd" or self.manifest == self.test.manifest)

    @property
    def needed_splits(self) -> tuple[str, ...]:
        """Return the splits that need at least one clip: a test alone needs no training clips."""
        return ("test",) if self.is_test_only else ("train", "test")

    @property
    def is_test_only(self) -> bool:
        """Return whether these parameters give a test and nothing to train on, so that a model is
        only evaluated.
        """
        benchmark = self.source in EVALUATED and self.benchmark_rows == "test"
        return self.test.source is None and (
            benchmark or (self.test_share == 1.0 and not self.test_groups)
        )


def judged_on(corpus: CorpusParams) -> Source:
    """Return the source of the test's rows."""
    return corpus.test.source or corpus.source

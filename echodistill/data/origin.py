"""Mark the source of a quarantined row where the test has a source of its own, and count each
source's share of such rows.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from echodistill.core.records import Quarantined
from echodistill.data.repeated import ALSO_IN
from echodistill.params.corpus import CorpusParams


@dataclass(frozen=True)
class Share:
    """The share of a source's rows that were quarantined."""

    source: str
    rows: int
    """Number of rows, including the quarantined ones."""
    quarantined: tuple[Quarantined, ...]

    @property
    def bad(self) -> int:
        """Return the number of quarantined rows."""
        return len(self.quarantined)

    @property
    def value(self) -> float:
        return self.bad / self.rows if self.rows else 0.0


def origin(corpus: CorpusParams, of_test: bool) -> str:
    """Return the prefix of a quarantined row's name; it is empty where all rows are of one
    source.
    """
    if corpus.test.source is None:
        return ""
    return f"test ({corpus.test.source}): " if of_test else f"{corpus.source}: "


def shares(
    corpus: CorpusParams, splits: Iterable[str], quarantined: Sequence[Quarantined]
) -> list[Share]:
    """Return the share of every source; ``splits`` are those of the questions that were kept.

    One share over both sources would let a large training source hide that most of the test is
    missing. A row whose recording is kept in another split is not bad.
    """
    kept = list(splits)
    quarantined = [row for row in quarantined if not row.reason.startswith(ALSO_IN)]
    if corpus.test.source is None:
        return [_share(corpus.source, len(kept), quarantined)]
    tested = origin(corpus, of_test=True)
    of_test = [row for row in quarantined if row.row.startswith(tested)]
    others = [row for row in quarantined if not row.row.startswith(tested)]
    count = kept.count("test")
    return [
        _share(corpus.source, len(kept) - count, others),
        _share(tested.removesuffix(": "), count, of_test),
    ]


def _share(source: str, kept: int, bad: Sequence[Quarantined]) -> Share:
    return Share(source, kept + len(bad), tuple(bad))

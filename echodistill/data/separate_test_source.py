"""Read the test from a source of its own (``corpus.test``), and train on the clips of
``corpus.source``.

- All groups of the test's source are used; where its rows name splits, only its test rows.
- No test is split off the main source, but validation and decision are. Its rows that name
  themselves test rows are left out and not trained on.
- The test's ids begin with its source's name. A group's name has a meaning only within one folder:
  in two folders, groups of one name are different groups; within one folder, a group of the test is
  not trained on. A recording that both sources hold is not trained on either (``repeated``).
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from echodistill.core.counted import counted
from echodistill.core.errors import UserError
from echodistill.core.records import Quarantined
from echodistill.data.origin import origin
from echodistill.data.sources import Draw, SourceClip, SourceClips
from echodistill.params.corpus import CorpusParams

Read = Callable[[CorpusParams], SourceClips]


def read_both(corpus: CorpusParams, read: Read) -> SourceClips:
    """Read both sources. Raise ``UserError`` when one has nothing for its part, and when both have
    the same id.
    """
    assert corpus.test.source is not None
    main = read(corpus.model_copy(update={"test_share": 0.0}))
    whole = {
        "benchmark_rows": "test",
        "validation_share": 0.0,
        "decision_share": 0.0,
        "test_share": 1.0,
    }
    test_params = corpus.model_copy(update={**corpus.test.model_dump(), **whole})
    try:
        test = read(test_params)
    except UserError as error:
        raise type(error)(
            re.sub(
                r"\bcorpus\.(?=(?:source|path|manifest|answers_from)\b)", "corpus.test.", str(error)
            )
        ) from error
    same_folder = (
        corpus.source != "builtin"
        and corpus.test.source != "builtin"
        and Path(corpus.path).resolve() == Path(corpus.test.path).resolve()
    )
    return joined(main, test, corpus, same_folder)


def joined(
    main: SourceClips, test: SourceClips, corpus: CorpusParams, same_folder: bool
) -> SourceClips:
    """Return the training, validation and decision clips of ``main`` with the test clips of
    ``test``.

    ``same_folder`` states that a group's name means the same in both.
    """
    tested = _tested(test, corpus)
    clips = _trained(main, {clip.group for clip in tested} if same_folder else set(), corpus)
    trained = {clip.group: main.splits[clip.group] for clip in clips}
    splits = dict(trained)
    for clip in tested:
        group = clip.group if same_folder else f"{corpus.test.source}:{clip.group}"
        if splits.setdefault(group, "test") != "test":
            raise UserError(
                f"{corpus.path}: group {group!r} is named as one of corpus.test.source: rename it"
            )
        clips.append(_renamed(clip, group, str(corpus.test.source)))
    _check_ids(clips, corpus)
    quarantined = [*_named(main, corpus, of_test=False), *_named(test, corpus, of_test=True)]
    draw = partial(_drawn_again, main.draw, trained, splits) if main.draw else None
    return SourceClips(clips, splits, quarantined, draw)


def _drawn_again(
    draw: Draw, trained: Mapping[str, str], splits: Mapping[str, str], joined: Mapping[str, str]
) -> dict[str, str]:
    """Draw the splits of the training source's groups again; the test's groups keep their split,
    and give no other group the name under which it is drawn.
    """
    first_of: dict[str, str] = {}
    for group in sorted(trained):
        first_of.setdefault(joined.get(group, group), group)
    drawn = draw({group: first_of[joined.get(group, group)] for group in trained})
    return {**splits, **{group: drawn[group] for group in trained}}


def _trained(main: SourceClips, tested: set[str], corpus: CorpusParams) -> list[SourceClip]:
    train = [clip for clip in main.clips if main.splits[clip.group] != "test"]
    kept = [clip for clip in train if clip.group not in tested]
    if left_out := len(main.clips) - len(train):
        print(
            f"{corpus.source}:"
            f" {counted(left_out, 'clip', 'is/are')} marked as test clips"
            f" and left out:"
            " corpus.test.source makes the test"
        )
    if left_out := len(train) - len(kept):
        print(
            f"{corpus.source}: {counted(left_out, 'clip', 'is of a group/are of groups')} that"
            f" corpus.test.source tests on, and"
            " left out"
        )
    if main.clips and not kept:
        raise UserError(
            f"{corpus.path}: all rows of corpus.source ({corpus.source}) are test rows, so nothing"
            " is left to train on beside corpus.test.source. Take another corpus.source, or train"
            " on a benchmark's rows with corpus.benchmark_rows: split"
        )
    return kept


def _tested(test: SourceClips, corpus: CorpusParams) -> list[SourceClip]:
    kept = [clip for clip in test.clips if test.splits[clip.group] == "test"]
    if left_out := len(test.clips) - len(kept):
        print(
            f"test ({corpus.test.source}):"
            f" {counted(left_out, 'clip', 'is/are')} not marked as test clips"
            " and left out"
        )
    if test.clips and not kept:
        raise UserError(
            f"{corpus.test.path}: the column `split` makes no row of corpus.test.source"
            f" ({corpus.test.source}) a test row: name test rows in corpus.test.manifest, or take"
            " the column away, and all rows are"
        )
    return kept


def _renamed(clip: SourceClip, group: str, source: str) -> SourceClip:
    questions = tuple(
        replace(asked, question_id=f"{source}:{asked.question_id}") for asked in clip.questions
    )
    return replace(clip, clip_id=f"{source}:{clip.clip_id}", group=group, questions=questions)


def _named(found: SourceClips, corpus: CorpusParams, of_test: bool) -> Iterator[Quarantined]:
    return (replace(row, row=f"{origin(corpus, of_test)}{row.row}") for row in found.quarantined)


def _check_ids(clips: list[SourceClip], corpus: CorpusParams) -> None:
    """Raise ``UserError`` where an id occurs twice: each source uses its own ids once, but an id of
    the main source may equal one of the test's.
    """
    counts = Counter(
        name
        for clip in clips
        for name in (
            f"clip {clip.clip_id!r}",
            *(f"id {row.question_id!r}" for row in clip.questions),
        )
    )
    if twice := [name for name, count in counts.items() if count > 1]:
        raise UserError(
            f"{corpus.path}: {twice[0]} is named as one of corpus.test.source: rename it"
        )

"""Read a folder of recordings with a manifest: one row for each question, in JSONL, JSON (a list)
or CSV.

Fields, in upper or lower case: ``id``, ``audio_path`` (or ``audio_id``), ``question``, ``choices``,
``answer``; optional ``group`` (or ``speaker``), ``split``, ``transcript`` and ``caption``. MMAU,
MMAR and SEEN-like manifests can be read as they are; other fields are ignored.

- Audio paths are relative to the folder, may lack ``.wav`` and may differ from the file's name in
  case or Unicode form. Rows of one file are questions about one clip.
- Choices are a list, its JSON, Python or NumPy text, or columns ``choice_a`` .., ``A`` .. or
  ``choice_1`` ..; labels that are in order ("(A) red", "1. red") are removed.
- The answer is a choice's text, its letter, both ("(A) red"), or its number: as labelled, with
  columns ``choice_1`` .. from 1, else from 0, or as ``corpus.answers_from`` states. Digits in a
  text that is itself a choice are not read as a number; where two readings disagree otherwise, the
  row is quarantined.
- A row without choices is an open question where ``corpus.open_questions`` states so.
- A recording whose rows name no group is a group by itself.
- ``split`` is used where a row names train, validation (val, dev), decision or test; all rows of a
  group must name the same. Otherwise groups are split at random.
"""

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from echodistill.audio.files import TooLong, decode_bytes, read_file
from echodistill.audio.stored import Decoded
from echodistill.core.counted import counted
from echodistill.core.errors import UserError
from echodistill.core.group_names import group_name
from echodistill.core.records import SPLITS, Quarantined
from echodistill.data.answers import Answers, AnswersAs
from echodistill.data.choices import Choices, choices_of, has_choices
from echodistill.data.fields import missing, optional_text, text_of
from echodistill.data.manifest import Fields, RowError, path_below, rows
from echodistill.data.parquet_rows import Embedded, read_embedded
from echodistill.data.recording_paths import RecordingPaths
from echodistill.data.sources import Raw, SourceClip, SourceClips, SourceQuestion, split_groups
from echodistill.evaluation.open_answers import normal_form
from echodistill.models.prompts import control_token
from echodistill.params.corpus import CorpusParams

SPLIT_NAMES = {split: split for split in SPLITS} | {"val": "validation", "dev": "validation"}


@dataclass(frozen=True)
class _Row:
    """A valid row: a question, and the clip it is about."""

    row: str
    recording: Path | Embedded
    group: str
    """Name of the group; empty until all rows are read, where the row names none."""
    split: str
    """Split as the row writes it; empty where the row names none."""
    question: SourceQuestion


def read(params: CorpusParams, seed: int) -> SourceClips:
    """Read the manifest; recordings are decoded later. Bad rows are quarantined with their reason.

    Raise ``UserError`` when the manifest is missing, empty, not UTF-8 or not of its format.
    """
    manifest = path_below(Path(params.path), params.manifest)
    return read_rows(
        ((f"{manifest.name}:{place}", fields) for place, fields in rows(manifest)), params, seed
    )


def read_rows(
    places: Iterable[tuple[str, Fields | RowError]],
    params: CorpusParams,
    seed: int,
    answers: AnswersAs | None = None,
) -> SourceClips:
    """Return the clips of rows that are already read: each row's place with its fields, under the
    names that this module uses, or with its fault.

    ``answers`` is the reading that is preferred where an answer can be read in several ways; with
    ``None`` such a row is quarantined.
    """
    root = Path(params.path)
    open_questions = params.open_questions and params.source == "folder"
    reader = _Rows(root, Answers(answers, params.answers_from), open_questions)
    asked: list[_Row] = []
    quarantined: list[Quarantined] = []
    for place, fields in places:
        row = place
        try:
            if isinstance(fields, RowError):
                raise fields
            question_id = text_of(fields, "id")
            row += f" (id {question_id})"
            asked.append(reader.read(fields, question_id, row))
        except RowError as error:
            quarantined.append(Quarantined(row, str(error)))
    reader.answers.check(root / params.manifest)
    if not asked and not quarantined:
        raise UserError(f"{root / params.manifest} is empty: give one row a question")
    asked = _grouped(asked, reader.groups, root, params.manifest)
    if any(row.split.casefold() in SPLIT_NAMES for row in asked):
        if params.test_groups:
            raise UserError(
                f"corpus.test_groups: the rows of {root / params.manifest} name their splits"
                " themselves: write [], or take them away (the column `split`; of a published test"
                " set corpus.benchmark_rows: split)"
            )
        asked, splits = _named_splits(asked, quarantined)
        return SourceClips(_clips(asked, reader.texts, params), splits, quarantined)
    _print_ignored_splits(asked, params)
    draw = partial(split_groups, [row.group for row in asked], params, seed)
    return SourceClips(_clips(asked, reader.texts, params), draw({}), quarantined, draw)


def _grouped(
    asked: Sequence[_Row], groups: Mapping[Path | Embedded, str], root: Path, manifest: str
) -> list[_Row]:
    """Return the rows with a group each: rows that name none get the group of their recording's
    other rows, or else the recording's name.
    """
    single = sum(row.recording not in groups for row in asked)
    if 0 < single < len(asked):
        print(
            f"{manifest}: {single} of {counted(len(asked), 'row')}"
            f" {'names' if single == 1 else 'name'} no group: each of their recordings"
            " counts as a group of its own"
        )
    return [
        replace(row, group=groups.get(row.recording) or _name(row.recording, root)) for row in asked
    ]


def _clips(
    asked: Sequence[_Row],
    texts: Mapping[str, Mapping[Path | Embedded, str]],
    params: CorpusParams,
) -> list[SourceClip]:
    """Return one clip for each recording, in the manifest's order."""
    root, longest_s = Path(params.path), params.max_duration_s + params.trim_excess_s
    of_clip: dict[Path | Embedded, list[_Row]] = {}
    for row in asked:
        of_clip.setdefault(row.recording, []).append(row)
    return [
        SourceClip(
            clip_id=_name(recording, root),
            group=about[0].group,
            source=str(recording),
            fetch=partial(_fetch, recording),
            decode=partial(_decode, str(recording), longest_s),
            questions=tuple(row.question for row in about),
            transcript=texts["transcript"].get(recording),
            caption=texts["caption"].get(recording),
        )
        for recording, about in of_clip.items()
    ]


def _fetch(recording: Path | Embedded) -> Raw:
    return Raw(
        (read_embedded(recording) if isinstance(recording, Embedded) else read_file(recording),)
    )


def _decode(name: str, max_duration_s: float, raw: Raw) -> tuple[Decoded, str]:
    (content,) = raw.parts
    try:
        return decode_bytes(content, name, max_duration_s), hashlib.sha256(content).hexdigest()
    except TooLong as error:
        raise UserError(f"{error} (corpus.max_duration_s)") from error


def _name(recording: Path | Embedded, root: Path) -> str:
    return Path(os.path.relpath(str(recording), root)).as_posix()


def _print_ignored_splits(asked: Sequence[_Row], params: CorpusParams) -> None:
    if named := sorted({row.split for row in asked if row.split}):
        print(
            f"{params.manifest}: split {', '.join(named)} is none of {', '.join(SPLITS)}: the"
            " column is ignored"
        )
        print(
            "for a published benchmark, name it in corpus.source: its test rows stay test rows then"
        )


def _named_splits(
    asked: list[_Row], quarantined: list[Quarantined]
) -> tuple[list[_Row], dict[str, str]]:
    """Return the rows with a valid split, and the split of each group; the other rows are added to
    ``quarantined``.
    """
    named_of: dict[str, set[str]] = {}
    for row in asked:
        named_of.setdefault(row.group, set()).add(SPLIT_NAMES.get(row.split.casefold(), row.split))
    kept = []
    for row in asked:
        named = sorted(named_of[row.group])
        if len(named) > 1:
            quarantined.append(
                Quarantined(row.row, f"group {row.group!r} is in several splits: {named}")
            )
        elif named[0] not in SPLIT_NAMES:
            quarantined.append(
                Quarantined(row.row, f"split {row.split!r} is none of {', '.join(SPLITS)}")
            )
        else:
            kept.append(row)
    return kept, {row.group: SPLIT_NAMES[row.split.casefold()] for row in kept}


class _Rows:
    """Reader of one manifest's rows, which also holds the values that its rows must agree on."""

    def __init__(self, root: Path, answers: Answers, open_questions: bool) -> None:
        self.answers, self._open_questions = answers, open_questions
        self.groups: dict[Path | Embedded, str] = {}
        """Group of each recording whose rows name one."""
        self.texts: dict[str, dict[Path | Embedded, str]] = {"transcript": {}, "caption": {}}
        """Transcript and caption of each recording whose rows give them."""
        self._paths = RecordingPaths(root)
        self._ids: set[str] = set()

    def read(self, fields: Fields, question_id: str, row: str) -> _Row:
        """Return one row as a question; ``row`` is its name in messages. Raise ``RowError`` for a
        bad row.
        """
        question = text_of(fields, "question")
        embedded = fields.get("audio_path")
        recording = (
            embedded
            if isinstance(embedded, Embedded)
            else self._paths.find(text_of(fields, "audio_path", "audio_id"))
        )
        is_open = self._open_questions and not has_choices(fields)
        choices = Choices((), 0) if is_open else choices_of(fields)
        for text in (question, *choices.texts):
            if token := control_token(text):
                raise RowError(
                    f"{token!r} is a control token of language models: take it out of the question"
                    " or choice"
                )
        if "answer" not in fields:
            raise missing(fields, "answer")
        if is_open:
            answer = text_of(fields, "answer")
            if not normal_form(answer):
                raise RowError(f"the answer {answer!r} has no letter and no digit")
        else:
            answer = choices.texts[self.answers.index(fields["answer"], choices, row)]
        group = group_name(optional_text(fields, "group", "speaker"))
        if question_id in self._ids:
            raise RowError("the id is given twice")
        if group and self.groups.setdefault(recording, group) != group:
            raise RowError(
                f"the recording is of group {self.groups[recording]!r} in a row before, here of"
                f" {group!r}"
            )
        for name, known in self.texts.items():
            text = optional_text(fields, name)
            if text and known.setdefault(recording, text) != text:
                raise RowError(f"the recording has another {name} in a row before: give it one")
        self._ids.add(question_id)
        asked = SourceQuestion(question_id, question, choices.texts, answer)
        return _Row(row, recording, group, optional_text(fields, "split"), asked)

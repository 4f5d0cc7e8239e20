"""A folder of recordings with a manifest: one row a question, in JSONL, JSON (a list) or CSV.

Fields, in any case: ``id``, ``audio_path`` (or ``audio_id``), ``question``, ``choices``, ``answer``; optional ``group`` (or
``speaker``) and ``split``. That reads MMAU, MMAR and SEEN-like manifests as they are; other fields are ignored.

- Audio paths are relative to the folder and may lack ``.wav``. Rows of one file are questions about one clip.
- Choices are a list, its JSON or Python text, or columns ``choice_a`` .., ``A`` .. or ``choice_1`` ..; labels in
  order ("(A) red", "1. red") are taken off.
- The answer is a choice's text, its letter, both ("(A) red"), or its number: as labelled, with columns ``choice_1`` .. from 1,
  else from 0.
  Digits in a text that is itself a choice are no number; where two readings disagree otherwise, the row is put aside.
- ``split`` counts where a row names train, validation (val, dev), decision or test; whole groups only. Else groups are split at random.
"""

import ast
import hashlib
import json
import os
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from string import ascii_uppercase as LETTERS
from typing import Any, Literal

from echodistill.audio.files import TooLong, decode_bytes, read_file
from echodistill.audio.stored import Decoded
from echodistill.datasets.manifest import Fields, RowError, below, rows
from echodistill.datasets.missing import NO_AUDIO
from echodistill.datasets.parquet_rows import Embedded, read_embedded
from echodistill.datasets.sources import Raw, SourceClip, SourceClips, SourceQuestion, split_groups
from echodistill.errors import UserError
from echodistill.models.prompts import folded
from echodistill.params import CorpusParams
from echodistill.paths import fault_of_path, unwatched
from echodistill.records import SPLITS, Quarantined

AnswersAs = Literal["text", "letter", "number"]
"""How a manifest is known to write its answers."""
SPLIT_NAMES = {split: split for split in SPLITS} | {"val": "validation", "dev": "validation"}
_LABEL = re.compile(r"(?:[(（]([A-Za-z]|\d{1,2})[)）]\s*|([A-Za-z]|\d{1,2})(?:[.):]\s+|[.)](?=[^\W\d]{2})|[．）：、]\s*))(?=\S)")


@dataclass(frozen=True)
class _Asked:
    """A good row: a question, and the clip it is about."""

    row: str
    recording: Path | Embedded
    group: str
    split: str
    """As written; empty where the row names none."""
    question: SourceQuestion


def read(params: CorpusParams, seed: int) -> SourceClips:
    """Read the manifest; recordings are decoded later. Bad rows are quarantined with their reason.

    Raises ``UserError`` when the manifest is missing, empty, not UTF-8 or not of its format.
    """
    manifest = below(Path(params.path), params.manifest)
    return read_rows(((f"{manifest.name}:{place}", fields) for place, fields in rows(manifest)), params, seed)


def read_rows(
    places: Iterable[tuple[str, Fields | RowError]], params: CorpusParams, seed: int, answers: AnswersAs | None = None
) -> SourceClips:
    """The same for rows that are read already: each row's place, and its fields by this module's names or its fault.

    ``answers`` is the reading that counts where an answer can be read in several ways; ``None``: such a row is put aside.
    """
    root = Path(params.path)
    asked: list[_Asked] = []
    quarantined: list[Quarantined] = []
    ids: set[str] = set()
    group_of: dict[Path | Embedded, str] = {}
    for place, fields in places:
        row = place
        try:
            if isinstance(fields, RowError):
                raise fields
            question_id = _text(fields, "id")
            row += f" (id {question_id})"
            good = _row(fields, row, root, answers)
            if question_id in ids:
                raise RowError("the id stands twice")
            if group_of.setdefault(good.recording, good.group) != good.group:
                raise RowError(f"the recording is of group {group_of[good.recording]!r} in a row before, here of {good.group!r}")
        except RowError as error:
            quarantined.append(Quarantined(row, str(error)))
            continue
        ids.add(question_id)
        asked.append(good)
    if not asked and not quarantined:
        raise UserError(f"{root / params.manifest} is empty: give one row a question")
    named = any(row.split.casefold() in SPLIT_NAMES for row in asked)
    asked, splits = _named_splits(asked, quarantined) if named else (asked, _drawn_splits(asked, params, seed))
    return SourceClips(_clips(asked, root, params.max_duration_s), splits, quarantined, drawn=not named)


def _clips(asked: Sequence[_Asked], root: Path, max_duration_s: float) -> list[SourceClip]:
    """One clip a recording, in the manifest's order."""
    of_clip: dict[Path | Embedded, list[_Asked]] = {}
    for row in asked:
        of_clip.setdefault(row.recording, []).append(row)
    return [
        SourceClip(
            clip_id=_name(recording, root),
            group=about[0].group,
            source=str(recording),
            fetch=partial(_fetch, recording),
            decode=partial(_decode, str(recording), max_duration_s),
            questions=tuple(row.question for row in about),
        )
        for recording, about in of_clip.items()
    ]


def _fetch(recording: Path | Embedded) -> Raw:
    return Raw((read_embedded(recording) if isinstance(recording, Embedded) else read_file(recording),))


def _decode(name: str, max_duration_s: float, raw: Raw) -> tuple[Decoded, str]:
    (content,) = raw.parts
    try:
        return decode_bytes(content, name, max_duration_s), hashlib.sha256(content).hexdigest()
    except TooLong as error:
        raise UserError(f"{error} (corpus.max_duration_s)") from error


def _name(recording: Path | Embedded, root: Path) -> str:
    return Path(os.path.relpath(str(recording), root)).as_posix()


def _drawn_splits(asked: list[_Asked], params: CorpusParams, seed: int) -> dict[str, str]:
    if named := sorted({row.split for row in asked if row.split}):
        print(f"{params.manifest}: split {', '.join(named)} is none of {', '.join(SPLITS)}: the column is not looked at")
        print("for a published benchmark, name it in corpus.source: its test rows stay test rows then")
    return split_groups([row.group for row in asked], params, seed)


def _named_splits(asked: list[_Asked], quarantined: list[Quarantined]) -> tuple[list[_Asked], dict[str, str]]:
    """The rows that keep a split, and the split of each group."""
    named_of: dict[str, set[str]] = {}
    for row in asked:
        named_of.setdefault(row.group, set()).add(SPLIT_NAMES.get(row.split.casefold(), row.split))
    kept = []
    for row in asked:
        named = sorted(named_of[row.group])
        if len(named) > 1:
            quarantined.append(Quarantined(row.row, f"group {row.group!r} stands in several splits: {named}"))
        elif named[0] not in SPLIT_NAMES:
            quarantined.append(Quarantined(row.row, f"split {row.split!r} is none of {', '.join(SPLITS)}"))
        else:
            kept.append(row)
    return kept, {row.group: SPLIT_NAMES[row.split.casefold()] for row in kept}


def _row(fields: Fields, row: str, root: Path, answers: AnswersAs | None) -> _Asked:
    question_id, question = _text(fields, "id"), _text(fields, "question")
    embedded = fields.get("audio_path")
    recording = embedded if isinstance(embedded, Embedded) else _audio(_text(fields, "audio_path", "audio_id"), root)
    choices = _choices(fields)
    if "answer" not in fields:
        raise RowError("no field 'answer'")
    answer = _answer(fields["answer"], choices, answers)
    group = _text(fields, "group", "speaker") if fields.keys() & {"group", "speaker"} else _name(recording, root)
    split = _text(fields, "split") if "split" in fields else ""
    return _Asked(row, recording, group, split, SourceQuestion(question_id, question, choices.texts, choices.texts[answer]))


def _text(fields: Fields, *names: str) -> str:
    """The first of the fields that is there, as text."""
    for name in names:
        if name in fields:
            return _as_text(fields[name], f"field {name!r}")
    raise RowError(f"no field {' or '.join(map(repr, names))} among {', '.join(fields)}")


def _as_text(value: Any, what: str) -> str:
    if not isinstance(value, str | int | float):
        kind = {list: "a list", tuple: "a list", type(None): "null"}.get(type(value), "an object")
        raise RowError(f"{what} is {kind}, not text")
    text = str(value).strip()
    if not text:
        raise RowError(f"{what} is empty")
    if any(unicodedata.category(character) == "Cs" for character in text):
        raise RowError(f"{what} holds half a character (a lone surrogate)")
    return text


def _audio(written: str, root: Path) -> Path:
    """The recording's path. What a link to a file points to is the owner's affair; a linked folder is not watched."""
    base = os.path.abspath(root)
    path = os.path.normpath(os.path.join(base, written))
    if os.path.commonpath([base, path]) != base:
        raise RowError(f"audio path {written!r} leaves the folder")
    for candidate in (path, f"{path}.wav"):
        if os.path.isfile(candidate):
            recording = root / os.path.relpath(candidate, base)
            if fault := unwatched(recording, root):
                raise RowError(f"audio path {written!r}: {fault}")
            return recording
    fault = fault_of_path(Path(path))
    raise RowError(f"{NO_AUDIO}: {written}" + (f" ({fault})" if fault not in ("", NO_AUDIO) else ""))


@dataclass(frozen=True)
class _Choices:
    texts: tuple[str, ...]
    """Without their labels, where these are A, B, C .. or 1, 2, 3 .. in order."""
    first_number: int
    labels: tuple[str, ...] = ()
    """In another order, or with gaps: they are left in the texts, and say which choice a letter or number means."""


def _choices(fields: Fields) -> _Choices:
    first_number = 0
    if "choices" in fields:
        raw = _parsed_list(fields["choices"])
    else:
        raw, first_number = _column_choices(fields)
    choices = [_as_text(choice, f"choice {number}") for number, choice in enumerate(raw, start=1)]
    if not 2 <= len(choices) <= len(LETTERS):
        raise RowError(f"{len(choices)} choices; 2 to {len(LETTERS)} can be asked")
    matches = [match for choice in choices if (match := _LABEL.match(choice))]
    labels = tuple(_label(match) for match in matches) if len(matches) == len(choices) else ()
    numbers = [[str(number) for number in range(first, first + len(choices))] for first in (0, 1)]
    bare = [choice[match.end() :] for choice, match in zip(choices, matches, strict=False)]
    numbered = list(labels) in numbers and len({folded(choice) for choice in bare}) == len(choices)  # not "1: 30 pm", "2: 30 pm"
    if numbered or list(labels) == list(LETTERS[: len(choices)]):
        choices = bare
        first_number = int(labels[0]) if labels[0].isdigit() else first_number
        labels = ()
    names = [folded(choice) for choice in choices]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise RowError(f"choice {repeated[0]!r} stands twice")
    return _Choices(tuple(choices), first_number, labels)


def _parsed_list(value: Any) -> Sequence[Any]:
    if isinstance(value, str):
        for parse in (json.loads, ast.literal_eval):
            try:
                value = parse(value)
                break
            except (ValueError, SyntaxError, MemoryError, RecursionError):
                continue
    if not isinstance(value, list | tuple) or any(isinstance(choice, list | tuple) for choice in value):
        raise RowError("field 'choices' is no list of texts: write ['red', 'blue']")
    return value


def _column_choices(fields: Fields) -> tuple[list[Any], int]:
    """Choices from columns; a gap would shift the letters behind it."""
    for names, first_number in (
        ([f"choice_{letter}" for letter in LETTERS.lower()], 0),
        (list(LETTERS.lower()), 0),
        ([f"choice_{number}" for number in range(1, len(LETTERS) + 1)], 1),
    ):
        if found := [name for name in names if name in fields]:
            if found != names[: len(found)]:
                raise RowError(f"choices stand in {', '.join(found)}: one between is empty")
            return [fields[name] for name in found], first_number
    raise RowError("no field 'choices'")


def _label(match: re.Match[str]) -> str:
    return (match[1] or match[2]).upper()


def _answer(value: Any, asked: _Choices, written_as: AnswersAs | None) -> int:
    """The right choice's index."""
    choices, first_number = asked.texts, asked.first_number
    text = _as_text(value, "field 'answer'")
    names = [folded(choice) for choice in choices]
    letters = LETTERS[: len(choices)]
    readings: dict[AnswersAs, set[int]] = {"text": set(), "number": set(), "letter": set()}
    if folded(text) in names:
        readings["text"] = {names.index(folded(text))}
    is_number = isinstance(value, int) and not isinstance(value, bool)
    if is_number or (re.fullmatch("[0-9]{1,3}", text) and (written_as == "number" or not readings["text"])):
        first_number = 0 if written_as == "number" else first_number
        readings["number"] = {int(text) - first_number} & set(range(len(choices)))
    if (bare := re.fullmatch(r"\(?([A-Za-z])[.):]?", text)) and bare[1].upper() in letters:
        readings["letter"] = {letters.index(bare[1].upper())}
    written = text.strip("().:").upper()
    labelled = {index for index, label in enumerate(asked.labels) if not readings["text"] and written == label}
    if asked.labels and not labelled and readings["letter"] | readings["number"] and not readings["text"]:
        raise RowError(f"answer {text!r} is no label of the choices {list(choices)}, and they have labels")
    if labelled and labelled != (readings["letter"] | readings["number"] or labelled):
        raise RowError(
            f"answer {text!r} is the label of one choice of {list(choices)} and the place of another: label them A, B, C .. in order, "
            "or write the choice's text"
        )
    named = (readings[written_as] if written_as else set()) or set.union(*readings.values()) or labelled
    if (match := _LABEL.match(text)) and not named and (behind := folded(text[match.end() :])) in names:
        named = {names.index(behind)}
        if _label(match) not in (letters[names.index(behind)], str(names.index(behind) + first_number)):
            raise RowError(f"answer {text!r}: the letter is not that choice's letter among {list(choices)}")
    if len(named) > 1:
        raise RowError(f"answer {text!r} is the text of one choice and the letter or number of another: write '(B) red'")
    if not named:
        raise RowError(f"answer {text!r} is not among the choices {list(choices)}")
    return named.pop()

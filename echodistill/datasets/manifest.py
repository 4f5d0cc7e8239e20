"""Rows of a manifest in JSONL, JSON (a list) or CSV: each as fields by name, or why it cannot be read."""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from echodistill.errors import UserError
from echodistill.paths import unwatched

Fields = dict[str, Any]


class RowError(Exception):
    """Why a row cannot be used."""


class _Pairs(list[tuple[str, Any]]):
    """A JSON object or CSV row as pairs, so that a key that stands twice is seen."""


def below(folder: Path, name: str) -> Path:
    """The manifest ``name`` in ``corpus.path``. Raises ``UserError`` for one that lies elsewhere: no change of it would be noticed."""
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise UserError(f"corpus.manifest {name} leads out of corpus.path ({folder}): put it there, or set corpus.path to hold both")
    if fault := unwatched(folder / name, folder):
        raise UserError(f"corpus.manifest {name}: {fault}")
    return folder / name


def rows(manifest: Path) -> Iterator[tuple[str, Fields | RowError]]:
    """Each row's place (its first line, or "item 3") and its fields by lower-case name, without the empty ones.

    Raises ``UserError`` when the file is missing, not UTF-8 or not of the format its name tells.
    """
    for place, raw in _raw_rows(manifest):
        try:
            yield place, _fields(raw)
        except RowError as error:
            yield place, error


def _fields(raw: Any) -> Fields:
    if isinstance(raw, RowError):
        raise raw
    if not isinstance(raw, _Pairs):
        raise RowError("not a JSON object")
    fields: Fields = {}
    for key, value in raw:
        name = key.strip().casefold()
        if name and name in fields:
            raise RowError(f"field {name!r} stands twice")
        fields[name] = value.strip() if isinstance(value, str) else value
    return {name: value for name, value in fields.items() if value is not None and value != ""}


def _raw_rows(manifest: Path) -> Iterator[tuple[str, Any]]:
    try:
        text = manifest.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"{manifest}: {error.strerror}: set corpus.path and corpus.manifest") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{manifest}: byte {error.start} is not UTF-8: save the manifest as UTF-8") from error
    suffix = manifest.suffix.lower()
    if suffix == ".csv":
        return _csv_rows(manifest, text)
    if suffix not in (".jsonl", ".json", ".ndjson"):
        raise UserError(f"{manifest}: the name of a manifest ends in .jsonl, .json or .csv")
    if text.lstrip().startswith("["):
        return _json_list(manifest, text)
    if wrapped := _one_object(text):
        raise UserError(f"{manifest} holds {wrapped}: give the rows as a list, [{{...}}, {{...}}], or one object a line")
    return _json_lines(text)


def _one_object(text: str) -> str:
    """What a file that is neither a list nor lines holds; nothing where it may be lines."""
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError):
        return ""
    if not isinstance(whole, dict):
        return ""
    lists = [key for key, value in whole.items() if value and isinstance(value, list) and isinstance(value[0], dict)]
    if lists and not whole.keys() & {"id", "question"}:
        return f"its rows under the key {lists[0]!r}"
    return "one object over several lines" if "\n" in text.strip() else ""


def _json_lines(text: str) -> Iterator[tuple[str, Any]]:
    # not splitlines: JSON strings may hold U+2028, which is no line's end
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                yield str(number), json.loads(line, object_pairs_hook=_Pairs)
            except (ValueError, RecursionError) as error:
                yield str(number), RowError(f"not valid JSON: {error}")


def _json_list(manifest: Path, text: str) -> Iterator[tuple[str, Any]]:
    try:
        items = json.loads(text, object_pairs_hook=_Pairs)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{manifest} is not valid JSON: {error}") from error
    yield from ((f"item {number}", item) for number, item in enumerate(items, start=1))


def _csv_rows(manifest: Path, text: str) -> Iterator[tuple[str, Any]]:
    first = text.partition("\n")[0]
    if "," not in first and (mark := next((mark for mark in ";\t" if mark in first), "")):
        raise UserError(f"{manifest}: its columns stand apart by {mark!r}: save it with commas between")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    start = 1
    header: list[str] = []
    try:
        for cells in reader:
            if not header:
                header = cells
            elif len(cells) > len(header):
                yield str(start), RowError(f"{len(cells)} cells in {len(header)} columns: put quotation marks around commas")
            elif cells:
                yield str(start), _Pairs(zip(header, cells, strict=False))
            start = reader.line_num + 1
    except csv.Error as error:
        # where a quotation mark is out of place, no later row can be trusted
        raise UserError(f"{manifest}:{start}: {error}: mend the quotation marks of this row") from error

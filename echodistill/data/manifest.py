"""Read the rows of a manifest in JSONL, JSON (a list) or CSV: each as fields by name, or the reason
why it cannot be read.
"""

import csv
import io
import json
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from echodistill.core.counted import counted
from echodistill.core.errors import UserError
from echodistill.core.paths import linked_folder_fault
from echodistill.data.manifest_text import ENDINGS, read_text

Fields = dict[str, Any]
_HEADER = re.compile(r"(?:.*_)?(?:id|question|answer|choices?|audio|prompt|path)(?:_.*)?", re.I)
"""Pattern of column names, of which any manifest has at least one."""
_LINE_END = re.compile("\r\n|\n|\r")
_SEPARATOR = re.compile(r'"?sep=(.)"?[,;\t]*', re.I)
"""First line that states the separator of the columns for Excel."""


class RowError(Exception):
    """The reason why a row cannot be used."""


class DuplicateField:
    """The value of a field that a row gives twice. It is unknown which one is meant, so reading
    this field is refused, but not the row's other fields.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __str__(self) -> NoReturn:
        raise RowError(f"field {self._name!r} is given twice")


class _Pairs(list[tuple[str, Any]]):
    """A JSON object or CSV row as pairs, so that a repeated key is noticed."""


def path_below(folder: Path, name: str) -> Path:
    """Return the path of the manifest ``name`` in ``corpus.path``.

    Raise ``UserError`` where it is outside that folder, or where DVC would notice no change of it.
    """
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise UserError(
            f"corpus.manifest {name} is outside corpus.path ({folder}): put it there, or set"
            " corpus.path to hold both"
        )
    if fault := linked_folder_fault(folder / name, folder):
        raise UserError(f"corpus.manifest {name}: {fault}")
    return folder / name


def rows(manifest: Path) -> Iterator[tuple[str, Fields | RowError]]:
    """Yield each row's place (its first line, or "item 3") and its fields by lower-case name,
    without the empty ones, or its fault.

    Raise ``UserError`` when the file is missing, is not text or not of the format that its name
    gives.
    """
    for place, raw in _raw_rows(manifest):
        try:
            yield place, _fields(raw)
        except RowError as error:
            yield place, error


def present(fields: Fields) -> Fields:
    """Return the fields that hold a value, with texts stripped of surrounding blanks. An empty
    cell, null and NaN are no values.
    """
    stripped = {
        name: value.strip() if isinstance(value, str) else value for name, value in fields.items()
    }
    # Data frames write NaN for an empty cell; NaN is the one value that differs from itself.
    return {
        name: value
        for name, value in stripped.items()
        if value is not None and value != "" and not _is_nan(value)
    }


def _is_nan(value: object) -> bool:
    return isinstance(value, float) and value != value


def _fields(raw: Any) -> Fields:
    """Return the values by field name, with ``DuplicateField`` for a repeated field. Raise
    ``RowError`` where ``raw`` is not a row.
    """
    if isinstance(raw, RowError):
        raise raw
    if not isinstance(raw, _Pairs):
        raise RowError("not a JSON object")
    fields: Fields = {}
    for key, value in raw:
        name = key.strip().casefold()
        fields[name] = DuplicateField(name) if name in fields else value
    return present(fields)


def _raw_rows(manifest: Path) -> Iterator[tuple[str, Any]]:
    text = read_text(manifest)
    suffix = manifest.suffix.lower()
    if suffix not in ENDINGS:
        raise UserError(f"{manifest}: the name of a manifest ends in .jsonl, .json or .csv")
    separator_line, text = _declared_separator(text) if suffix == ".csv" else (None, text)
    left_out, text = _without_comments(text, separator_line or ",")
    if left_out:
        print(f"{manifest}: comment lines at the beginning, which are no rows: {left_out}")
    if suffix == ".csv":
        if separator_line is None and left_out:  # The comments may also precede the line for Excel.
            separator_line, text = _declared_separator(text)
        return _csv_rows(manifest, text, left_out + (separator_line is not None), separator_line)
    if text.lstrip().startswith("["):
        return _json_list(manifest, text)
    if wrapped := _one_object(text):
        raise UserError(
            f"{manifest} holds {wrapped}: give the rows as a list, [{{...}}, {{...}}], or one"
            " object a line"
        )
    return _json_lines(text, left_out)


def _declared_separator(text: str) -> tuple[str | None, str]:
    """Return the separator that a first line for Excel states, and the text after that line;
    ``None`` and the whole text without such a line.
    """
    first, rest = _first_line(text)
    separator_line = _SEPARATOR.fullmatch(first)
    return (separator_line[1], rest) if separator_line else (None, text)


def _without_comments(text: str, separator: str) -> tuple[int, str]:
    """Return the number of comment lines at the beginning, and the text after them. A header may
    itself begin with ``#``.
    """
    left_out = 0
    while text.lstrip(' "').startswith("#"):
        first, rest = _first_line(text)
        if any(_HEADER.fullmatch(cell.strip(' #"')) for cell in first.split(separator)):
            break
        left_out, text = left_out + 1, rest
    return left_out, text


def _first_line(text: str) -> tuple[str, str]:
    """Return the first line, and the text after its end."""
    first, *rest = re.split(_LINE_END, text, maxsplit=1)
    return first, "".join(rest)


def _one_object(text: str) -> str:
    """Describe a file that is neither a list nor JSON lines; return an empty string where it may be
    lines.
    """
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError):
        return ""
    if not isinstance(whole, dict):
        return ""
    lists = [
        key
        for key, value in whole.items()
        if value and isinstance(value, list) and isinstance(value[0], dict)
    ]
    if lists and not whole.keys() & {"id", "question"}:
        return f"its rows under the key {lists[0]!r}"
    return "one object over several lines" if "\n" in text.strip() else ""


def _json_lines(text: str, before: int) -> Iterator[tuple[str, Any]]:
    # `splitlines` would not do: it also splits at U+2028, which JSON strings may hold.
    for number, line in enumerate(re.split(_LINE_END, text), start=before + 1):
        if line.strip():
            try:
                yield str(number), json.loads(line, object_pairs_hook=_Pairs)
            except (ValueError, RecursionError) as error:
                yield str(number), RowError(f"not valid JSON: {_in_line(error)}")


def _json_list(manifest: Path, text: str) -> Iterator[tuple[str, Any]]:
    try:
        items = json.loads(text, object_pairs_hook=_Pairs)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{manifest} is not valid JSON: {_item_at_fault(text)}{error}") from error
    yield from ((f"item {number}", item) for number, item in enumerate(items, start=1))


def _in_line(error: Exception) -> str:
    """Return the message on one line of JSON, without the number of that line, which is 1 for every
    line that is read by itself.
    """
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at column {error.colno}"
    return str(error)


def _after_blanks(text: str, place: int) -> int:
    while text[place : place + 1].isspace():
        place += 1
    return place


def _item_at_fault(text: str) -> str:
    """Return the item of a JSON list that cannot be read, as the beginning of a message.

    The list may be on a single line, in which case the line's number would name nothing.
    """
    decoder, item, place = json.JSONDecoder(), 1, text.index("[") + 1
    with suppress(ValueError, RecursionError):
        while True:
            _, place = decoder.raw_decode(text, _after_blanks(text, place))
            place = _after_blanks(text, place)
            if text[place : place + 1] != ",":
                return f"after item {item}: "
            item, place = item + 1, place + 1
    return f"item {item}: "


def _csv_rows(
    manifest: Path, text: str, before: int, separator_line: str | None
) -> Iterator[tuple[str, Any]]:
    first, _ = _first_line(text)
    if (
        separator_line is None
        and "," not in first
        and (mark := next((mark for mark in ";\t" if mark in first), ""))
    ):
        raise UserError(f"{manifest}: its columns are separated by {mark!r}: save it with commas")
    separator = separator_line or ","
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=separator)
    start = before + 1
    header: list[str] = []
    try:
        for cells in reader:
            if not header:
                header = [cell.lstrip("# ") for cell in cells[:1]] + cells[1:]
            elif not any(
                cell.strip() for cell in cells
            ):  # Spreadsheets may end with rows of empty cells, which are skipped.
                pass
            elif len(cells) > len(header):
                yield (
                    str(start),
                    RowError(
                        f"{counted(len(cells), 'cell')} in {counted(len(header), 'column')}: put"
                        f" quotation marks around"
                        " commas"
                    ),
                )
            else:
                yield str(start), _Pairs(zip(header, cells, strict=False))
            start = before + reader.line_num + 1
    except csv.Error as error:
        # After a misplaced quotation mark no later row can be trusted.
        raise UserError(
            f"{manifest}:{start}: {error}: fix the quotation marks of this row"
        ) from error

"""Read a parquet file that holds its recordings itself, as on the Hugging Face hub: in a column of
{bytes, path}.

A recording stays in the file until it is fetched.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Lock

import pyarrow as pa
import pyarrow.parquet as pq

from echodistill.core.errors import UserError
from echodistill.data.manifest import Fields, present
from echodistill.data.manifest_text import PARQUET, check_content
from echodistill.data.missing import NO_AUDIO

_READING = Lock()  # Threads that need the same row group at once read it only once.


@dataclass(frozen=True)
class Embedded:
    """A recording inside a parquet file."""

    file: Path
    column: str
    row_group: int
    index: int
    """Index of the row in its row group, from 0."""
    row: int
    """Number of the row in the file, from 1."""

    def __str__(self) -> str:
        return f"{self.file}#{self.row}"


def rows(file: Path) -> Iterator[tuple[str, Fields]]:
    """Yield each row's place ("row 3") and its fields by lower-case name, without the empty ones;
    recordings are given as ``Embedded``.

    Raise ``UserError`` when the file is missing or not parquet.
    """
    parquet = _open(file)
    recordings = _recordings(parquet)
    others = [name for name in parquet.schema_arrow.names if name not in recordings]
    row = 0
    for row_group in range(parquet.num_row_groups):
        with _readable(file):
            read = parquet.read_row_group(row_group, columns=others).to_pylist()
        for index, values in enumerate(read):
            row += 1
            values |= {
                column: Embedded(file, column, row_group, index, row) for column in recordings
            }
            yield (
                f"row {row}",
                present({name.strip().casefold(): value for name, value in values.items()}),
            )


def embedded_at(name: str) -> Embedded | None:
    """Return the recording whose text form is ``name``; ``None`` where the file is missing or no
    longer has such a row.
    """
    if (
        not (match := re.fullmatch(r"(.+\.parquet)#([1-9][0-9]*)", name))
        or not Path(match[1]).is_file()
    ):
        return None
    return _by_row(Path(match[1])).get(int(match[2]))


@lru_cache(maxsize=1)  # All clips of a file are looked up in sequence, so one file is kept.
def _by_row(file: Path) -> dict[int, Embedded]:
    found = (
        value
        for _, fields in rows(file)
        for value in fields.values()
        if isinstance(value, Embedded)
    )
    return {recording.row: recording for recording in found}


def read_embedded(recording: Embedded) -> bytes:
    """Return a recording's bytes, not decoded. Raise ``UserError`` naming the row when there are
    none.
    """
    with _READING:
        cells = _cells(recording.file, recording.column, recording.row_group)
    cell = cells[recording.index].as_py()
    if not cell:
        raise UserError(f"{NO_AUDIO}: {recording}: column {recording.column!r} holds none")
    return bytes(cell)


# Clips are fetched in order, so each row group is read once. Two are kept, because threads run
# ahead.
@lru_cache(maxsize=2)
def _cells(file: Path, column: str, row_group: int) -> pa.ChunkedArray:
    parquet = _open(file)
    with _readable(file):
        return (
            parquet.read_row_group(row_group, columns=[f"{column}.bytes"])
            .flatten()
            .column(f"{column}.bytes")
        )


def _recordings(parquet: pq.ParquetFile) -> list[str]:
    """Return the names of the columns that hold recordings."""
    columns = parquet.schema_arrow
    return [
        column.name
        for column in columns
        if pa.types.is_struct(column.type) and column.type.get_field_index("bytes") >= 0
    ]


def _open(file: Path) -> pq.ParquetFile:
    with _readable(file):
        with file.open("rb") as opened:
            start = opened.read(64)
        if not start.startswith(PARQUET):
            check_content(file, start)
        return pq.ParquetFile(file)


@contextmanager
def _readable(file: Path) -> Iterator[None]:
    """Raise ``UserError`` where the file is missing, damaged or not parquet."""
    try:
        yield
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UserError(
            f"{file} cannot be read as parquet ({error}): set corpus.path and corpus.manifest, or"
            " fetch it again"
        ) from error

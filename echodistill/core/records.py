"""The rows that stages exchange, each with its parquet schema.

Each concept has one word: *clip* (audio), *question* (about a clip), *mix* (clip + noise recipe),
*reference* (the clean teacher's answer), *answer* (a model's reply in evaluation).
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import pyarrow as pa
import pyarrow.parquet as pq

from echodistill.core.atomic import atomic_path
from echodistill.core.errors import UserError
from echodistill.core.prompt_style import PromptStyle

SPLITS = ("train", "validation", "decision", "test")
"""The splits in the order of their use: to train, to choose settings, to decide on a promotion, to
report.
"""
PRETRAIN = "pretrain"
"""Split of clips that ``nano`` alone is pre-trained on. Without such clips it is pre-trained on the
split ``train``.
"""
ALL_SPLITS = (PRETRAIN, *SPLITS)
GRIDS = {"test": "grid.parquet", "decision": "decision_grid.parquet"}
"""The splits that every system must answer, each with the file in the mixes folder that lists the
questions and mixes.
"""


@dataclass(frozen=True)
class Clip:
    """One recording, stored as 16 kHz mono FLAC in a shard."""

    clip_id: str
    group: str
    """Speaker, voice or recording; no group occurs in two splits."""
    split: str
    transcript: str | None
    """The spoken words, where they are known."""
    source: str
    """Origin of the clip: a file, or the voice that spoke it."""
    source_sha256: str
    """SHA-256 of the bytes that the clip was made from."""
    sha256: str
    """SHA-256 of the stored FLAC bytes."""
    source_rate: int
    """Sampling rate in Hz before resampling."""
    duration_s: float
    level_dbfs: float
    """Mean power over the full clip."""
    shard: str
    offset: int
    size: int
    """Number of bytes in the shard, from ``offset`` on."""
    caption: str | None = None
    """Description of the sound beside the words, where it is known."""


@dataclass(frozen=True)
class Question:
    """A question about a clip."""

    question_id: str
    clip_id: str
    split: str
    question: str
    choices: tuple[str, ...]
    """The offered answers; empty for an open question."""
    answer: str
    """The text of the right choice, or the right answer to an open question."""
    answer_index: int | None
    """Number of the right choice; ``None`` for an open question."""
    style: PromptStyle = "direct"
    task: str = ""
    """Task family of a built-in question (``data/tasks``); empty for other sources."""
    solution: str | None = None
    """Worked steps that lead to the answer, where the source knows them."""


@dataclass(frozen=True)
class Quarantined:
    """An input row that was left out, and the reason."""

    row: str
    reason: str


@dataclass(frozen=True)
class MixCheck:
    """Measurements of a rendered mix."""

    mix_id: str
    realised_snr_db: float | None
    """SNR in dB of the rendered waveforms; ``None`` when clean."""
    gain: float
    """The factor that scaled both views to prevent clipping."""
    peak: float
    """Largest absolute sample of both views; full scale is 1."""


@dataclass(frozen=True)
class GridRow:
    """One item of a grid (``GRIDS``): a question under a mix of its clip."""

    mix_id: str
    question_id: str


@dataclass(frozen=True)
class Reference:
    """The clean teacher's greedy response to a training question."""

    question_id: str
    key: str
    """Content address of the response in the reference cache."""
    response: str
    token_ids: tuple[int, ...]
    """Tokens of the response, including the end-of-turn token."""
    truncated: bool
    """Whether the response was cut at the length limit before the model ended it."""
    parsed: str | None
    """The answer that the response gives: the text of the choice that it names, or its open answer
    in normal form; ``None`` where it gives none.
    """
    correct: bool


@dataclass(frozen=True)
class Answer:
    """A model's greedy reply to a question about one mix."""

    mix_id: str
    question_id: str
    noise_kind: str
    snr_db: float | None
    response: str
    truncated: bool
    """Whether the response was cut at the length limit before the model ended it."""
    response_tokens: int
    """Number of tokens of the response, its end token included."""
    choice_log_probs: tuple[float, ...]
    """Log-probability in nats of each choice's text with its end token, given the prompt; empty for
    open questions.
    """
    choice_tokens: tuple[int, ...]
    """Number of tokens of each choice, its end token included."""


Row = TypeVar("Row")
DIGEST = b"echodistill.sha256"
"""Key in a parquet file's metadata of the hash of its rows."""
_ARROW = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}


def _arrow_type(hint: Any) -> tuple[pa.DataType, bool]:
    """Return the arrow type of an annotation, and whether it may be null."""
    if get_origin(hint) in (Union, UnionType):
        inner = [part for part in get_args(hint) if part is not type(None)]
        return _arrow_type(inner[0])[0], True
    if get_origin(hint) is Literal:
        return _ARROW[type(get_args(hint)[0])], False
    if get_origin(hint) is tuple:
        return pa.list_(_ARROW[get_args(hint)[0]]), False
    return _ARROW[hint], False


def schema_of(row_type: type) -> pa.Schema:
    """Return the parquet schema of a row type: one column for each field, nullable only where the
    annotation allows ``None``.
    """
    hints = get_type_hints(row_type)
    columns = []
    for field in fields(row_type):
        arrow, nullable = _arrow_type(hints[field.name])
        columns.append(pa.field(field.name, arrow, nullable=nullable))
    return pa.schema(columns)


def write_rows(path: Path, row_type: type[Row], rows: Iterable[Row]) -> None:
    """Write rows to a parquet file whose bytes are the same for the same rows. The file appears
    whole or not at all.
    """
    table = pa.Table.from_pylist([asdict(row) for row in rows], schema=schema_of(row_type))  # type: ignore[call-overload]
    table = table.replace_schema_metadata({DIGEST: _digest(table.to_pylist())})
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, compression="zstd", write_page_checksum=True)


def _digest(rows: Sequence[Mapping[str, object]]) -> str:
    """Return a SHA-256 of rows as they are read. It also covers the metadata that determines how
    the pages are read, which parquet's own checksums leave out.
    """
    return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()


def read_rows(path: Path, row_type: type[Row]) -> list[Row]:
    """Return the rows of a parquet file. Raise ``UserError`` when the file is missing, damaged or
    has other columns.
    """
    if not path.is_file():
        raise UserError(f"{path} is missing: run the stage that makes it with `echodistill run`")
    try:
        # `ParquetFile` reads the file alone: `read_table` would make a column of a folder named
        # "a=b".
        table = pq.ParquetFile(path, page_checksum_verification=True).read()
    except (
        pa.ArrowException,
        OSError,
        UnicodeDecodeError,
    ) as error:  # Damage in different places raises different errors.
        raise UserError(
            f"{path} is damaged or cannot be read ({error}): delete it and run `echodistill run`"
        ) from error
    schema = schema_of(row_type)
    if table.schema != schema:
        found, wanted = (
            ", ".join(f"{field.name} {field.type}" for field in part)
            for part in (table.schema, schema)
        )
        raise UserError(
            f"{path} has columns {found}; expected {wanted}: delete it and run `echodistill run`"
        )
    rows = table.to_pylist()
    # Files of earlier versions have no digest.
    recorded = (table.schema.metadata or {}).get(DIGEST)
    if recorded is not None and recorded.decode(errors="replace") != _digest(rows):
        raise UserError(
            f"{path} is damaged (its rows are not those that were written): delete it and run"
            " `echodistill run`"
        )
    lists = [field.name for field in schema if pa.types.is_list(field.type)]
    return [row_type(**{**row, **{name: tuple(row[name]) for name in lists}}) for row in rows]

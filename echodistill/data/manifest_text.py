"""Decode a manifest from any Unicode encoding, or name the kind of a file that is not a text."""

import json
import re
from pathlib import Path

from echodistill.core.errors import UserError

ENDINGS = (".jsonl", ".json", ".ndjson", ".csv")
SHOWN = 3
"""Maximum number of manifests that are named where the given one is missing."""
TABLE = (
    "write its rows as JSONL, e.g. with pandas: DataFrame.to_json(NAME, orient='records',"
    " lines=True)"
)
UNPACK = "unpack it, and name what is in it"
FETCH = "fetch the file itself"
PARQUET = b"PAR1"
MAX_ZEROS = 0.2
"""A larger share of zero characters than this indicates another encoding, or no text at all."""
NO_TEXT = (
    (PARQUET, "a parquet file", f"{TABLE}; of a published benchmark its name ends in .parquet"),
    (b"ARROW1", "a Feather file", TABLE),
    (b"\xff\xff\xff\xff", "an Arrow stream", TABLE),
    (b"SQLite format 3\0", "a SQLite database", TABLE),
    (b"\x89HDF\r\n", "an HDF5 file", TABLE),
    (b"\x93NUMPY", "a NumPy file", TABLE),
    (b"\x80\x04\x95", "a pickle", TABLE),
    (b"\x80\x05\x95", "a pickle", TABLE),
    (b"\xd0\xcf\x11\xe0", "an Excel file", "save it as CSV UTF-8"),
    (
        b"PK\x03\x04",
        "a zip archive or an Excel file",
        "unpack the archive, or save the Excel file as CSV UTF-8",
    ),
    (b"\x1f\x8b", "a gzip file", f"{UNPACK}: gunzip"),
    (b"\x28\xb5\x2f\xfd", "a zstd file", UNPACK),
    (b"BZh", "a bzip2 file", UNPACK),
    (b"\xfd7zXZ\0", "an xz file", UNPACK),
    (b"7z\xbc\xaf", "a 7z archive", UNPACK),
    (b"%PDF", "a PDF", "write its rows as JSONL or CSV"),
    (b"version https://git-lfs", "a Git LFS pointer", "fetch the file with `git lfs pull`"),
    (b"<!DOCTYPE", "an HTML page", FETCH),
    (b"<!doctype", "an HTML page", FETCH),
    (b"<html", "an HTML page", FETCH),
    (b"RIFF", "a recording", "name the rows, not a recording"),
    (b"fLaC", "a recording", "name the rows, not a recording"),
)
"""First bytes of files that are no manifests, what these files are, and the cure."""


def read_text(manifest: Path) -> str:
    """Return the text of a manifest in UTF-8, UTF-16 or UTF-32, with or without a byte-order mark.

    Raise ``UserError`` when the file is missing, begins like another kind of file, or is in no
    Unicode encoding.
    """
    try:
        content = manifest.read_bytes()
    except OSError as error:
        present = ", ".join(_manifests_in(manifest.parent)[:SHOWN])
        cure = "set corpus.path and corpus.manifest" + (f" (there: {present})" if present else "")
        raise UserError(f"{manifest}: {error.strerror}: {cure}") from error
    check_content(manifest, content)
    # The encoding is detected from the first characters, which are ASCII in JSON and in a header.
    encoding = json.detect_encoding(content)
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        name = encoding.removesuffix("-sig").upper()
        raise UserError(
            f"{manifest}: byte {error.start} is not {name}: save the manifest as UTF-8"
        ) from error
    if text.count("\0") > MAX_ZEROS * len(text):
        raise UserError(
            f"{manifest} is no UTF-8 but seems to be UTF-16 without a byte-order mark: save the"
            " manifest as UTF-8"
        )
    # A byte-order mark is also inside the text where files with a mark were concatenated.
    return re.sub(r"(?m)^\ufeff", "", text)


def _manifests_in(folder: Path) -> list[str]:
    """Return the names of the files in a folder that may be manifests."""
    try:
        return sorted(path.name for path in folder.iterdir() if path.suffix.lower() in ENDINGS)
    except OSError:
        return []


def check_content(manifest: Path, content: bytes) -> None:
    """Raise ``UserError`` where ``content`` begins like a file that holds no rows as text."""
    found = next(((kind, cure) for start, kind, cure in NO_TEXT if content.startswith(start)), None)
    if found:
        kind, cure = found
        raise UserError(f"{manifest} is {kind}, not rows in JSONL, JSON or CSV: {cure}")

"""Manifests as programs save them: encodings, first lines that are no rows, and files that are no
text.
"""

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from echodistill.core.errors import UserError
from echodistill.data import benchmarks
from tests.corpus_params import corpus_params
from tests.folders import ROW, only_question, only_reason, read, write_recordings

CSV = "id,audio_path,question,choices,answer\nq1,a,Größe?,\"['red', 'blue']\",blue\n"
JSONL = json.dumps(ROW | {"question": "Größe?"}, ensure_ascii=False) + "\n"
ENCODINGS = [
    "utf-8",
    "utf-8-sig",
    "utf-16",
    "utf-16-le",
    "utf-16-be",
    "utf-32",
    "utf-32-le",
    "utf-32-be",
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_recordings(tmp_path)


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize(
    ("name", "text"), [("m.csv", CSV), ("m.jsonl", JSONL), ("m.json", f"[{JSONL}]")]
)
def test_a_manifest_in_any_unicode_encoding(
    root: Path, encoding: str, name: str, text: str
) -> None:
    (root / name).write_bytes(text.encode(encoding))
    assert only_question(read(root, name)).question == "Größe?"


@pytest.mark.parametrize(
    "text",
    [
        "sep=,\n" + CSV,
        "sep=,\r\n" + CSV.replace("\n", "\r\n"),
        '"sep=,"\n' + CSV,
        "SEP=,\n" + CSV,
        "\ufeffsep=,\n" + CSV,
        'sep=;\nid;audio_path;question;choices;answer\nq1;a;Größe?;"[""red"", ""blue""]";blue\n',
        (
            'sep=\t\nid\taudio_path\tquestion\tchoices\tanswer\nq1\ta\tGröße?\t"[""red"",'
            ' ""blue""]"\tblue\n'
        ),
        "# of 2024\n" + CSV,
        "# made by hand, by two people\n#\n# id of the batch: 7\n" + CSV,
        "#" + CSV,
        "# " + CSV,
        CSV.replace("\n", "\r"),
        "# of 2024\r" + CSV.replace("\n", "\r"),
    ],
)
def test_first_lines_that_are_no_rows(root: Path, text: str) -> None:
    (root / "m.csv").write_bytes(text.encode())
    assert only_question(read(root, "m.csv")).question == "Größe?"


@pytest.mark.parametrize(
    "before",
    [
        "sep=,\n# of 2024\n",
        "# of 2024\nsep=,\n",
        '"# of 2024"\n',
        " # of 2024\n",
        '"# of 2024, in two parts",,\n',
        "sep=,\n# a\n# b\n",
    ],
)
def test_comments_on_either_side_of_the_separator_and_in_quotes(root: Path, before: str) -> None:
    (root / "m.csv").write_text(before + CSV, encoding="utf-8")
    assert only_question(read(root, "m.csv"))


def test_rows_of_empty_cells_are_no_rows(root: Path) -> None:
    empty = "," * CSV.splitlines()[0].count(",")
    (root / "m.csv").write_text(f"{CSV}{empty}\n{empty}\n , {empty[2:]}\n", encoding="utf-8")
    assert only_question(read(root, "m.csv"))


def test_a_column_that_is_not_read_may_stand_twice(root: Path) -> None:
    header, row = CSV.splitlines()
    (root / "m.csv").write_text(f"{header},note,note\n{row},1,2\n", encoding="utf-8")
    assert only_question(read(root, "m.csv"))
    (root / "m.csv").write_text(f"{header},group,Group\n{row},1,2\n", encoding="utf-8")
    assert only_reason(read(root, "m.csv")) == "field 'group' is given twice"


def test_rows_behind_first_lines_are_named_by_their_line(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "m.csv").write_text(
        f"# of 2024\nsep=,\n{CSV}q2,none,Q,\"['a', 'b']\",a\n", encoding="utf-8"
    )
    assert [row.row for row in read(root, "m.csv").quarantined] == ["m.csv:5 (id q2)"]
    assert "comment lines at the beginning, which are no rows: 1" in capsys.readouterr().out
    (root / "m.jsonl").write_text(f"# of 2024\n# again\n{JSONL}{{\n", encoding="utf-8")
    assert [row.row for row in read(root, "m.jsonl").quarantined] == ["m.jsonl:4"]


def test_json_behind_comments_and_files_with_a_mark_put_together(root: Path) -> None:
    (root / "m.json").write_text(f"# of 2024\n[{JSONL}]", encoding="utf-8")
    assert only_question(read(root, "m.json")).question == "Größe?"
    other = json.dumps(ROW | {"id": "q2", "audio_path": "b"})
    (root / "m.jsonl").write_bytes(JSONL.encode("utf-8-sig") + other.encode("utf-8-sig"))
    assert [clip.clip_id for clip in read(root, "m.jsonl").clips] == ["a.wav", "b.wav"]
    (root / "m.jsonl").write_bytes((JSONL.strip() + "\r" + other).encode())
    assert [clip.clip_id for clip in read(root, "m.jsonl").clips] == ["a.wav", "b.wav"]


NO_ROWS = [
    (gzip.compress(JSONL.encode()), "a gzip file", "gunzip"),
    (b"PK\x03\x04....", "a zip archive or an Excel file", "save the Excel file as CSV"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1", "an Excel file", "save it as CSV"),
    (b"BZh91AY&SY", "a bzip2 file", "unpack it"),
    (b"\xfd7zXZ\0", "an xz file", "unpack it"),
    (b"\x28\xb5\x2f\xfd\x04", "a zstd file", "unpack it"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it"),
    (b"SQLite format 3\0", "a SQLite database", "to_json"),
    (b"ARROW1\0\0", "a Feather file", "to_json"),
    (b"\x93NUMPY\x01", "a NumPy file", "to_json"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file", "to_json"),
    (b"\x80\x04\x95\x10", "a pickle", "to_json"),
    (b"%PDF-1.7", "a PDF", "as JSONL or CSV"),
    (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
        "a Git LFS pointer",
        "git lfs pull",
    ),
    (b"<!DOCTYPE html><html>", "an HTML page", "fetch the file itself"),
    (b"<html>", "an HTML page", "fetch the file itself"),
    (b"RIFF\0\0\0\0WAVE", "a recording", "name the rows"),
    (b"fLaC\0", "a recording", "name the rows"),
]


@pytest.mark.parametrize("name", ["m.jsonl", "m.csv", "m.json", "m.jsonl.gz", "m.xlsx"])
@pytest.mark.parametrize(("content", "kind", "cure"), NO_ROWS)
def test_a_file_that_is_no_text_is_reported_with_the_cure(
    root: Path, name: str, content: bytes, kind: str, cure: str
) -> None:
    (root / name).write_bytes(content)
    with pytest.raises(UserError) as caught:
        read(root, name)
    assert str(caught.value).startswith(
        f"{root / name} is {kind}, not rows in JSONL, JSON or CSV: "
    )
    assert cure in str(caught.value)


@pytest.mark.parametrize("name", ["m.jsonl", "m.csv", "m.parquet"])
def test_parquet_is_reported_with_the_cure(root: Path, name: str) -> None:
    pq.write_table(pa.table({"id": ["q1"]}), root / name)
    with pytest.raises(
        UserError,
        match=r"is a parquet file, .*write its rows as JSONL.*a published benchmark.*\.parquet",
    ):
        read(root, name)


@pytest.mark.parametrize(
    "content",
    [b"version https://git-lfs.github.com/spec/v1\n", gzip.compress(b"x", mtime=0), b"<html>"],
)
def test_a_benchmarks_parquet_that_is_none(root: Path, content: bytes) -> None:
    (root / "x.parquet").write_bytes(content)
    with pytest.raises(UserError, match=r"x\.parquet is an? (Git LFS pointer|gzip file|HTML page)"):
        benchmarks.read(corpus_params(source="mmau", path=str(root), manifest="x.parquet"), 1)


def test_utf16_that_its_first_characters_do_not_show(root: Path) -> None:
    (root / "m.csv").write_bytes(("\u2117," + CSV.replace("Größe", "Size")).encode("utf-16-le"))
    with pytest.raises(
        UserError,
        match=r"m\.csv is no UTF-8 but seems to be UTF-16 without a byte-order mark: save",
    ):
        read(root, "m.csv")
    (root / "m.csv").write_text(CSV.replace("Größe", "a\0b"), encoding="utf-8")
    assert only_question(read(root, "m.csv")).question == "a\0b?"


def test_a_manifest_that_is_called_otherwise_is_named(root: Path) -> None:
    with pytest.raises(
        UserError,
        match=r"manifest\.jsonl: No such file or directory: set corpus\.path and corpus\.manifest$",
    ):
        read(root)
    (root / "Manifest.JSONL").write_text(JSONL, encoding="utf-8")
    with pytest.raises(
        UserError, match=r"set corpus\.path and corpus\.manifest \(there: Manifest\.JSONL\)$"
    ):
        read(root)

"""Rows to parquet and back, and files that appear whole or not at all."""

import errno
import hashlib
import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import fields
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from echodistill.audio.mixing import Mix
from echodistill.core.atomic import atomic_path
from echodistill.core.errors import UserError
from echodistill.core.records import (
    Answer,
    Clip,
    MixCheck,
    Question,
    Reference,
    read_rows,
    schema_of,
    write_rows,
)
from tests.answers import answer

QUESTIONS = [
    Question(f"q{n}", f"c{n}", "train", "What is said? ünïcödé", ("a, b", "", "c"), "c", 2)
    for n in range(40)
]
MIXES = [
    Mix("c/gauss@-5", "c", "test", "gauss", -5.0, 2**63 - 1, ()),
    Mix("c/clean", "c", "test", "clean", None, 0, ()),
    Mix("c/crowd@0", "c", "test", "crowd", 0.0, 7, ("d", "e")),
]
DISK_FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    "rows",
    [
        QUESTIONS,
        MIXES,
        [MixCheck("m", None, 1.0, 0.5), MixCheck("n", -9.999, 0.25, 0.999)],
        [
            Reference("q", "k", "B", (5, 1), False, "blue", True),
            Reference("r", "k", "", (), True, None, False),
        ],
        [answer("m", "q", "wind", 5.0, "A", ("red", "blue")), answer("m", "q", "clean", None, "")],
    ],
    ids=lambda rows: type(rows[0]).__name__,
)
def test_rows_come_back_as_they_were(tmp_path: Path, rows: list[object]) -> None:
    path = tmp_path / "rows.parquet"
    write_rows(path, type(rows[0]), rows)
    assert read_rows(path, type(rows[0])) == rows


def test_no_rows(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.parquet", Clip, [])
    assert read_rows(tmp_path / "rows.parquet", Clip) == []
    assert schema_of(Clip).names == [field.name for field in fields(Clip)]


def test_null_only_where_the_annotation_allows_it(tmp_path: Path) -> None:
    assert [field.name for field in schema_of(Clip) if field.nullable] == ["transcript", "caption"]
    with pytest.raises(pa.ArrowInvalid, match="null"):
        write_rows(tmp_path / "rows.parquet", Answer, [answer(None, "q", "wind", 5.0, "A")])  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_same_rows_same_bytes_also_in_another_process(tmp_path: Path) -> None:
    write_rows(tmp_path / "a.parquet", Mix, MIXES)
    write_rows(tmp_path / "b.parquet", Mix, MIXES)
    code = (
        "import sys, pathlib; from tests.test_records import *;"
        " write_rows(pathlib.Path(sys.argv[1]), Mix, MIXES)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "c.parquet")]
    subprocess.run(
        command,
        cwd=Path(__file__).parents[1],
        env={**os.environ, "PYTHONHASHSEED": "3"},
        check=True,
    )
    assert (
        len(
            {
                hashlib.sha256((tmp_path / f"{name}.parquet").read_bytes()).hexdigest()
                for name in "abc"
            }
        )
        == 1
    )


def test_a_folder_named_like_a_partition(tmp_path: Path) -> None:
    path = tmp_path / "split=test" / "rows.parquet"
    write_rows(path, Question, QUESTIONS)
    assert read_rows(path, Question) == QUESTIONS


def test_missing_file_is_named_with_its_cure(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone\.parquet is missing: run .*`echodistill run`"):
        read_rows(tmp_path / "gone.parquet", Clip)


def test_other_columns_or_types_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    write_rows(path, Mix, MIXES)
    with pytest.raises(
        UserError, match=r"has columns mix_id string, .*; expected question_id string"
    ):
        read_rows(path, Question)
    pq.write_table(pa.table({name: ["1"] for name in schema_of(MixCheck).names}), path)
    with pytest.raises(UserError, match=r"gain string.*expected.*gain double"):
        read_rows(path, MixCheck)


def test_damage_anywhere_is_a_users_error_never_another_row(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    write_rows(path, Question, QUESTIONS)
    whole = path.read_bytes()
    for place in range(0, len(whole), 5):
        path.write_bytes(whole[:place])
        with pytest.raises(UserError, match=r"rows\.parquet is damaged"):
            read_rows(path, Question)
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        with suppress(UserError):
            assert read_rows(path, Question) == QUESTIONS  # a byte that holds nothing of the rows


def test_a_file_appears_whole(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "er" / "file"
    with atomic_path(target) as temporary:
        temporary.write_text("one")
        assert not target.exists()
        assert temporary.parent == target.parent  # a rename is atomic only within a file system
    assert target.read_text() == "one"
    with atomic_path(target) as temporary:
        temporary.write_text("two")
        assert target.read_text() == "one"
    assert target.read_text() == "two"
    assert list(target.parent.iterdir()) == [target]


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    for name in ("one", "two"):
        with atomic_path(target) as temporary:
            temporary.mkdir()
            (temporary / name).write_text(name)
    assert [path.name for path in target.iterdir()] == ["two"]
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("folder", [False, True])
@pytest.mark.parametrize(
    "error", [ValueError("wrong"), KeyboardInterrupt(), UserError("mine"), DISK_FULL]
)
def test_nothing_is_left_of_a_failed_write(
    tmp_path: Path, folder: bool, error: BaseException
) -> None:
    target = tmp_path / "target"
    _write(target, folder, "old")
    with pytest.raises(UserError if isinstance(error, OSError) else type(error)):
        _write(target, folder, "half", error)
    assert _read(target, folder) == "old"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("folder", [False, True])
@pytest.mark.parametrize("failing", [1, 2])
def test_a_full_disk_leaves_the_old_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: bool, failing: int
) -> None:
    """The first or the second rename fails; a file needs one, a folder two."""
    target = tmp_path / "target"
    _write(target, folder, "old")
    calls, replace = [], os.replace

    def full(source: Path, destination: Path) -> None:
        calls.append(source)
        if len(calls) == failing:
            raise DISK_FULL
        replace(source, destination)

    monkeypatch.setattr(os, "replace", full)
    if failing == 2 and not folder:
        _write(target, folder, "new")
        assert _read(target, folder) == "new"
    else:
        with pytest.raises(
            UserError, match=r"cannot write .*target: No space left on device\. Free space"
        ):
            _write(target, folder, "new")
        assert _read(target, folder) == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_parquet_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rows.parquet"
    write_rows(path, Mix, MIXES[:1])

    def full(table: pa.Table, where: Path, **_options: object) -> None:
        where.write_bytes(b"PAR1 half")
        raise DISK_FULL

    monkeypatch.setattr(pq, "write_table", full)
    with pytest.raises(UserError, match=r"rows\.parquet: No space left"):
        write_rows(path, Mix, MIXES)
    assert read_rows(path, Mix) == MIXES[:1]
    assert list(tmp_path.iterdir()) == [path]


def test_two_writers_do_not_share_a_temporary_name(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "file") as one, atomic_path(tmp_path / "file") as two:
        assert one != two
        one.write_text("one")
        two.write_text("two")
    assert (tmp_path / "file").read_text() == "one"


def test_a_file_where_a_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"cannot write .*file/rows\.parquet"):
        write_rows(tmp_path / "file" / "rows.parquet", Mix, MIXES)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_unwritable_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(
            UserError, match=r"cannot write .*Permission denied.*choose a writable place"
        ):
            write_rows(tmp_path / "rows.parquet", Mix, MIXES)
    finally:
        tmp_path.chmod(0o700)


def _write(path: Path, folder: bool, text: str, error: BaseException | None = None) -> None:
    with atomic_path(path) as temporary:
        part = temporary / "part" if folder else temporary
        part.parent.mkdir(exist_ok=True)
        part.write_text(text)
        if error is not None:
            raise error


def _read(path: Path, folder: bool) -> str:
    return (path / "part" if folder else path).read_text()


def test_no_bit_of_a_file_changes_rows_silently(tmp_path: Path) -> None:
    """Check damage in the footer, which Parquet's checksums of the pages do not cover."""
    path = tmp_path / "rows.parquet"
    rows = [
        Reference(f"q{n}", f"key {n}", "red dog", (1, 2, 3), False, f"red {n % 4}", True)
        for n in range(60)
    ]
    write_rows(path, Reference, rows)
    whole, refused = path.read_bytes(), 0
    for bit in range(0, 8 * len(whole), 7):
        content = bytearray(whole)
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        try:
            assert read_rows(path, Reference) == rows, f"bit {bit}"
        except UserError:
            refused += 1
    assert refused > 8 * len(whole) / 7 / 3

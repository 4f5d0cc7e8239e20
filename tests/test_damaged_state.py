"""Tests that damaged state files, as kills, full disks and other versions leave them, are cleared
or ignored with a message.
"""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from echodistill.core.errors import UserError
from echodistill.lineage.dvc_lock import parse_lock, set_damaged_aside
from echodistill.overrides import EDITED, OVERRIDDEN, SAVED, restore
from echodistill.services.processes import started
from echodistill.services.settings import make_settings
from echodistill.training.checkpoints import latest_complete, remove_checkpoints, remove_unusable
from echodistill.training.metrics_file import copy_until, read_metrics
from flows.dvc_repo import locked
from flows.hash_database import FOLDERS, clear_damaged_databases
from flows.run_cache import clear_run_cache

STEPS = [{"step": number, "loss": 1.0 / number} for number in range(1, 7)]


@pytest.mark.parametrize(
    "damage",
    [
        b"\xff\xfe\x00",
        b"[1]",
        b'{"loss": 1}',
        b'{"step": "x"}',
        b"{",
        b"",
        b"NaN",
        b'{"step": 3, "a": "b"}',
    ],
)
def test_a_damaged_line_of_metrics_loses_no_later_step(
    tmp_path: Path, damage: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [json.dumps(step).encode() for step in STEPS]
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b"\n".join([*lines[:2], damage, *lines[3:]]) + b"\n")
    assert read_metrics(path) == [*STEPS[:2], *STEPS[3:]]
    assert f"{path}: 1 of 6 lines is damaged and left out (3)" in capsys.readouterr().err
    copy_until(path, 5, tmp_path / "copy.jsonl")
    assert read_metrics(tmp_path / "copy.jsonl") == [*STEPS[:2], *STEPS[3:5]]
    path.write_bytes(b"\n".join(lines) + b'\n{"step": 7, "lo')
    capsys.readouterr()
    assert read_metrics(path) == STEPS
    assert capsys.readouterr().err == ""  # a kill cuts the last line


@pytest.mark.parametrize(
    "content",
    [
        *(
            b"",
            b"\n",
            b"null",
            b"[]",
            b"3",
            b"schema: '2.0",
            b"stages: {}",
            b"schema: '1.0'\nstages: {}",
            b"\xff\xfe",
        ),
        *(
            b"schema: '2.0'\nstages:\n  a:\n    %b" % text
            for text in (b"deps: []", b"cmd: 3", b"cmd: x\n    deps: {}\n    outs: [3]")
        ),
        *(
            b"schema: '2.0'\nstages:\n  a:\n    cmd: x\n    %b" % text
            for text in (b"params: [1]", b"deps: [{}]", b"outs: [{path: 3}]")
        ),
        *(b"schema: '2.0'\nstages: %b" % text for text in (b"[1]", b"3", b"{a: }", b"{a: x}")),
    ],
)
def test_a_lock_of_another_form_is_set_aside(
    tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DVC refuses every command with such a file, and an empty one passed for a whole lock."""
    monkeypatch.setattr("echodistill.lineage.dvc_lock.WRITTEN_S", 0.0)
    with pytest.raises(UserError, match="is not a lock that DVC wrote"):
        parse_lock(content, "dvc.lock")
    (tmp_path / "dvc.lock").write_bytes(content)
    assert "was damaged" in (set_damaged_aside(tmp_path) or "")
    assert (tmp_path / "dvc.lock.damaged").read_bytes() == content
    (tmp_path / "dvc.lock").write_text("schema: '2.0'\n")
    assert set_damaged_aside(tmp_path) is None


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository of one stage that has run."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "source").write_text("text")
    stage = "stages:\n  copy:\n    cmd: cp source made\n    deps: [source]\n    outs: [made]\n"
    (tmp_path / "dvc.yaml").write_text(stage)
    subprocess.run(["git", "init", "-q"], check=True)
    for command in (
        ["init", "-q"],
        ["config", "core.site_cache_dir", str(tmp_path / "site")],
        ["repro", "-q"],
    ):
        subprocess.run([sys.executable, "-m", "dvc", *command], check=True)
    return tmp_path


def damage_empty(folder: Path) -> None:
    for entry in folder.iterdir():
        entry.unlink()


def damage_half_written(folder: Path) -> None:
    damage_empty(folder)
    (folder / f".{'x' * 22}.tmp").write_text("cmd: cp")


def damage_no_bytes(folder: Path) -> None:
    for entry in folder.iterdir():
        entry.write_bytes(b"")


def damage_no_text(folder: Path) -> None:
    for entry in folder.iterdir():
        entry.write_bytes(b"\xff\x00\x81" * 9)


def damage_a_folder(folder: Path) -> None:
    damage_empty(folder)
    (folder / ("0" * 64)).mkdir()


@pytest.mark.parametrize(
    "damage", [damage_empty, damage_half_written, damage_no_bytes, damage_no_text, damage_a_folder]
)
def test_a_damaged_folder_of_the_run_cache_is_cleared_and_reported(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    good, bad = (tmp_path / f"runs/{key[:2]}/{key}" for key in ("a" * 64, "b" * 64))
    for folder in (good, bad):
        folder.mkdir(parents=True)
        (folder / ("c" * 64)).write_text("cmd: cp\n")
    damage(bad)
    (logged,) = clear_run_cache(
        SimpleNamespace(stage_cache=SimpleNamespace(cache_dir=str(tmp_path / "runs")))
    )
    assert str(bad) in logged
    assert not bad.exists()
    assert [path.name for path in good.iterdir()] == ["c" * 64]


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"write": 3}', b"\xff\xfe"])
def test_a_damaged_rwlock_is_removed(repository: Path, content: bytes) -> None:
    (repository / ".dvc/tmp/rwlock").write_bytes(content)
    again = subprocess.run(
        [sys.executable, "-m", "flows.repro"], env=with_package(), capture_output=True, text=True
    )
    assert again.returncode == 0, again.stderr
    assert "rwlock was damaged, as a killed process leaves it: removed" in again.stdout


@pytest.mark.parametrize("damage", ["edited", "cut", "another stage's"])
def test_an_entry_of_the_run_cache_that_is_not_as_dvc_wrote_it_is_not_used(
    repository: Path, damage: str
) -> None:
    (entry,) = (path for path in (repository / ".dvc/cache/runs").rglob("*") if path.is_file())
    whole = entry.read_text()
    other = whole.replace(whole.partition("outs:")[2].partition("md5: ")[2][:32], "a" * 32)
    entry.write_text(
        {
            "edited": whole.replace("cp source", "mv source"),
            "cut": whole[: whole.index("outs:")],
            "another stage's": other,
        }[damage]
    )
    for name in ("dvc.lock", "made"):
        (repository / name).unlink()
    for logged in (True, False):
        again = subprocess.run(
            [sys.executable, "-m", "flows.repro"],
            env=with_package(),
            capture_output=True,
            text=True,
        )
        assert again.returncode == 0, again.stderr
        assert (
            f"{entry.relative_to(repository)} of DVC's run cache was damaged"
            in again.stdout.replace(f"{repository}/", "")
        ) is logged
        assert entry.read_text() == whole


@pytest.mark.parametrize("folder", FOLDERS)
@pytest.mark.parametrize("damage", ["no database", "cut", "zeros", "other tables"])
def test_a_damaged_database_of_hashes_is_made_anew(
    repository: Path, folder: str, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (database,) = (
        path
        for path in (repository / "site").rglob("cache.db")
        if path.parent.as_posix().endswith(folder)
    )
    for journal in database.parent.glob("cache.db-*"):
        journal.unlink()
    whole = database.read_bytes()
    if damage == "other tables":
        database.unlink()
        with closing(sqlite3.connect(database)) as other, other:
            other.execute("CREATE TABLE notes (text)")
    else:
        database.write_bytes(
            {
                "no database": b"no database at all",
                "cut": whole[:-5_000],
                "zeros": bytes(len(whole)),
            }[damage]
        )
    with locked(repository) as repo:
        (stage,) = repo.stage.collect("copy")
        assert not stage.changed()
    assert f"{database}, DVC's list of hashes, was damaged" in capsys.readouterr().out
    again = subprocess.run(
        [sys.executable, "-m", "flows.repro"], env=with_package(), capture_output=True, text=True
    )
    assert again.returncode == 0, again.stderr
    assert "damaged" not in again.stdout


def with_package() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}


def test_a_database_that_is_whole_or_locked_stays(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.hash_database.WAIT_S", 0.1)
    (database,) = (
        path for path in (repository / "site").rglob("cache.db") if path.parent.name == "links"
    )
    assert clear_damaged_databases(database.parents[1]) == []
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        other.execute("CREATE TABLE notes (text)")
        (sentence,) = clear_damaged_databases(database.parents[1])
    assert sentence == f"{database}, DVC's list of hashes, cannot be checked: database is locked"
    assert database.is_file()


def test_what_a_killed_run_left_of_params_is_restored_whatever_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    params = tmp_path / "params.yaml"
    SAVED.parent.mkdir()

    def left(now: str | None, overridden: str | None) -> str:
        SAVED.write_text("before")
        for path, content in ((params, now), (OVERRIDDEN, overridden)):
            path.unlink(missing_ok=True)
            if content is not None:
                path.write_text(content)
        return restore(params) or ""

    assert "restored" in left(None, "changed")
    assert params.read_text() == "before"
    assert "restored" in left("before", None)
    assert "was edited" in left("mine", None)
    assert (params.read_text(), EDITED.read_text()) == ("mine", "before")


@pytest.mark.parametrize(
    "entry",
    [
        3,
        None,
        [],
        {},
        {"pid": 1},
        {"pid": "1", "since_boot_s": 1.0},
        {"pid": -1, "since_boot_s": 1.0},
        {"pid": 1, "created_s": 1.0},
    ],
)
def test_services_that_are_known_in_another_form_are_not_known(
    tmp_path: Path, entry: object
) -> None:
    settings = make_settings(None, tmp_path)
    own = psutil.Process()
    known = {"pid": own.pid, "since_boot_s": own.create_time() - psutil.boot_time()}
    (tmp_path / "processes.json").write_text(json.dumps({"s3": entry, "mlflow": known}))
    assert list(started(settings)) == ["mlflow"]
    (tmp_path / "processes.json").write_text(json.dumps(entry))
    assert started(settings) == {}


def test_copies_beside_checkpoints_are_left_alone(tmp_path: Path) -> None:
    for name in (
        "checkpoint-4",
        "checkpoint-8",
        "checkpoint-8.bak",
        "checkpoint-old",
        "checkpoint-",
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("x")
    for name in ("checkpoint-4", "checkpoint-8.bak"):
        shutil.copy(tmp_path / name / "file", tmp_path / name / "SHA256SUMS")
    assert latest_complete(tmp_path) == tmp_path / "checkpoint-4"
    remove_unusable(tmp_path)
    assert not (tmp_path / "checkpoint-8").exists()
    remove_checkpoints(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "checkpoint-",
        "checkpoint-8.bak",
        "checkpoint-old",
    ]

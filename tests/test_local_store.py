"""MLflow's store on this machine: made whole or not at all, moved with its artifacts, and clear
about what is wrong with it.
"""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from echodistill.core.errors import UserError
from echodistill.tracking import local_store
from echodistill.tracking.client import connected, find_or_create_run
from echodistill.tracking.local_store import (
    create_atomically,
    database_of,
    fault_of,
    is_in_memory,
    update_artifact_locations,
    uri_of,
)
from tests.provenance_world import make_world
from tests.test_pipeline import ROOT

TRACK = (
    "from echodistill.tracking.client import find_or_create_run as find\nprint(find('one', 'grpo'))"
)
REGISTER = "from tests.provenance_world import register; print(register())"


def start(code: str, folder: Path) -> "subprocess.Popen[str]":
    """Start Python in ``folder``, where the default store is."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("MLFLOW_", "ECHODISTILL_"))
    }
    return subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=folder,
        env=environment | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(code: str, folder: Path) -> str:
    process = start(code, folder)
    output, complaint = process.communicate(timeout=300)
    assert process.returncode == 0, complaint
    return output.strip().splitlines()[-1]


def rows(database: Path, query: str) -> list[str]:
    with closing(sqlite3.connect(database)) as store:
        return [str(row[0]) for row in store.execute(query)]


KILLED = """
import os, signal
from sqlalchemy import event
from sqlalchemy.engine import Engine
statements = []

@event.listens_for(Engine, "before_cursor_execute")
def count(*_):
    statements.append(1)
    if len(statements) == {}:
        os.kill(os.getpid(), signal.SIGKILL)

"""


@pytest.mark.parametrize("statements", [250, 900])
def test_a_kill_while_the_store_is_made_leaves_nothing_that_is_an_obstacle(
    statements: int, tmp_path: Path
) -> None:
    process = start(KILLED.format(statements) + TRACK, tmp_path)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "mlflow.db").exists()
    assert len(run(TRACK, tmp_path)) == 32


def test_a_store_appears_under_its_name_when_it_is_made(tmp_path: Path) -> None:
    database = tmp_path / "deep" / "mlflow.db"

    def fail(made: Path) -> None:
        made.write_text("half")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        create_atomically(database, fail)
    assert list(tmp_path.rglob("*")) == [database.parent]
    # the second by a process that began before the first was there
    for text in (
        "first",
        "second",
    ):

        def make(made: Path, text: str = text) -> None:
            made.write_text(text)

        create_atomically(database, make)
    assert database.read_text() == "first"
    assert list(database.parent.iterdir()) == [database]


@pytest.mark.parametrize(
    ("uri", "file", "in_memory"),
    [
        ("sqlite:////a/b.db", "/a/b.db", False),
        ("sqlite:///b.db", "b.db", False),
        ("sqlite+pysqlite:////a/b.db", "/a/b.db", False),
        ("sqlite:////a/b.db?timeout=5", "/a/b.db", False),
        ("sqlite:////a b/%3Fx.db", "/a b/?x.db", False),
        ("sqlite:///file:/a/b.db?uri=true", None, False),
        ("sqlite://", None, True),
        ("sqlite:///", None, True),
        ("sqlite:///:memory:", None, True),
        ("postgresql://h/db", None, False),
        ("http://h:1", None, False),
        ("mlruns", None, False),
        ("", None, False),
    ],
)
def test_which_file_an_address_names(uri: str, file: str | None, in_memory: bool) -> None:
    assert database_of(uri) == (Path(file).absolute() if file else None)
    assert is_in_memory(uri) is in_memory


@pytest.mark.parametrize(
    "name", ["plain", "a b", "q?x", "h#x", "p%20x", "$HOME", "ü", "it's", "a&b", "a;b", "[a]"]
)
def test_the_default_store_is_in_the_working_folder_whatever_its_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sqlalchemy

    folder = tmp_path / name
    folder.mkdir()
    monkeypatch.chdir(folder)
    engine = sqlalchemy.create_engine(uri_of(folder / "mlflow.db"))
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("CREATE TABLE t (a)"))
    engine.dispose()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [folder / "mlflow.db"]
    assert database_of(uri_of(folder / "mlflow.db")) == folder / "mlflow.db"


def with_locations(database: Path, *locations: str) -> None:
    """Write the part of MLflow's schema that has addresses, an experiment and what belongs to it
    for each location.
    """
    database.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(database)) as store, store:
        for table, column in local_store.LOCATIONS:
            store.execute(f"CREATE TABLE {table} ({column} TEXT)")
            for location in locations:
                store.execute(
                    f"INSERT INTO {table} VALUES (?)",
                    (location + ("" if table == "experiments" else f"/{table}/1"),),
                )


def locations(database: Path) -> set[str]:
    return {
        row
        for table, column in local_store.LOCATIONS
        for row in rows(database, f"SELECT {column} FROM {table}")
    }


@pytest.mark.parametrize("new", ["new", "n e w", "n%20w", "ü", "n?w"])
@pytest.mark.parametrize("copied", [True, False])
def test_artifacts_come_along_where_a_store_is_moved_or_copied(
    new: str, copied: bool, tmp_path: Path
) -> None:
    database = tmp_path / "old" / "mlflow.db"
    old = local_store.artifacts_of(database)
    with_locations(database, old)
    (tmp_path / "old/mlartifacts").mkdir()
    (shutil.copytree if copied else shutil.move)(tmp_path / "old", tmp_path / new)
    moved = tmp_path / new / "mlflow.db"
    before = locations(moved)
    update_artifact_locations(moved)
    assert locations(moved) == {
        place.replace(old, (tmp_path / new / "mlartifacts").as_uri()) for place in before
    }
    again = moved.read_bytes()
    update_artifact_locations(moved)
    assert moved.read_bytes() == again
    if copied:
        assert locations(database) == before


@pytest.mark.parametrize(
    "location",
    [
        "s3://bucket/mlartifacts",
        "mlflow-artifacts:/1",
        "file:///elsewhere/mine",
        "/elsewhere/mlartifacts2",
        "file:///x/mlartifacts2",
    ],
)
def test_artifacts_elsewhere_are_left_where_they_are(location: str, tmp_path: Path) -> None:
    with_locations(tmp_path / "mlflow.db", location)
    before = locations(tmp_path / "mlflow.db")
    update_artifact_locations(tmp_path / "mlflow.db")
    assert locations(tmp_path / "mlflow.db") == before


def test_a_database_that_was_copied_alone_still_finds_its_artifacts(tmp_path: Path) -> None:
    database = tmp_path / "old" / "mlflow.db"
    with_locations(database, local_store.artifacts_of(database))
    (tmp_path / "old/mlartifacts").mkdir()
    (tmp_path / "new").mkdir()
    shutil.copy(database, tmp_path / "new")
    update_artifact_locations(tmp_path / "new/mlflow.db")
    assert locations(tmp_path / "new/mlflow.db") == locations(database)


def damaged(database: Path, how: str, whole: Path) -> None:
    """Make a database that cannot be used."""
    content = whole.read_bytes()
    if how == "folder":
        database.mkdir()
    elif how in ("text", "html", "pointer", "gzip"):
        begins = {
            "text": b"not a store\n",
            "html": b"<!DOCTYPE html>",
            "pointer": b"version https://git-lfs.github.com/spec/v1\n",
        }
        database.write_bytes(begins.get(how, b"\x1f\x8b\x08\x00") * 100)
    elif how == "truncated":
        database.write_bytes(content[: len(content) // 2])
    elif how == "zeros inside":
        database.write_bytes(content[:20_000] + bytes(60_000) + content[80_000:])
    elif how == "no header":
        database.write_bytes(bytes(200) + content[200:])
    elif how == "first tables":
        with closing(sqlite3.connect(database)) as store, store:
            store.execute("CREATE TABLE experiments (experiment_id, name)")
            store.execute("CREATE TABLE runs (run_uuid)")
    elif how == "half migrated":
        database.write_bytes(content)
        with closing(sqlite3.connect(database)) as store, store:
            store.execute("DELETE FROM experiments")
            store.execute("DROP TABLE logged_models")
            store.execute("UPDATE alembic_version SET version_num = '451aebb31d03'")


MESSAGES = {
    "folder": "it is no file",
    "first tables": "its creation was interrupted",
    "half migrated": "its creation was interrupted",
}
HOW = (
    "folder",
    "text",
    "html",
    "pointer",
    "gzip",
    "truncated",
    "zeros inside",
    "no header",
    *list(MESSAGES)[1:],
)


@pytest.mark.parametrize("how", HOW)
def test_what_is_wrong_with_a_store_is_one_line_with_the_cure(
    how: str, tmp_path: Path, mlflow_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = tmp_path / "mlflow.db"
    damaged(database, how, mlflow_database)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{database}")
    found = fault_of(database)
    assert found
    assert found[0].startswith(MESSAGES.get(how, "it is damaged"))
    before = None if database.is_dir() else database.read_bytes()
    with pytest.raises(UserError) as caught:
        find_or_create_run("one", "grpo")
    output = str(caught.value)
    assert MESSAGES.get(how, "it is damaged") in output
    assert "\n" not in output
    assert output.endswith(found[1])
    if how != "folder":
        assert f"`mv {database} {database}.damaged`" in output
    assert (
        before is None
        or how == "half migrated"
        or how == "first tables"
        or database.read_bytes() == before
    )


def test_a_store_that_another_program_writes_to_is_named(
    mlflow_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Path(shutil.copy(mlflow_database, tmp_path / "mlflow.db"))
    monkeypatch.setattr(local_store, "WAIT_S", 0.1)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{database}")
    assert fault_of(database) is None
    with closing(sqlite3.connect(database)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(UserError, match="another program is writing to it"), connected():
            pass


@pytest.mark.parametrize(
    "uri",
    [
        "postgresql://me:secret@127.0.0.1:9/db",
        "mysql+pymysql://me:secret@127.0.0.1:9/db",
        "oracle://me:secret@h/x",
        "foo://bar",
        "mlruns",
        "databricks-uc",
        "s3://bucket/x",
        "https://[",
        "http://127.0.0.1:port",
        "sqlite://",
        "sqlite:///:memory:",
    ],
)
def test_a_store_of_a_kind_that_cannot_be_used_is_one_line(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(UserError, match=r"unset it to use mlflow\.db") as caught:
        find_or_create_run("one", "grpo")
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def registered(mlflow_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository whose student is registered in its own store."""
    folder = tmp_path_factory.mktemp("home") / "first"
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        make_world(folder)
    shutil.copy(mlflow_database, folder / "mlflow.db")
    assert "registered echodistill version 1 (candidate, champion)" in run(REGISTER, folder)
    return folder


def weights(folder: Path) -> list[Path]:
    return sorted((folder / "mlartifacts").rglob("student/model.safetensors"))


def test_what_is_registered_already_asks_mlflow_only_where_the_store_changed(
    registered: Path, tmp_path: Path, mlflow_database: Path
) -> None:
    folder = Path(shutil.copytree(registered, tmp_path / "second"))
    run(REGISTER, folder)
    assert "version 1" in run(f"import sys; sys.modules['mlflow'] = None\n{REGISTER}", folder)
    shutil.copy(mlflow_database, folder / "mlflow.db")
    assert "version 1" in run(REGISTER, folder)
    assert rows(folder / "mlflow.db", "SELECT name FROM registered_models") == ["echodistill"]
    shutil.rmtree(folder / "mlartifacts")
    assert "version 1" in run(REGISTER, folder)
    assert len(weights(folder)) == 1
    assert list((folder / "mlartifacts").rglob("model_card.md"))


def test_where_the_repository_moved_artifacts_are_in_the_new_place(
    registered: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(registered, tmp_path / "old"))
    run(REGISTER, folder)  # its addresses are those of the old place now
    shutil.move(folder, tmp_path / "new")
    (tmp_path / "new/models/student/model.safetensors").write_text("other weights")
    assert "version 2" in run(
        "from tests.provenance_world import write_lock, Path; write_lock(Path())\n" + REGISTER,
        tmp_path / "new",
    )
    assert not folder.exists()
    assert len(weights(tmp_path / "new")) == 2
    assert len(weights(registered)) == 1
    load = "import mlflow; print(mlflow.artifacts.download_artifacts('models:/echodistill/1', tracking_uri='sqlite:///mlflow.db'))"
    assert str(tmp_path / "new") in run(load, tmp_path / "new")

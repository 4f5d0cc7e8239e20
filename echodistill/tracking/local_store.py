"""Keep MLflow's local store: an SQLite file that is created atomically, with its artifacts in the
same folder.

MLflow creates a store by some fifty migrations, none of which can be resumed. So the store is
created under another name and then renamed. MLflow stores absolute addresses of artifacts. So these
are corrected where the store was moved.
"""

import hashlib
import os
import re
import shlex
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit
from uuid import uuid4

SQLITE: Final = "sqlite:///"
_ADDRESS: Final = re.compile(r"sqlite(?:\+\w+)?:(?://(?:/([^?]*))?)?(?:\?.*)?")
NAME: Final = "mlflow.db"
ARTIFACTS: Final = "mlartifacts"
"""Name of the folder of artifacts next to the database."""
LOCATIONS: Final = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "storage_location"),
)
"""Tables and columns of MLflow's schema that contain addresses of artifacts."""
WAIT_S: Final = 20.0
"""Time in seconds to wait for another writer, as long as MLflow itself waits."""


def uri_of(database: Path, folder: Path | None = None) -> str:
    """Return the address of a database for a process that works in ``folder``, by default the
    present one.
    """
    absolute = str(database.absolute())
    # SQLAlchemy reads these signs as the start of options and of an escape, and MLflow creates a
    # folder with the escape's literal name.
    plain = not {"?", "%"} & set(absolute)
    return SQLITE + (absolute if plain else os.path.relpath(absolute, folder or Path.cwd()))


def database_of(uri: str) -> Path | None:
    """Return the file that an address names.

    Return ``None`` for a server, another kind of database, or a database in memory.
    """
    found = _ADDRESS.fullmatch(uri)
    name = unquote(found[1] or "") if found else ""
    return Path(name).absolute() if name and not name.startswith((":memory:", "file:")) else None


def is_in_memory(uri: str) -> bool:
    """Return whether an address names a store that ends with the process."""
    found = _ADDRESS.fullmatch(uri)
    return found is not None and (found[1] or ":memory:") == ":memory:"


def artifacts_of(database: Path) -> str:
    """Return the address of the folder for a store's artifacts."""
    return (database.parent / ARTIFACTS).as_uri()


def create_atomically(database: Path, make: Callable[[Path], None]) -> None:
    """Let ``make`` create the store at a temporary path, then rename it to ``database``.

    The new file is discarded where another process was faster.
    """
    # The scratch path is a folder, since SQLite writes a journal next to the file.
    scratch = database.with_name(f".{database.name}.{uuid4().hex[:12]}.tmp")
    try:
        scratch.mkdir(parents=True)
        made = scratch / database.name
        make(made)
        with made.open("rb") as file:
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            _rename_to_new(made, database)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _rename_to_new(made: Path, database: Path) -> None:
    """Rename a file. Raise ``FileExistsError`` where the name is taken."""
    try:
        os.link(made, database)
    except FileExistsError:
        raise
    except OSError:  # The file system has no hard links.
        if database.exists():
            raise FileExistsError(database) from None
        os.rename(made, database)


def update_artifact_locations(database: Path) -> None:
    """Correct the addresses of artifacts where the store was moved or copied together with them.

    Addresses of folders that this project did not create, and of artifacts that were not moved, are
    kept. Raise ``sqlite3.Error`` where the database cannot be used.
    """
    wanted = artifacts_of(database)
    with closing(sqlite3.connect(database, timeout=WAIT_S)) as store:
        for old in _other_locations(store, wanted):
            if _is_folder(old) and not _is_folder(wanted):
                continue
            with store:
                for table, column in LOCATIONS:
                    store.execute(
                        f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE {column} = ?"
                        f" OR substr({column}, 1, ?) = ?",
                        (wanted, len(old) + 1, old, len(old) + 1, f"{old}/"),
                    )


def _other_locations(store: sqlite3.Connection, wanted: str) -> list[str]:
    """Return the experiments' addresses of this project's artifact folders other than ``wanted``,
    sorted.
    """
    if not store.execute("SELECT 1 FROM sqlite_master WHERE name = 'experiments'").fetchone():
        return []
    found = {str(row[0]) for row in store.execute("SELECT artifact_location FROM experiments")}
    return sorted(
        each
        for each in found
        if each != wanted and each.startswith("file:") and each.endswith(f"/{ARTIFACTS}")
    )


def folder_of(address: str) -> Path | None:
    """Return the folder on this machine that an address names, or ``None`` where the artifacts are
    elsewhere.
    """
    parts = urlsplit(address)
    return Path(unquote(parts.path)) if parts.scheme in ("", "file") else None


def _is_folder(address: str) -> bool:
    folder = folder_of(address)
    return folder is not None and folder.is_dir()


def digest_of(database: Path) -> str:
    """Return a hash that changes with every write to a store and with every lost file of its
    artifacts.

    Return an empty string where there is no store.
    """
    try:
        found = hashlib.sha256(database.read_bytes())
    except OSError:
        return ""
    folder = database.parent / ARTIFACTS
    for path in sorted(folder.rglob("*")):
        found.update(
            f"{path.relative_to(folder)} {path.lstat().st_size}\n".encode(errors="surrogateescape")
        )
    return found.hexdigest()


def fault_of(database: Path) -> tuple[str, str] | None:
    """Return what is wrong with a store's file, and the cure; ``None`` where no fault is found."""
    name = database.name if database.parent == Path.cwd() else str(database)
    move = shlex.join(["mv", name, f"{name}.damaged"])
    move_away = (
        f"Move it away (`{move}`) and run the command again: a new one is made. Files of runs stay"
        f" in {ARTIFACTS}"
    )
    if not database.exists():
        return None
    if not database.is_file():
        return "it is no file", "Remove it, or name a file in MLFLOW_TRACKING_URI"
    if not os.access(database, os.R_OK | os.W_OK) or not os.access(database.parent, os.W_OK):
        return "it cannot be written", f"Make {database} and its folder writable for you"
    try:
        with closing(sqlite3.connect(database, timeout=1.0)) as store:
            fault = store.execute("PRAGMA quick_check(1)").fetchone()[0]
            tables = {
                str(row[0])
                for row in store.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            }
            revisions = (
                store.execute("SELECT version_num FROM alembic_version").fetchall()
                if "alembic_version" in tables
                else []
            )
            whole = (
                "experiments" in tables and store.execute("SELECT 1 FROM experiments").fetchone()
            )
            store.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            return (
                "another program is writing to it",
                "End that program, or wait for it, and run the command again",
            )
        return f"it is damaged ({error})", move_away
    except sqlite3.DatabaseError as error:
        return f"it is damaged ({error})", move_away
    if fault != "ok":
        return f"it is damaged ({fault})", move_away
    if not revisions or not whole:
        return "its creation was interrupted, and it holds no runs", move_away
    return None

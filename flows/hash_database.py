"""Remove damaged databases in which DVC stores hashes and links of files.

DVC can compute their content again.
"""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

FOLDERS = ("links", "hashes/local")
DATABASE = "cache.db"
WAIT_S = 10.0  # Time in seconds to wait for another process that writes to the database.


@contextmanager
def damaged_databases_removed() -> Iterator[None]:
    """Remove damaged hash databases before DVC opens them, while the block runs.

    DVC creates a removed database again, and each removal is printed. Without this, DVC would end
    with SQLite's error, either at once or at the first file whose hash it looks up.
    """
    from dvc_data.hashfile.state import State

    opened = State.__init__

    def open_whole(
        state: Any, root_dir: str | None = None, tmp_dir: str | None = None, ignore: Any = None
    ) -> None:
        for message in clear_damaged_databases(Path(tmp_dir)) if tmp_dir else ():
            print(message, flush=True)
        opened(state, root_dir, tmp_dir, ignore)

    with patch.object(State, "__init__", open_whole):
        yield


def clear_damaged_databases(folder: Path) -> list[str]:
    """Remove the damaged databases in ``folder``, DVC's temporary folder of one repository.

    Return one sentence for each removed database, and for each that cannot be checked because
    another process has locked it.
    """
    sentences = []
    for database in (folder / name / DATABASE for name in FOLDERS):
        try:
            fault = _fault_of(database) if database.is_file() else ""
        except sqlite3.OperationalError as error:
            sentences.append(f"{database}, DVC's list of hashes, cannot be checked: {error}")
            continue
        if fault:
            shutil.rmtree(database.parent)
            sentences.append(
                f"{database}, DVC's list of hashes, was damaged ({fault}): removed; files are"
                " hashed again"
            )
    return sentences


def _fault_of(database: Path) -> str:
    """Return what is wrong with a database, or an empty string where nothing is.

    Raise ``sqlite3.OperationalError`` where the database cannot be checked now.
    """
    try:
        with closing(sqlite3.connect(database, timeout=WAIT_S)) as opened:
            fault = str(opened.execute("PRAGMA quick_check(1)").fetchone()[0])
            tables = {
                row[0]
                for row in opened.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            }
    # It is also a DatabaseError, but means no damage: the database is locked, for example.
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError as error:
        return str(error)
    if fault != "ok":
        return fault.splitlines()[0]
    return "" if not tables or {"Settings", "Cache"} <= tables else "its tables are not DVC's"

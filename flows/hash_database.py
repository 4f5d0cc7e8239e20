"""DVC's databases of the hashes and links of files: what it can compute again, so a damaged one is
removed.
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
WAIT_S = 10.0  # for another process that writes to it


@contextmanager
def damaged_databases_removed() -> Iterator[None]:
    """While the block runs, DVC opens no damaged database of hashes: it is removed and made anew,
    and that is printed.

    DVC itself would end with SQLite's error, here or at the first file that it asks for.
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
    """Remove the databases in ``folder``, DVC's own for one repository, that are damaged. Return a
    sentence for each, and for each that cannot be checked, because another process has locked it.
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
    """Return what is wrong with a database; empty where nothing is.

    Raises ``sqlite3.OperationalError`` where that cannot be found out now.
    """
    try:
        with closing(sqlite3.connect(database, timeout=WAIT_S)) as opened:
            complaint = str(opened.execute("PRAGMA quick_check(1)").fetchone()[0])
            tables = {
                row[0]
                for row in opened.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            }
    except sqlite3.OperationalError:  # also a DatabaseError, but no damage: locked, for example
        raise
    except sqlite3.DatabaseError as error:
        return str(error)
    if complaint != "ok":
        return complaint.splitlines()[0]
    return "" if not tables or {"Settings", "Cache"} <= tables else "its tables are not DVC's"

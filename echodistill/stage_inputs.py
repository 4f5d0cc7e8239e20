"""Record a stage's inputs at its start and compare them with the inputs at its end.

DVC records the inputs that it finds when a stage has ended. If these are not the inputs with which
the stage ran, the stage must fail. Otherwise ``dvc.lock`` and the run cache would record its output
for inputs from which it was not made.
"""

import hashlib
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from echodistill import STARTED_S
from echodistill.core.errors import UserError
from echodistill.import_graph import PACKAGE, ROOT, STARTED_BY
from echodistill.params.whole import Params

FOLDERS = ("corpus.path", "corpus.test.path", "mixes.recordings")
"""Parameters that name a folder which no stage makes."""


class StageInputs:
    """The parameters, modules and user's folders with which this process works."""

    def __init__(
        self, read_params: Callable[[], Params], sections: Sequence[str], reads_folders: bool
    ) -> None:
        """Record the inputs.

        ``read_params`` returns the present parameters; ``sections`` are those that the stage gets.
        Raise ``UserError`` where a module was edited while Python loaded it, because it is unknown
        which of its versions runs.
        """
        self.params = read_params()
        self._read_params = read_params
        self._sections = sections
        watched = watched_folders(sections) if reads_folders else []
        self._folders = {key: Path(str(_value(self.params, key))) for key in watched}
        self._files = {key: _files(folder) for key, folder in self._folders.items()}
        self._modules = _hashes(ROOT.joinpath(PACKAGE).rglob("*.py"))
        if edited := _edited_since(STARTED_S, _loaded()):
            raise UserError(f"{_named(edited)} changed while this stage started: run it again")

    def check(self) -> None:
        """Raise ``UserError`` that names the inputs that have changed since the start."""
        changed = [*self._changed_params(), *self._changed_modules(), *self._changed_folders()]
        if changed:
            raise UserError(
                f"{', '.join(changed)} changed while this stage ran: its outputs match neither"
                " state and are not recorded. Run it again"
            )

    def _changed_params(self) -> list[str]:
        try:
            now = self._read_params()
        except UserError:  # An editor may be writing the file at this moment.
            return ["params.yaml"]
        changed = [
            section
            for section in self._sections
            if _value(now, section) != _value(self.params, section)
        ]
        return [f"params.yaml ({', '.join(changed)})"] if changed else []

    def _changed_modules(self) -> list[str]:
        now = _hashes(_loaded())
        changed = [path for path, digest in now.items() if self._modules.get(path) != digest]
        return [_named(changed)] if changed else []

    def _changed_folders(self) -> list[str]:
        return [
            f"{key} ({folder})"
            for key, folder in self._folders.items()
            if _files(folder) != self._files[key]
        ]


def watched_folders(sections: Sequence[str]) -> list[str]:
    """Return the parameters in ``sections`` that name a folder of the user's own."""
    return [
        key
        for key in FOLDERS
        if any(key == section or key.startswith(f"{section}.") for section in sections)
    ]


def _value(params: Params, section: str) -> Any:
    value: Any = params
    for part in section.split("."):
        value = getattr(value, part)
    return value


def _named(paths: Iterable[Path]) -> str:
    return ", ".join(path.relative_to(ROOT).as_posix() for path in paths)


def _loaded() -> list[Path]:
    """Return the files of this package that this process runs.

    Files that it starts as separate processes are included.
    """
    files = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
    own = {Path(file) for file in files if file and Path(file).is_relative_to(ROOT / PACKAGE)}
    return sorted(
        own
        | {
            ROOT / other
            for path in own
            for other in STARTED_BY.get(path.relative_to(ROOT).as_posix(), [])
        }
    )


def _hashes(paths: Iterable[Path]) -> dict[Path, str | None]:
    """Return the SHA-256 of each file, or ``None`` for a file that cannot be read."""
    return {path: _hash(path) for path in paths}


def _hash(path: Path) -> str | None:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None


def _edited_since(start_s: float, paths: Iterable[Path]) -> list[Path]:
    """Return the files that were written after ``start_s``; times in the future are ignored."""
    now_s = time.time()
    return [path for path in paths if path.is_file() and start_s < path.stat().st_mtime <= now_s]


def _files(folder: Path) -> Mapping[str, tuple[int, int]]:
    """Return the size in bytes and the time of the last change in ns of every file below
    ``folder``.

    Reading all files twice would take long.
    """
    found = {}
    for parent, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(parent, name)
            try:
                facts = os.stat(path)
            except OSError:  # A broken link raises an error where it is read.
                continue
            found[path] = (facts.st_size, facts.st_mtime_ns)
    return found

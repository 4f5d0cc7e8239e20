"""Find the recording that a manifest's row names, even where its name is spelled differently from
the file's.

Archives from another system may hold names in another Unicode form, and some systems ignore case.
"""

import os
import unicodedata
from pathlib import Path

from echodistill.core.paths import fault_of_path, linked_folder_fault
from echodistill.data.manifest import RowError
from echodistill.data.missing import NO_AUDIO


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _folded(name: str) -> str:
    return _composed(_composed(name).casefold())


class RecordingPaths:
    """Finder of recordings below one folder. Each folder is listed once, so one object must serve
    one reading only.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._base = os.path.abspath(root)
        self._listed: dict[str, dict[str, list[str]]] = {}

    def find(self, written: str) -> Path:
        """Return the recording's path. A link to a file may point anywhere; a linked folder is
        refused, because DVC would notice no change in it.

        Raise ``RowError`` where there is no recording, where several names are spelled alike, where
        the path leaves the folder, and where DVC would notice no change of the file.
        """
        path = os.path.normpath(os.path.join(self._base, written))
        if os.path.commonpath([self._base, path]) != self._base:
            raise RowError(f"audio path {written!r} is outside the folder")
        for candidate in (path, f"{path}.wav"):
            if os.path.isfile(candidate):
                return self._checked(os.path.relpath(candidate, self._base), written)
        alike = self._similar(os.path.relpath(path, self._base))
        if not alike and "\\" in written:
            return self.find(written.replace("\\", "/"))
        if len(alike) > 1:
            raise RowError(
                f"{NO_AUDIO}: {written}: {' and '.join(alike)} are there: write the one that is"
                " meant"
            )
        if not alike:
            fault = fault_of_path(Path(path))
            raise RowError(
                f"{NO_AUDIO}: {written}" + (f" ({fault})" if fault not in ("", NO_AUDIO) else "")
            )
        return self._checked(alike[0], written)

    def _checked(self, path: str, written: str) -> Path:
        recording = self._root / path
        if fault := linked_folder_fault(recording, self._root):
            raise RowError(f"audio path {written!r}: {fault}")
        return recording

    def has(self, written: str) -> bool:
        """Return whether ``find`` returns a recording."""
        try:
            self.find(written)
        except RowError:
            return False
        return True

    def _similar(self, path: str) -> list[str]:
        """Return the files whose path differs from ``path`` only in Unicode form or case; where
        some differ only in Unicode form, return those alone.
        """
        found = [""]
        *folders, name = path.split(os.sep)
        for folder in folders:
            found = [
                os.path.join(above, entry)
                for above in found
                for entry in self._entries(above).get(_folded(folder), [])
            ]
        names = dict.fromkeys((_folded(name), _folded(f"{name}.wav")))
        files = [
            os.path.join(above, entry)
            for above in found
            for wanted in names
            for entry in self._entries(above).get(wanted, [])
        ]
        files = sorted(file for file in files if os.path.isfile(os.path.join(self._base, file)))
        same_case = [
            file for file in files if _composed(file) in (_composed(path), _composed(f"{path}.wav"))
        ]
        return same_case or files

    def _entries(self, folder: str) -> dict[str, list[str]]:
        """Return the entries of a folder by folded name."""
        if folder not in self._listed:
            try:
                entries = os.listdir(os.path.join(self._base, folder))
            # The folder is missing, or its name has a null character.
            except (OSError, ValueError):
                entries = []
            listed: dict[str, list[str]] = {}
            for entry in sorted(entries):
                listed.setdefault(_folded(entry), []).append(entry)
            self._listed[folder] = listed
        return self._listed[folder]

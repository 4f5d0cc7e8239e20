"""The teacher's cache shared between machines: the local folder first, then a store that all of
them reach.

An entry is the same bytes in both places, so its own checksum tells a damaged one wherever it lies.
A damaged shared entry reads as absent, is counted, and replaced by what is computed. Of two
machines that compute the same entry the first to write keeps it. When the store goes away, the run
warns once and goes on with the local folder; the next run sends what is missing there.
"""

import sys
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol, TypeVar

from echodistill.core.atomic import atomic_path
from echodistill.core.checksums import payload_of
from echodistill.core.errors import UserError
from echodistill.core.progress import track
from echodistill.teachers.cache import ReferenceCache, TeacherTargets

Result = TypeVar("Result")
THREADS = 8


class Entries(Protocol):
    """A shared store of small entries, safe for threads. Its methods raise ``UserError`` when it
    cannot be used.
    """

    def keys(self) -> set[str]: ...

    def get(self, key: str) -> bytes | None: ...

    def put(self, key: str, content: bytes, instead_of: bytes | None = None) -> None:
        """Store ``content`` if there is none under ``key``, or only ``instead_of``."""


class SharedCache(ReferenceCache):
    """A ``ReferenceCache`` with a shared store behind it."""

    def __init__(self, folder: Path, entries: Entries) -> None:
        super().__init__(folder)
        self._entries = entries
        self._away = False
        self._known: set[str] | None = None
        self._damaged: dict[str, bytes] = {}
        self._lock = threading.Lock()
        self.fetched = 0
        """Entries that came from the store."""
        self.sent = 0
        """Entries offered to the store."""

    @property
    def damaged(self) -> int:
        """Entries of the store found damaged so far."""
        return len(self._damaged)

    def prepare(self, keys: Iterable[str]) -> None:
        """Bring what the store has of ``keys`` here, and send it what only is here: one listing,
        then several requests at once.

        After this, ``get`` asks the store no more for entries that were not in it.
        """
        wanted = sorted(set(keys))
        self._known = self._ask(self._entries.keys)
        if self._known is None:
            return
        here = {key for key in wanted if self.path_of(key).is_file()}
        missing = [key for key in wanted if key in self._known and key not in here]
        unsent = [key for key in wanted if key in here and key not in self._known]
        with ThreadPoolExecutor(THREADS) as pool:
            self.fetched += sum(
                track(
                    pool.map(self._fetch, missing),
                    len(missing),
                    "references from the store",
                    "entries",
                )
            )
            self.sent += sum(
                track(
                    pool.map(self._send, unsent), len(unsent), "references to the store", "entries"
                )
            )

    def get(self, key: str) -> TeacherTargets | None:
        """The entry, or ``None`` when neither place has a whole one. Raises ``UserError`` when the
        local folder cannot be used.
        """
        target = super().get(key)
        if (
            target is not None
            or key in self._damaged
            or (self._known is not None and key not in self._known)
        ):
            return target
        if not self._fetch(key):
            return None
        self.fetched += 1
        return super().get(key)

    def put(self, key: str, target: TeacherTargets) -> None:
        super().put(key, target)
        self.sent += self._send(key)

    def _fetch(self, key: str) -> bool:
        """Copy an entry of the store to the local folder, if it is whole."""
        content = self._ask(lambda: self._entries.get(key))
        if content is None:
            return False
        if payload_of(content) is None:
            self._damaged[key] = content
            return False
        with atomic_path(self.path_of(key)) as temporary:
            temporary.write_bytes(content)
        return True

    def _send(self, key: str) -> bool:
        """Offer a local entry to the store, if it is whole."""
        content = self.path_of(key).read_bytes()
        if payload_of(content) is None:
            return False
        self._ask(lambda: self._entries.put(key, content, self._damaged.get(key)))
        return not self._away

    def _ask(self, question: Callable[[], Result]) -> Result | None:
        """What the store answers; ``None`` once it has failed: each request to a dead store would
        cost the run a long wait.
        """
        if self._away:
            return None
        try:
            return question()
        except UserError as error:
            with self._lock:
                told, self._away = self._away, True
            if not told:
                print(
                    f"warning: {error}. Going on with the local reference cache alone",
                    file=sys.stderr,
                )
            return None

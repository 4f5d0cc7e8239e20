"""Share the teacher's cache between machines: the local folder is used first, then a store that all
of them can access.

An entry has the same bytes in both places, so its own checksum reveals damage in either. A damaged
shared entry counts as absent, is counted as damaged, and is replaced by the computed one. If two
machines compute the same entry, the first one written is kept. If the store becomes unavailable,
the run warns once and continues with the local folder; the next run sends the missing entries to
the store.
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
    """A shared store of small entries that threads may use at once. Its methods raise ``UserError``
    if it cannot be used.
    """

    def keys(self) -> set[str]: ...

    def get(self, key: str) -> bytes | None: ...

    def put(self, key: str, content: bytes, instead_of: bytes | None = None) -> None:
        """Store ``content`` if there is no entry under ``key``, or if the entry is
        ``instead_of``.
        """


class SharedCache(ReferenceCache):
    """A ``ReferenceCache`` with a shared store behind it."""

    def __init__(self, folder: Path, entries: Entries) -> None:
        super().__init__(folder)
        self._entries = entries
        self._unavailable = False
        self._known: set[str] | None = None
        self._damaged: dict[str, bytes] = {}
        self._lock = threading.Lock()
        self.fetched = 0
        """Number of entries fetched from the store."""
        self.sent = 0
        """Number of entries sent to the store."""

    @property
    def damaged(self) -> int:
        """Number of entries of the store found damaged so far."""
        return len(self._damaged)

    def prepare(self, keys: Iterable[str]) -> None:
        """Fetch the entries of ``keys`` that only the store has, and send it those that only the
        local folder has: one listing, then several requests at once.

        After this, ``get`` does not request entries that the listing lacked.
        """
        wanted = sorted(set(keys))
        self._known = self._request(self._entries.keys)
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
        """Return the entry, or ``None`` if neither place has a whole one. Raise ``UserError`` if
        the local folder cannot be used.
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
        """Copy an entry of the store to the local folder if it is whole; return whether it was
        copied.
        """
        content = self._request(lambda: self._entries.get(key))
        if content is None:
            return False
        if payload_of(content) is None:
            self._damaged[key] = content
            return False
        with atomic_path(self.path_of(key)) as temporary:
            temporary.write_bytes(content)
        return True

    def _send(self, key: str) -> bool:
        """Send a local entry to the store if it is whole; return whether it was sent."""
        content = self.path_of(key).read_bytes()
        if payload_of(content) is None:
            return False
        self._request(lambda: self._entries.put(key, content, self._damaged.get(key)))
        return not self._unavailable

    def _request(self, question: Callable[[], Result]) -> Result | None:
        """Return the result of a request to the store, or ``None`` once one has failed, since each
        request to an unavailable store would delay the run for long.
        """
        if self._unavailable:
            return None
        try:
            return question()
        except UserError as error:
            with self._lock:
                warned, self._unavailable = self._unavailable, True
            if not warned:
                print(
                    f"warning: {error}. Going on with the local reference cache alone",
                    file=sys.stderr,
                )
            return None

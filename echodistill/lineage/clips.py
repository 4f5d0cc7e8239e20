"""Check every clip's bytes in S3, and the recording from which the clip was made where it can be
found.
"""

import hashlib
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from echodistill.core.atomic import atomic_path
from echodistill.core.errors import UserError
from echodistill.core.records import Clip, read_rows
from echodistill.data.parquet_rows import embedded_at, read_embedded
from echodistill.lineage.verify import Object
from echodistill.storage.client import Store
from echodistill.storage.objects import FaultyObject, State, fetch, read_object

TABLE = "clips.parquet"
SourceState = Literal["ok", "changed", "not here", "synthesised"]


@dataclass(frozen=True)
class ClipState:
    """A clip, and whether its bytes and its source are unchanged."""

    clip: Clip
    stored: State
    """State of the clip's bytes in the published shard."""
    source: SourceState
    """State of the recording from which the clip was made."""


def clip_states(
    store: Store, corpus: Sequence[Object], source: str, test_source: str | None = None
) -> list[ClipState]:
    """Return the state of every clip of a published corpus.

    ``corpus`` has the corpus's objects, and ``source`` is its parameter ``corpus.source``.
    ``test_source`` is ``corpus.test.source``: the source of the test's clips where it differs from
    ``source``.

    Raise ``UserError`` where the table of clips or the store cannot be read.
    """
    hashes = {part.name: part.md5 for part in corpus}
    clips = _read_table(store, hashes[TABLE])
    of_shard: dict[str, list[Clip]] = defaultdict(list)
    for clip in clips:
        of_shard[clip.shard].append(clip)
    stored: dict[str, State] = {}
    for shard, members in of_shard.items():
        stored |= _stored_states(store, hashes.get(shard), members)
    sources = {"test": test_source or source}
    return [
        ClipState(clip, stored[clip.clip_id], source_state(clip, sources.get(clip.split, source)))
        for clip in clips
    ]


def _stored_states(store: Store, md5: str | None, clips: Sequence[Clip]) -> dict[str, State]:
    """Return the state, by the clip's id, of the bytes of the clips of one shard.

    ``md5`` is the shard's hash; ``None`` where it is not published. A damaged shard is read too,
    because only some of its clips may be damaged.
    """
    with (
        tempfile.TemporaryDirectory() as scratch,
        atomic_path(Path(scratch) / "shard") as path,
        path.open("w+b") as file,
    ):
        state: State = "ok" if md5 else "missing"
        try:
            if md5:
                read_object(store, md5, file.write, "verify clips")
        except FaultyObject as error:
            state = error.state
        if state == "missing":
            return {clip.clip_id: state for clip in clips}
        found: dict[str, State] = {}
        for clip in clips:
            file.seek(clip.offset)
            same = hashlib.sha256(file.read(clip.size)).hexdigest() == clip.sha256
            found[clip.clip_id] = "ok" if same else "damaged"
        return found


def _read_table(store: Store, md5: str) -> list[Clip]:
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / TABLE
        fetch(store, md5, path)
        try:
            return read_rows(path, Clip)
        except UserError as error:
            cure = "use the version of echodistill that made it, `git` at the top states which"
            raise UserError(
                f"{store.place.object_url(md5)} is not a table of clips as this version writes"
                f" them: {cure}"
            ) from error


def source_state(clip: Clip, source: str) -> SourceState:
    """Compare a clip's recordings with its hash and return the result.

    The recordings are looked up relative to the working folder, under the paths at which the corpus
    stage found them. Raise ``UserError`` where a recording exists and cannot be read.
    """
    if source == "builtin":
        return "synthesised"
    if recording := embedded_at(clip.source):
        return (
            "ok"
            if hashlib.sha256(read_embedded(recording)).hexdigest() == clip.source_sha256
            else "changed"
        )
    files = [Path(clip.source)]
    if source == "fsdd":
        first, _, second = clip.source.rpartition(" + ")
        files = [Path(first), Path(first).with_name(second)]
    digest = hashlib.sha256()
    for file in files:
        if not file.is_file():
            return "not here"
        try:
            digest.update(file.read_bytes())
        except OSError as error:
            raise UserError(
                f"{file} cannot be read: {error.strerror or error}. Make it a readable file"
            ) from error
    return "ok" if digest.hexdigest() == clip.source_sha256 else "changed"

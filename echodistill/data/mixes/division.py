"""Divide the recordings of noise among the splits: the test uses none that training uses.

The recordings of each kind are dealt to the splits. Copies stay together, even where they differ in
format or tags. A kind with fewer than four recordings has some that splits share; such a recording
is cut in time, and each split uses a part of its own.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from echodistill.audio.levels import SAMPLE_RATE, SILENCE_DBFS, Waveform, dbfs, without_offset
from echodistill.audio.recordings import Segment, list_recordings, read_recording
from echodistill.core.errors import UserError
from echodistill.core.progress import track
from echodistill.core.records import SPLITS
from echodistill.core.seeds import seed_of

SHARES = {"test": 0.25, "decision": 0.15, "validation": 0.1}
"""Shares of a kind's recordings, at least one recording each; training gets the rest."""
SHARED = {
    1: (SPLITS,),
    2: (("train", "validation"), ("decision", "test")),
    3: (("train", "validation"), ("decision",), ("test",)),
}
"""The splits that share each recording of a kind, by the number of its recordings where these are
fewer than four. Training and the test share one only where there is a single recording.
"""
MIN_PART_S = 0.1
"""Shorter parts, in seconds, would repeat so fast in a loop that they would sound like a tone."""
SHOWN_FAULTS = 5


@dataclass(frozen=True)
class _File:
    name: str
    sha256: str
    audio_sha256: str
    samples: int


def divide_recordings(folder: Path, kinds: Sequence[str], seed: int) -> tuple[Segment, ...]:
    """Return the segments of each kind's recordings below ``folder`` that each split uses. Every
    recording is read.

    A recording's split depends on ``seed``, its content and the other recordings of its kind, not
    on its name. Raise ``UserError`` naming the recordings that cannot be read, or a kind that has
    too little for all splits.
    """
    names = list_recordings(folder, kinds)
    files, faults = {}, []
    all_names = [name for kind in kinds for name in names[kind]]
    for name in track(all_names, len(all_names), "noise", "recordings"):
        try:
            sha256, waveform = read_recording(folder / name)
        except UserError as error:
            faults.append(str(error))
        else:
            files[name] = _File(
                name, sha256, hashlib.sha256(waveform.tobytes()).hexdigest(), len(waveform)
            )
    if faults:
        more = f"; and {len(faults) - SHOWN_FAULTS} more" if len(faults) > SHOWN_FAULTS else ""
        raise UserError(
            f"mixes.recordings: {len(faults)} of {len(all_names)} noise recordings cannot be used,"
            f" fix or remove them: {'; '.join(faults[:SHOWN_FAULTS])}{more}"
        )
    return tuple(
        segment
        for kind in kinds
        for segment in _of_kind(folder, kind, [files[name] for name in names[kind]], seed)
    )


def _of_kind(folder: Path, kind: str, files: Sequence[_File], seed: int) -> Iterator[Segment]:
    copies: dict[str, list[_File]] = {}
    for file in files:
        copies.setdefault(file.audio_sha256, []).append(file)
    # The order depends on the bytes of the files, because the samples that lossy formats decode to
    # may differ in the last bit between machines.
    order = sorted(
        copies,
        key=lambda audio: seed_of(
            seed, "noise recordings", kind, min(file.sha256 for file in copies[audio])
        ),
    )
    for audio, splits in zip(order, _assign_splits(len(order)), strict=True):
        parts = _parts(folder, kind, len(order), copies[audio][0], splits)
        for file in copies[audio]:
            for split, (start, stop) in parts.items():
                yield Segment(kind, file.name, file.sha256, audio, split, start, stop)


def _assign_splits(count: int) -> list[tuple[str, ...]]:
    """Return the splits that use each of ``count`` recordings."""
    if count in SHARED:
        return list(SHARED[count])
    counts = {split: max(1, round(share * count)) for split, share in SHARES.items()}
    counts["train"] = count - sum(counts.values())
    return [(split,) for split, size in counts.items() for _ in range(size)]


def _parts(
    folder: Path, kind: str, count: int, file: _File, splits: Sequence[str]
) -> dict[str, tuple[int, int]]:
    """Return the part of a recording that each of ``splits`` uses: its first sample, and the one
    after its last.

    Splits that share the recording get equal parts, without the silence at its start and end. Raise
    ``UserError`` where a part is too short or silent.
    """
    if len(splits) == 1:
        return {splits[0]: (0, file.samples)}
    _, waveform = read_recording(folder / file.name)
    sounding = np.flatnonzero(np.abs(waveform) >= 10.0 ** (SILENCE_DBFS / 20.0))
    first, size = int(sounding[0]), int(sounding[-1]) + 1 - int(sounding[0])
    bounds = [first + size * part // len(splits) for part in range(len(splits) + 1)]
    parts = dict(zip(splits, pairwise(bounds), strict=True))
    if all(_is_usable(waveform[start:stop]) for start, stop in parts.values()):
        return parts
    raise UserError(
        f"mixes.kinds: {kind} has {count} recording{'s' if count > 1 else ''} for {len(SPLITS)}"
        f" splits, and {file.name} is too short or too silent to be cut in time for"
        f" {', '.join(splits)}: add recordings until there are {len(SPLITS)}"
    )


def _is_usable(part: Waveform) -> bool:
    return len(part) >= MIN_PART_S * SAMPLE_RATE and dbfs(without_offset(part)) >= SILENCE_DBFS

"""Check recorded noise: the test uses no part of a recording that training uses. Recordings are
identified by content and not by name.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from itertools import combinations

from echodistill.audio.mixing import Mix
from echodistill.audio.recordings import Segment
from echodistill.core.records import SPLITS
from echodistill.data.mixes.noise_settings import NoiseSettings
from echodistill.gates.expect import HOLDS, Between, Expect, Table


def recordings_checks(
    mixes: Sequence[Mix], noise: NoiseSettings, unseen: Collection[str]
) -> list[Expect]:
    """Return expectations about the recordings and the mixes made of them; none if all noise is
    procedural.
    """
    if not noise.segments:
        return []
    recorded = [mix for mix in mixes if mix.noise_kind in noise.recorded_kinds]
    allowed = {(segment.kind, segment.split, segment.name) for segment in noise.segments}
    of_mixes = Table.of(
        "recorded_mixes",
        "mix_id",
        {
            "mix_id": [mix.mix_id for mix in recorded],
            "recording_of_split": [
                len(mix.noise_sources) == 1
                and (mix.noise_kind, mix.split, mix.noise_sources[0]) in allowed
                for mix in recorded
            ],
        },
    )
    alike: dict[str, list[Segment]] = defaultdict(list)
    for segment in noise.segments:
        alike[segment.audio_sha256].append(segment)
    recordings = Table.of(
        "recordings",
        "files",
        {
            "files": [
                " = ".join(sorted({segment.name for segment in copies}))
                for copies in alike.values()
            ],
            "shared_by_splits": [
                sum(_is_shared(one, other) for one, other in combinations(copies, 2))
                for copies in alike.values()
            ],
            "seen_and_unseen": [
                len({segment.kind in unseen for segment in copies}) for copies in alike.values()
            ],
        },
    )
    return [
        of_mixes.expect(
            "recording_of_split",
            HOLDS,
            "every recorded noise is one of its kind that its split may use",
        ),
        recordings.expect(
            "shared_by_splits",
            Between(0, 0),
            "no part of a noise recording is in two splits: keep it under one kind",
        ),
        recordings.expect(
            "seen_and_unseen",
            Between(1, 1),
            "no noise recording is under a seen and an unseen kind: keep it under one",
        ),
    ]


def _is_shared(one: Segment, other: Segment) -> bool:
    """Return whether two splits use the same part of a recording."""
    return one.split != other.split and one.start < other.stop and other.start < one.stop


def recordings_notes(noise: NoiseSettings, unseen: Collection[str]) -> list[str]:
    """Return one warning for each kind with so few recordings that splits share some, each using a
    different part.
    """
    notes = []
    for kind in noise.kinds:
        splits: dict[str, set[str]] = defaultdict(set)
        for segment in noise.segments:
            if segment.kind == kind:
                splits[segment.audio_sha256].add(segment.split)
        shared = [
            [split for split in SPLITS if split in found]
            for found in splits.values()
            if len(found) > 1
        ]
        if not shared:
            continue
        leak = (
            "; the test uses the recording that training uses, in another place"
            if len(splits) == 1 and kind not in unseen
            else ""
        )
        notes.append(
            f"warning: {kind} has {len(splits)} recording{'s' if len(splits) > 1 else ''}, cut in"
            f" time for {' and for '.join(' + '.join(names) for names in shared)}{leak}: from"
            f" {len(SPLITS)} on each split has its own"
        )
    return notes

"""Keep a recording that a source holds several times under different names in one split only.

Groups that have a recording in common are drawn into one split. Where the source itself names its
test rows, its splits are kept, and a recording that occurs in several splits is kept only in the
last of them, so that no clip is both judged on and trained on.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from echodistill.core.records import ALL_SPLITS, Clip
from echodistill.data.sources import SourceClips
from echodistill.evaluation.units import unit_of

ALSO_IN = "the same recording is in the split"


def settled_splits(
    found: SourceClips, clips: Sequence[Clip], test_groups: Sequence[str]
) -> dict[str, str]:
    """Return the split of each group of ``found``, of which ``clips`` could be stored.

    Where groups that share a recording are in different splits, the splits are drawn again with
    such groups as one.
    """
    groups_of: dict[int, set[str]] = defaultdict(set)
    units = unit_of(clips)
    for clip in clips:
        groups_of[units[clip.clip_id]].add(clip.group)
    shared = [sorted(groups) for groups in groups_of.values() if len(groups) > 1]
    is_divided = any(len({found.splits[group] for group in groups}) > 1 for groups in shared)
    if not is_divided or found.draw is None:
        return dict(found.splits)
    splits = found.draw({group: groups[0] for groups in shared for group in groups})
    if splits == found.splits:
        return splits
    print(
        f"{sum(map(len, shared))} groups have a recording in common with another one: such groups"
        " share a split"
    )
    if added := sorted(
        group
        for groups in shared
        if set(groups) & set(test_groups)
        for group in set(groups) - set(test_groups)
    ):
        print(
            f"corpus.test_groups: {', '.join(added)} are tested on too: they share a recording with"
            " a group that is named"
        )
    return splits


def repeated_in_later_split(clips: Iterable[Clip], split_of: Mapping[str, str]) -> dict[str, str]:
    """Return, by clip id, why a clip is left out: its recording is also in a split that follows its
    own in ``ALL_SPLITS``.

    Recordings are the same if their stored bytes, or the bytes they were made from, are equal.
    ``split_of`` gives the split of each group.
    """
    clips_of: dict[str, list[Clip]] = defaultdict(list)
    for clip in clips:
        for digest in {clip.sha256, clip.source_sha256}:
            clips_of[digest].append(clip)
    reasons: dict[str, str] = {}
    for alike in clips_of.values():
        last = max(alike, key=lambda clip: ALL_SPLITS.index(split_of[clip.group]))
        for clip in alike:
            if split_of[clip.group] != split_of[last.group]:
                reasons.setdefault(
                    clip.clip_id, f"{ALSO_IN} {split_of[last.group]}, as {last.clip_id}"
                )
    return reasons

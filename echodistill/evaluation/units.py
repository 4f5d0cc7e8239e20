"""Determine which clips form one unit of resampling when an interval is computed. Pure.

Clips of one group (a speaker, a voice, a place) are not independent, so groups are resampled and
not clips. A clip without a group is a group by itself. Identical recordings are one observation,
whatever their names: groups that share a recording count as one unit.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from echodistill.core.records import Clip

UnitKind = Literal["group", "clip"]
Node = tuple[Literal["group", "audio"], str]
"""A group by its name, or a recording by its hash."""


@dataclass(frozen=True)
class Sample:
    """The number of clips and of units that a table of figures is computed from."""

    clips: int
    units: int
    """Number of units that are resampled."""

    @property
    def unit(self) -> UnitKind:
        """The kind of unit: ``clip`` if each unit is one clip, else ``group``."""
        return "clip" if self.units == self.clips else "group"

    def as_dict(self) -> dict[str, int | str]:
        """Return the fields as they are written to JSON."""
        return {"clips": self.clips, "units": self.units, "unit": self.unit}


def unit_of(clips: Iterable[Clip]) -> dict[str, int]:
    """Return the number of each clip's unit by clip id, counted from 0 in the order of clip ids.

    Units are the connected components of clips that share a group, ``sha256`` or ``source_sha256``.
    """
    ordered = sorted(clips, key=lambda clip: clip.clip_id)
    parent: dict[Node, Node] = {}

    def root(node: Node) -> Node:
        parent.setdefault(node, node)
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for clip in ordered:
        for digest in (clip.sha256, clip.source_sha256):
            parent[root(("audio", digest))] = root(("group", clip.group))
    numbers: dict[Node, int] = {}
    return {
        clip.clip_id: numbers.setdefault(root(("group", clip.group)), len(numbers))
        for clip in ordered
    }


def renumbered(
    clip_ids: Sequence[str], units: Mapping[str, int]
) -> tuple[NDArray[np.int64], Sample]:
    """Return the unit of each clip of ``clip_ids``, (N,) int64, numbered from 0 without gaps, and
    the sample.
    """
    numbers, unit_N = np.unique([units[clip_id] for clip_id in clip_ids], return_inverse=True)
    return unit_N.astype(np.int64), Sample(len(set(clip_ids)), len(numbers))

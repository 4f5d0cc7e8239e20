"""Units of the intervals: groups, clips without one, and recordings that are the same under two
names.
"""

import networkx
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from echodistill.core.records import Clip
from echodistill.evaluation.units import Sample, renumbered, unit_of


def clip(name: str, group: str, stored: str | None = None, source: str | None = None) -> Clip:
    """A clip with hashes of its own unless they are given."""
    digests = source or f"source of {name}", stored or f"stored {name}"
    return Clip(name, group, "test", None, "s", *digests, 16_000, 1.0, -20.0, "a.tar", 0, 1)


def test_clips_of_a_group_are_one_unit_and_the_order_of_rows_does_not_matter() -> None:
    clips = [clip("d", "ann"), clip("a", "bob"), clip("c", "ann"), clip("b", "b")]
    assert unit_of(clips) == {"a": 0, "b": 1, "c": 2, "d": 2} == unit_of(clips[::-1])


def test_identical_recordings_are_one_unit_with_all_of_their_groups() -> None:
    stored = [clip("a", "ann", stored="x"), clip("b", "bob", stored="x"), clip("c", "eve")]
    assert unit_of(stored) == {"a": 0, "b": 0, "c": 1}
    made_from = [clip("a", "ann", source="x"), clip("b", "bob", source="x"), clip("c", "eve")]
    assert unit_of(made_from) == {"a": 0, "b": 0, "c": 1}
    # ann = bob by one recording, bob = eve by another; dan is alone
    chain = [
        clip("a", "ann", stored="x"),
        clip("b", "bob", stored="x"),
        clip("c", "bob", stored="y"),
        clip("d", "eve", stored="y"),
    ]
    assert unit_of([*chain, clip("e", "dan"), clip("f", "ann")]) == {
        "a": 0,
        "b": 0,
        "c": 0,
        "d": 0,
        "e": 1,
        "f": 0,
    }


@given(
    st.lists(
        st.tuples(st.integers(0, 6), st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=25
    )
)
def test_units_are_the_connected_components(rows: list[tuple[int, int, int]]) -> None:
    clips = [
        clip(f"{n:02d}", f"g{group}", f"h{one}", f"h{other}")
        for n, (group, one, other) in enumerate(rows)
    ]
    graph = networkx.Graph()
    for one in clips:
        graph.add_edges_from(
            (("clip", one.clip_id), node)
            for node in (("g", one.group), one.sha256, one.source_sha256)
        )
    wanted = {
        frozenset(node[1] for node in part if node[0] == "clip")
        for part in networkx.connected_components(graph)
    }
    found = unit_of(clips)
    assert {
        frozenset(name for name in found if found[name] == number) for number in found.values()
    } == wanted
    assert sorted(set(found.values())) == list(range(len(wanted)))


def test_the_units_of_a_part_are_numbered_without_a_gap() -> None:
    unit, sample = renumbered(["c", "a", "c"], {"a": 9, "b": 4, "c": 2})
    assert np.array_equal(unit, [0, 1, 0])
    assert sample == Sample(clips=2, units=2)
    assert sample.as_dict() == {"clips": 2, "units": 2, "unit": "clip"}
    assert Sample(clips=3, units=2).unit == "group"

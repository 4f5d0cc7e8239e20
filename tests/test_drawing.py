"""Which mixes a clip of each split gets."""

from collections import Counter
from collections.abc import Mapping

import numpy as np
import pytest

from echodistill.core.records import SPLITS
from echodistill.data.mixes.drawing import Drawer, Sources
from tests.gate_world import PARAMS

BABBLE = Sources(tuple(f"train-{number}" for number in range(12)), 8)
SOURCES: Mapping[tuple[str, str], Sources] = {("crowd", split): BABBLE for split in SPLITS}
DRAWER = Drawer(1, PARAMS.mixes, SOURCES)


@pytest.mark.parametrize("split", SPLITS)
def test_the_count_is_the_number_of_mixes_drawn(split: str) -> None:
    drawn = DRAWER(("clip", split))
    assert len(drawn) == DRAWER.count(split)
    assert {mix.split for mix in drawn} == {split}


@pytest.mark.parametrize("split", ["validation", "decision"])
def test_a_clip_is_clean_once_and_noisy_once_at_every_snr(split: str) -> None:
    snrs_db = {"validation": PARAMS.mixes.snrs_db, "decision": PARAMS.mixes.decision_snrs_db}[split]
    levels = Counter(mix.snr_db for mix in DRAWER(("clip", split)))
    assert levels == Counter([None, *snrs_db])


def test_the_decision_has_all_kinds_equally_often_and_validation_the_seen_ones() -> None:
    def kinds(split: str) -> Counter[str]:
        mixes = [mix for number in range(600) for mix in DRAWER((f"{split}-{number}", split))]
        return Counter(mix.noise_kind for mix in mixes if mix.snr_db is not None)

    assert set(kinds("validation")) == set(PARAMS.mixes.seen)
    counts = kinds("decision")
    assert set(counts) == set(PARAMS.mixes.kinds)
    # 1,200 draws of three kinds: a count outside this has a probability below 1e-6
    assert np.ptp(list(counts.values())) < 160


def test_the_kinds_of_one_clip_depend_on_nothing_else() -> None:
    alone = DRAWER(("decision-7", "decision"))
    assert alone == [DRAWER((f"decision-{number}", "decision")) for number in (3, 7)][1]

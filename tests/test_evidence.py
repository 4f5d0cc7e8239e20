"""The table of many systems and seeds: its figures are plain means, its differences paired, its
tests corrected together.
"""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from echodistill.core.errors import UserError
from echodistill.core.seeds import rng
from echodistill.evaluation.many_systems import System, table_of
from echodistill.evaluation.scores import Outcomes, Scored
from echodistill.evaluation.units import Sample
from echodistill.params.evaluate import EvaluateParams

CLIPS, KINDS, SNRS = 40, ("crowd", "wind"), (-10.0, 0.0, 20.0)
SETTINGS = EvaluateParams(
    headline_max_snr_db=0.0, bootstrap_draws=400, confidence=0.95, student=None
)


def scored(name: str, skill: float, seed: int = 1, clips: int = CLIPS) -> Scored:
    """A system that is right with probability ``skill``, on rows in the order of clip, kind,
    SNR.
    """
    rows = [(clip, kind, snr) for clip in range(clips) for kind in KINDS for snr in SNRS]
    stream = rng(name, seed)
    right = stream.random(len(rows)) < skill
    clean_right = stream.random(clips) < 0.9
    return Scored(
        keys=tuple((f"q{clip:03d}", f"{kind}@{snr:g}") for clip, kind, snr in rows),
        clean_keys=tuple(f"q{clip:03d}" for clip in range(clips)),
        noise_kind=np.array([row[1] for row in rows]),
        snr_db=np.array([row[2] for row in rows]),
        noisy=outcomes(right, np.array([row[0] for row in rows]), stream),
        agrees_base=right,
        agrees_self=stream.random(len(rows)) < 0.7,
        clean=outcomes(clean_right, np.arange(clips), stream),
        sample=Sample(clips, clips),
    )


def outcomes(
    right: NDArray[np.bool_], unit: NDArray[np.int64], stream: np.random.Generator
) -> Outcomes:
    """Some wrong answers name no choice, and forced choice has some of those right."""
    unparsed = ~right & (stream.random(right.size) < 0.3)
    forced = right | (unparsed & (stream.random(right.size) < 0.5))
    every = np.ones(right.size, dtype=bool)
    return Outcomes(unit, right, unparsed, ~every, every, forced, forced | unparsed)


def system(name: str, skill: float, seeds: int = 3) -> System:
    return System(name, tuple(scored(name, skill, seed) for seed in range(seeds)))


@pytest.fixture(scope="module")
def table() -> dict[str, Any]:
    systems = [system("base", 0.4, 1), system("good", 0.7), system("same", 0.4)]
    return table_of(systems, [("good", "base"), ("same", "base"), ("good", "same")], SETTINGS, 1)


def mean(name: str, skill: float, seeds: int, rows: NDArray[np.bool_]) -> float:
    return float(np.mean([scored(name, skill, seed).noisy.right[rows] for seed in range(seeds)]))


def test_figures_are_plain_means_over_seeds(table: dict[str, Any]) -> None:
    one = scored("good", 0.7, 0)
    good = table["systems"]["good"]
    assert good["acc"]["value"] == pytest.approx(mean("good", 0.7, 3, one.snr_db <= 0))
    assert (good["acc"]["n"], good["acc"]["seeds"]) == (CLIPS * 4, 3)
    assert good["acc@20"]["value"] == pytest.approx(mean("good", 0.7, 3, one.snr_db == 20))
    assert good["acc/wind"]["value"] == pytest.approx(
        mean("good", 0.7, 3, (one.snr_db <= 0) & (one.noise_kind == "wind"))
    )
    assert table["systems"]["base"]["acc"]["seeds"] == 1
    assert table["cells"]["good"]["wind"]["20"] == pytest.approx(
        mean("good", 0.7, 3, (one.snr_db == 20) & (one.noise_kind == "wind"))
    )
    assert (good["clean_acc"]["n"], good["gsr@0"]["n"]) == (CLIPS, CLIPS * 2)
    assert all(
        0 <= one["low"] <= one["value"] <= one["high"] <= 1
        for found in table["systems"].values()
        for one in found.values()
    )


def test_differences_are_paired_and_tested(table: dict[str, Any]) -> None:
    found = table["differences"]["good - base"]
    assert found["acc"]["value"] == pytest.approx(
        table["systems"]["good"]["acc"]["value"] - table["systems"]["base"]["acc"]["value"]
    )
    assert found["acc"]["low"] > 0.1
    assert found["test"]["cohens_g"] > 0.15
    assert found["test"]["p_holm"] < 0.01
    equal = table["differences"]["same - base"]
    assert equal["acc"]["low"] < 0 < equal["acc"]["high"]
    assert equal["test"]["p"] > 0.05
    p = [one["test"]["p"] for one in table["differences"].values()]
    assert min(one["test"]["p_holm"] for one in table["differences"].values()) == pytest.approx(
        min(1.0, 3 * min(p))
    )


def test_the_standard_deviation_over_seeds_is_beside_each_figure(table: dict[str, Any]) -> None:
    one = scored("good", 0.7, 0)
    rows = one.snr_db <= 0
    means = [scored("good", 0.7, seed).noisy.right[rows].mean() for seed in range(3)]
    middle = sum(means) / 3
    by_hand = (sum((mean - middle) ** 2 for mean in means) / 2) ** 0.5
    assert table["systems"]["good"]["acc"]["seed_sd"] == pytest.approx(by_hand)
    assert table["systems"]["base"]["acc"]["seed_sd"] is None
    # the base is the same for every seed: the difference varies as the system does
    assert table["differences"]["good - base"]["acc"]["seed_sd"] == pytest.approx(by_hand)
    assert table["differences"]["good - same"]["acc"]["seed_sd"] != pytest.approx(by_hand)


def test_forced_choice_and_unparsed_answers_have_intervals_too(table: dict[str, Any]) -> None:
    names = (
        "acc_forced",
        "acc_forced_norm",
        "clean_acc_forced",
        "unparsed@20",
        "acc_forced/wind",
        "truncated",
    )
    for found in (table["systems"]["good"], table["differences"]["good - base"]):
        assert all(
            found[name]["low"] <= found[name]["value"] <= found[name]["high"] for name in names
        )
    rows = scored("good", 0.7, 0).snr_db <= 0
    forced = np.mean([scored("good", 0.7, seed).noisy.forced[rows] for seed in range(3)])
    assert table["systems"]["good"]["acc_forced"]["value"] == pytest.approx(forced)


def test_p_is_about_the_methods_and_not_about_the_trained_models() -> None:
    """Three seeds that differ by 30 points: each model's difference is sure, the methods' is
    not.
    """
    base = System("base", (scored("base", 0.5),))
    apart = System(
        "apart", tuple(scored("apart", skill, seed) for seed, skill in enumerate((0.5, 0.65, 0.8)))
    )
    found = table_of([base, apart], [("apart", "base")], SETTINGS, 1)["differences"]["apart - base"]
    assert found["acc"]["seed_sd"] > 0.1
    assert found["acc"]["low"] < 0 < found["acc"]["value"]
    assert found["test"]["p"] > 0.05
    for name, one in table_of(
        [base, apart, system("good", 0.9)], [("apart", "base"), ("good", "base")], SETTINGS, 1
    )["differences"].items():
        assert (one["test"]["p"] < 0.05) == (one["acc"]["low"] > 0 or one["acc"]["high"] < 0), name


def test_a_system_against_itself_has_no_difference_and_no_p() -> None:
    found = table_of(
        [system("a", 0.5), System("b", system("a", 0.5).scored)], [("a", "b")], SETTINGS, 1
    )["differences"]["a - b"]
    assert (found["acc"]["low"], found["acc"]["value"], found["acc"]["high"]) == (0.0, 0.0, 0.0)
    assert found["test"]["p"] == 1.0


def test_the_table_is_the_same_every_time() -> None:
    systems = [system("base", 0.4, 1), system("good", 0.7)]
    assert table_of(systems, [("good", "base")], SETTINGS, 1) == table_of(
        systems, [("good", "base")], SETTINGS, 1
    )


def test_systems_that_answered_other_mixes_are_refused() -> None:
    other = System("other", (scored("other", 0.5, clips=CLIPS - 1),))
    with pytest.raises(UserError, match=r"other and base did not answer the same mixes"):
        table_of([system("base", 0.4, 1), other], [], SETTINGS, 1)
    with pytest.raises(UserError, match=r"seeds of x did not answer the same mixes \(number 2\)"):
        System("x", (scored("x", 0.5), scored("x", 0.5, clips=3)))
    with pytest.raises(UserError, match="a has 2 seeds and b 3"):
        table_of([system("a", 0.4, 2), system("b", 0.4, 3)], [("a", "b")], SETTINGS, 1)

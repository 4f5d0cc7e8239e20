"""Accuracy under distortions: figures by hand, paired, from mild to severe."""

import numpy as np
import pytest

from echodistill.audio.distortions.recipe import KINDS, defaults
from echodistill.core.errors import UserError
from echodistill.core.records import Answer
from echodistill.evaluation.generalisation import distortion_table, level_table
from echodistill.params.evaluate import EvaluateParams
from tests.answers import answer, units_of
from tests.test_page import QUESTIONS

UNITS = units_of(QUESTIONS.values())
SETTINGS = EvaluateParams(
    headline_max_snr_db=0.0, bootstrap_draws=200, confidence=0.95, student=None
)


def answers(right: dict[str, int]) -> list[Answer]:
    """Of each distortion as many questions right as named, else none."""
    return [
        answer(
            f"c{number}/{one.name}",
            f"q{number}",
            one.name,
            None,
            "red" if number < right.get(one.name, 0) else "blue",
        )
        for one in defaults()
        for number in range(len(QUESTIONS))
    ]


def test_every_kind_is_a_curve_from_mild_to_severe() -> None:
    found = distortion_table(
        answers({"reverb@0.2": 4}),
        answers({"reverb@0.2": 6, "codec@6": 2}),
        QUESTIONS,
        UNITS,
        SETTINGS,
        1,
    )
    assert set(found) == set(KINDS)
    for name, kind in KINDS.items():
        assert tuple(one["severity"] for one in found[name]["conditions"]) == kind.severities  # type: ignore[attr-defined]
    mild = found["reverb"]["conditions"][0]  # type: ignore[index]
    assert (mild["base"]["value"], mild["student"]["value"], mild["difference"]["value"]) == (
        0.5,
        0.75,
        0.25,
    )
    assert mild["difference"]["low"] < 0.25 < mild["difference"]["high"]
    severest = found["codec"]["conditions"][-1]  # type: ignore[index]
    assert (severest["severity"], severest["student"]["value"]) == (6.0, 0.25)
    assert np.isfinite(
        [
            one[end]
            for one in (mild["base"], severest["difference"])
            for end in ("value", "low", "high")
        ]
    ).all()


def at_levels(right: dict[float, int]) -> list[Answer]:
    """At each SNR as many of the questions right as named."""
    return [
        answer(
            f"c{number}/rain@{snr:g}",
            f"q{number}",
            "rain",
            snr,
            "red" if number < count else "blue",
        )
        for snr, count in right.items()
        for number in range(len(QUESTIONS))
    ]


def test_a_curve_against_snr_is_the_mean_of_the_seeds_and_states_what_training_had() -> None:
    base, seeds = (
        at_levels({-10.0: 2, 20.0: 6}),
        [at_levels({-10.0: 4, 20.0: 6}), at_levels({-10.0: 6, 20.0: 8})],
    )
    found = level_table("Rain", base, seeds, QUESTIONS, UNITS, [-10.0], SETTINGS, 1)
    low, high = found["conditions"]
    assert (low["severity"], low["trained"], low["n"]) == (-10.0, True, 8)
    assert (high["severity"], high["trained"]) == (20.0, False)
    assert (low["base"]["value"], low["student"]["value"], low["difference"]["value"]) == (
        0.25,
        0.625,
        0.375,
    )
    assert (high["base"]["value"], high["student"]["value"]) == (0.75, 0.875)
    with pytest.raises(UserError, match="did not answer under the same conditions"):
        level_table("Rain", base, [seeds[0], seeds[1][1:]], QUESTIONS, UNITS, [], SETTINGS, 1)


def test_of_a_level_of_one_clip_nothing_is_known() -> None:
    rows = [
        row
        for row in at_levels({-10.0: 2, 20.0: 6})
        if row.snr_db == 20.0 or row.question_id == "q0"
    ]
    one, several = level_table("Rain", rows, [rows, rows], QUESTIONS, UNITS, [], SETTINGS, 1)[
        "conditions"
    ]
    assert (one["severity"], one["n"]) == (-10.0, 1)
    assert one["student"] == {"value": 1.0, "low": 0.0, "high": 1.0}
    assert one["difference"] == {"value": 0.0, "low": -1.0, "high": 1.0}
    assert several["student"]["low"] > 0.0


def test_clips_of_one_speaker_are_one_unit() -> None:
    """Four speakers of two clips each, who are all right or all wrong: eight clips are no more than
    four.
    """
    base, student = at_levels({0.0: 0}), at_levels({0.0: 4})
    pairs = {clip: number // 2 for clip, number in UNITS.items()}
    (by_clip,) = level_table("Rain", base, [student], QUESTIONS, UNITS, [], SETTINGS, 1)[
        "conditions"
    ]
    (by_speaker,) = level_table("Rain", base, [student], QUESTIONS, pairs, [], SETTINGS, 1)[
        "conditions"
    ]
    width = {
        name: found["high"] - found["low"]
        for name, found in (("clip", by_clip["difference"]), ("speaker", by_speaker["difference"]))
    }
    assert width["speaker"] > 1.3 * width["clip"]


def test_answers_to_other_questions_are_refused() -> None:
    with pytest.raises(UserError, match="did not answer under the same conditions"):
        distortion_table(answers({}), answers({})[1:], QUESTIONS, UNITS, SETTINGS, 1)

"""Accuracy under distortions: figures by hand, paired, from mild to severe."""

import numpy as np
import pytest

from echodistill.audio.distortions.recipe import KINDS, defaults
from echodistill.errors import UserError
from echodistill.evaluation.generalisation import distortion_table
from echodistill.params import CompareParams
from echodistill.records import Answer
from tests.test_page import QUESTIONS

SETTINGS = CompareParams(headline_max_snr_db=0.0, bootstrap_draws=200, confidence=0.95)


def answers(right: dict[str, int]) -> list[Answer]:
    """Of each distortion as many questions right as named, else none."""
    return [
        Answer(f"c{number}/{one.name}", f"q{number}", one.name, None, "red" if number < right.get(one.name, 0) else "blue")
        for one in defaults()
        for number in range(len(QUESTIONS))
    ]


def test_every_kind_is_a_curve_from_mild_to_severe() -> None:
    found = distortion_table(answers({"reverb@0.2": 4}), answers({"reverb@0.2": 6, "codec@6": 2}), QUESTIONS, SETTINGS, 1)
    assert set(found) == set(KINDS)
    for name, kind in KINDS.items():
        assert tuple(one["severity"] for one in found[name]["conditions"]) == kind.severities  # type: ignore[attr-defined]
    mild = found["reverb"]["conditions"][0]  # type: ignore[index]
    assert (mild["base"]["value"], mild["student"]["value"], mild["difference"]["value"]) == (0.5, 0.75, 0.25)
    assert mild["difference"]["low"] < 0.25 < mild["difference"]["high"]
    severest = found["codec"]["conditions"][-1]  # type: ignore[index]
    assert (severest["severity"], severest["student"]["value"]) == (6.0, 0.25)
    assert np.isfinite([one[end] for one in (mild["base"], severest["difference"]) for end in ("value", "low", "high")]).all()


def test_answers_to_other_questions_are_refused() -> None:
    with pytest.raises(UserError, match="did not answer under the same conditions"):
        distortion_table(answers({}), answers({})[1:], QUESTIONS, SETTINGS, 1)

"""The rotation's table: each kind's gain with and without it in training, by hand."""

from dataclasses import replace

import numpy as np
import pytest

from echodistill.audio.kinds import ALL_KINDS
from echodistill.core.errors import UserError
from echodistill.evaluation.rotation import Fold, rotation_table
from echodistill.evaluation.scores import Scored
from tests.test_evidence import SETTINGS, scored


def with_right(base: Scored, right_in: dict[str, bool]) -> Scored:
    """Return a student that is right in every answer to some kinds and wrong in every answer to the
    others.
    """
    right = np.array([right_in[str(kind)] for kind in base.noise_kind])
    return replace(base, noisy=replace(base.noisy, right=right, forced=~right))


def test_each_kind_is_judged_with_and_without_it_in_training() -> None:
    base = with_right(scored("base", 0.0), {"crowd": False, "wind": False})
    # the first fold lacks wind and learns crowd alone; the second lacks crowd and learns both all
    # the same
    folds = [
        Fold(("wind",), with_right(base, {"crowd": True, "wind": False})),
        Fold(("crowd",), with_right(base, {"crowd": True, "wind": True})),
    ]
    table = rotation_table(base, folds, SETTINGS, 1)
    found = table["acc"]
    values = {
        name: {part: one["value"] for part, one in row.items() if part != "n"}  # type: ignore[index]
        for name, row in found.items()
    }
    assert values["wind"] == {"base": 0.0, "trained": 1.0, "held_out": 0.0, "difference": -1.0}
    assert values["crowd"] == {"base": 0.0, "trained": 1.0, "held_out": 1.0, "difference": 0.0}
    assert values[ALL_KINDS] == {"base": 0.0, "trained": 1.0, "held_out": 0.5, "difference": -0.5}
    # forced choice is the opposite in these made-up students
    assert table["acc_forced"][ALL_KINDS]["held_out"]["value"] == -0.5  # type: ignore[index]
    assert found["wind"]["n"] == (base.noise_kind[base.snr_db <= 0] == "wind").sum()
    assert found[ALL_KINDS]["difference"]["low"] <= -0.5 <= found[ALL_KINDS]["difference"]["high"]  # type: ignore[index]


def test_with_three_folds_the_gain_of_trained_kinds_is_a_mean_of_two_students() -> None:
    base = with_right(scored("base", 0.0), {"crowd": False, "wind": False})
    folds = [
        Fold(("wind",), with_right(base, {"crowd": True, "wind": False})),
        Fold(("crowd",), with_right(base, {"crowd": False, "wind": True})),
        Fold((), with_right(base, {"crowd": False, "wind": False})),
    ]
    table = rotation_table(base, folds, SETTINGS, 1)
    found = table["acc"]
    assert found["crowd"]["trained"]["value"] == found["wind"]["trained"]["value"] == 0.5  # type: ignore[index]


def test_folds_that_answered_other_mixes_are_refused() -> None:
    base = scored("base", 0.4)
    with pytest.raises(UserError, match="did not answer the same mixes"):
        rotation_table(
            base, [Fold(("wind",), scored("x", 0.5, clips=3)), Fold(("crowd",), base)], SETTINGS, 1
        )

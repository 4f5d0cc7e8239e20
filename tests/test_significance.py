"""The effect size of a difference and the correction of p: hand-worked cases."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from echodistill.evaluation.significance import discordance, holm


def test_the_effect_is_given_in_shares_of_what_differs() -> None:
    found = discordance(np.array([1.0, 1.0, 1.0, -1.0, 0.0, 0.0]))
    assert (found.only_first, found.only_second) == (3, 1)
    assert found.cohens_g == pytest.approx(0.25)
    assert discordance(np.zeros(3)).cohens_g == 0.0


def test_holm_by_hand() -> None:
    # 4 x 0.01, 3 x 0.02, 2 x 0.04 and 0.045 raised to the one before
    given_p = {"c": 0.04, "a": 0.01, "d": 0.045, "b": 0.02}
    assert holm(given_p) == pytest.approx({"c": 0.08, "a": 0.04, "d": 0.08, "b": 0.06})
    assert list(holm(given_p)) == list(given_p)
    assert holm({"x": 0.6, "y": 0.9}) == {"x": 1.0, "y": 1.0}
    assert holm({}) == {}


@given(st.dictionaries(st.text(max_size=3), st.floats(0, 1), max_size=8))
def test_holm_never_lowers_a_p_nor_changes_their_order(p_of: dict[str, float]) -> None:
    corrected = holm(p_of)
    assert all(p <= corrected[name] <= 1.0 for name, p in p_of.items())
    for one, other in product(p_of, repeat=2):
        assert p_of[one] > p_of[other] or corrected[one] <= corrected[other]

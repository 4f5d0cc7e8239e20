"""Compute the effect size of a paired difference, and correct p-values for multiple tests. Pure
numpy.

Interpret the effect and its interval first. The p-value belongs to the interval
(``intervals.p_value``).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Discordance:
    """Numbers of rows on which one system is right and the other wrong."""

    only_first: int
    only_second: int

    @property
    def cohens_g(self) -> float:
        """Share of the discordant rows that the first system has right, minus a half: 0.05 is
        small, 0.15 medium, 0.25 large (Cohen 1988).

        It describes these rows and is no test. It is 0 if the systems never differ.
        """
        rows = self.only_first + self.only_second
        return self.only_first / rows - 0.5 if rows else 0.0


def discordance(gain: NDArray[np.float64]) -> Discordance:
    """Count the rows that only one of two systems has right; ``gain`` holds 1, 0 or -1 for each
    row.
    """
    return Discordance(int((gain > 0).sum()), int((gain < 0).sum()))


def holm(p_of: Mapping[str, float]) -> dict[str, float]:
    """Return the p-values after Holm's step-down correction (1979), which bounds the probability of
    any false finding in the whole table.
    """
    ordered = sorted(p_of, key=lambda name: p_of[name])
    corrected, least = {}, 0.0
    for rank, name in enumerate(ordered):
        least = max(least, min(1.0, (len(ordered) - rank) * p_of[name]))
        corrected[name] = least
    return {name: corrected[name] for name in p_of}

"""The effect size of a paired difference, and the correction of p where many tests are made. Pure
numpy.

Read the effect and its interval first. The p itself is that of the interval
(``intervals.p_value``).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Discordance:
    """Rows of which one system is right and the other wrong."""

    only_first: int
    only_second: int

    @property
    def cohens_g(self) -> float:
        """Share of the discordant rows that the first system wins, less a half: 0.05 small, 0.15
        medium, 0.25 large (Cohen 1988).

        It describes these rows and is no test. 0 where the systems never differ.
        """
        rows = self.only_first + self.only_second
        return self.only_first / rows - 0.5 if rows else 0.0


def discordance(gain: NDArray[np.float64]) -> Discordance:
    """Count the rows that only one of two systems has right; ``gain`` is 1, 0 or -1 a row."""
    return Discordance(int((gain > 0).sum()), int((gain < 0).sum()))


def holm(p_of: Mapping[str, float]) -> dict[str, float]:
    """Holm's step-down correction (1979): one false finding in the whole table stays as unlikely as
    each p says.
    """
    ordered = sorted(p_of, key=lambda name: p_of[name])
    corrected, least = {}, 0.0
    for rank, name in enumerate(ordered):
        least = max(least, min(1.0, (len(ordered) - rank) * p_of[name]))
        corrected[name] = least
    return {name: corrected[name] for name in p_of}

"""How often p rejects a difference between two methods that are the same.

``python -m benchmarks.null_rejection``: two identical methods, three seeds each, 120 clips with 30
rows each. Clips differ in difficulty, and each trained model is better or worse than its method by
a normal deviation of the seed. Printed is the share of simulations with p < 0.05, which should be 5
%, for several standard deviations of the seed.
"""

import numpy as np
from numpy.typing import NDArray

from echodistill.core.seeds import rng
from echodistill.evaluation.intervals import p_value, resamples

SEEDS, CLIPS, ROWS = 3, 120, 30
SEED_DEVIATIONS = (0.0, 0.005, 0.0085, 0.017, 0.05)
"""Of a model's accuracy, in shares."""
LEVEL = 0.05


def method(
    stream: np.random.Generator, difficulty_C: NDArray[np.float64], deviation: float
) -> NDArray[np.float64]:
    """Return one method's right and wrong answers, (seeds, clips * rows)."""
    of_seed = deviation * stream.standard_normal((SEEDS, 1, 1))
    skill = np.clip(difficulty_C[None, :, None] + of_seed, 0.0, 1.0)
    return (
        (stream.random((SEEDS, difficulty_C.size, ROWS)) < skill)
        .reshape(SEEDS, -1)
        .astype(np.float64)
    )


def rejection_rate(deviation: float, simulations: int, draws: int) -> float:
    """Return the share of simulations in which two identical methods are found to differ."""
    unit = np.repeat(np.arange(CLIPS), ROWS)
    rejected = 0
    for number in range(simulations):
        stream = rng("null", deviation, number)
        difficulty = stream.beta(2.0, 2.0, CLIPS)
        gain = method(stream, difficulty, deviation) - method(stream, difficulty, deviation)
        rejected += p_value(gain, unit, resamples(CLIPS, draws, stream), 1.0 - LEVEL) < LEVEL
    return rejected / simulations


def main() -> None:
    """Print the rejection rates."""
    simulations = 4000
    print(f"{simulations} simulations each; share with p < {LEVEL:g}")
    for deviation in SEED_DEVIATIONS:
        print(
            f"seed s.d. {100 * deviation:4.2f} points:"
            f" {100 * rejection_rate(deviation, simulations, 500):.1f} %",
            flush=True,
        )


if __name__ == "__main__":
    main()

"""What denoisers and distortions cost in processor time, and what denoisers take from clean speech,
as Markdown tables.

``python -m benchmarks.denoisers``. Cost: processor time per second of audio; the first call of each
is left out (imports, a room's simulation), the best of the rounds is shown, and its ratio to the
cheapest of the table. Clean speech: the SI-SDR of each denoiser's output on clips of the embedded
corpus without any noise, so that what it removes is speech alone.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from echodistill.audio.denoise import DENOISERS
from echodistill.audio.distortions.recipe import defaults
from echodistill.audio.distortions.render import render
from echodistill.audio.levels import SAMPLE_RATE, Waveform
from echodistill.core.seeds import rng
from echodistill.data import builtin
from echodistill.data.builtin import Espeak
from echodistill.params.whole import load_params

PARAMS = Path(__file__).parents[1] / "params.yaml"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=1.0, help="length of the clip")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument(
        "--clips", type=int, default=40, help="clean clips of the embedded corpus's test voices"
    )
    options = parser.parse_args()
    _clean_table(clean_speech(options.clips))
    clip = _clip(options.seconds)
    _table("denoiser", DENOISERS, clip, options.rounds)
    distortions: dict[str, Callable[[Waveform], Waveform]] = {
        one.name: partial(render, one) for one in defaults()
    }
    _table("distortion", distortions, clip, options.rounds)


def si_sdr_db(clean: NDArray[np.floating], estimate: NDArray[np.floating]) -> float:
    """Return the scale-invariant signal-to-distortion ratio in dB, computed in float64.

    The part of ``estimate`` (samples,) that is a multiple of ``clean`` is the signal, the rest
    distortion; ``inf`` without any, ``-inf`` without signal. Source: Le Roux et al. 2019 (arXiv
    1811.02508), without removing means.
    """
    reference, found = np.asarray(clean, np.float64), np.asarray(estimate, np.float64)
    signal = (found @ reference) / (reference @ reference) * reference
    distortion = found - signal
    with np.errstate(divide="ignore"):
        return float(10.0 * np.log10(signal @ signal) - 10.0 * np.log10(distortion @ distortion))


def clean_speech(count: int) -> list[Waveform]:
    """Return ``count`` clips of the embedded corpus by the default's test voices, in memory."""
    params = load_params(PARAMS)
    corpus = params.corpus.model_copy(
        update={
            "clips": params.corpus.clips.model_copy(
                update={"train": 1, "validation": 0, "test": count}
            )
        }
    )
    with Espeak() as espeak:
        clips = [
            clip
            for clip in builtin.read(corpus, params.seed, espeak).clips
            if clip.clip_id.startswith("test-")
        ]
        return [clip.read()[0].waveform for clip in clips]


def _clean_table(clips: list[Waveform]) -> None:
    print(
        f"| denoiser | SI-SDR of {len(clips)} clean clips in dB: minimum | median | maximum"
        " |\n|---|---|---|---|"
    )
    for name, denoise in DENOISERS.items():
        values = [si_sdr_db(clip, denoise(clip)) for clip in clips]
        print(f"| {name} | {min(values):.1f} | {np.median(values):.1f} | {max(values):.1f} |")
    print()


def _clip(seconds: float) -> Waveform:
    """A tone that comes and goes, in noise at 10 dB."""
    time_s = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    tone = 0.3 * np.sin(2 * np.pi * 220 * time_s) * (np.sin(2 * np.pi * 2 * time_s) > 0)
    return (tone + 0.05 * rng("benchmark").standard_normal(time_s.size)).astype(np.float32)


def _table(
    title: str, functions: dict[str, Callable[[Waveform], Waveform]], clip: Waveform, rounds: int
) -> None:
    costs = {name: _cost(function, clip, rounds) for name, function in functions.items()}
    cheapest = min(costs.values())
    print(f"| {title} | ms per s of audio | × cheapest |\n|---|---|---|")
    for name, cost in costs.items():
        print(f"| {name} | {1e3 * cost:.1f} | {cost / cheapest:.1f} |")
    print()


def _cost(function: Callable[[Waveform], Waveform], clip: Waveform, rounds: int) -> float:
    """Processor seconds, of all threads together, per second of audio: other programs at work count
    less than in elapsed time.
    """
    function(clip)
    spent = []
    for _ in range(rounds):
        started = time.process_time()
        function(clip)
        spent.append(time.process_time() - started)
    return min(spent) * SAMPLE_RATE / clip.size


if __name__ == "__main__":
    main()

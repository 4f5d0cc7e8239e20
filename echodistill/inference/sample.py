"""Choose the mixes of the test that a denoiser is tried on.

Denoising takes up to a third of a second for each clip, so not every kind of noise is tried. This
module has no side effects.
"""

from collections.abc import Sequence

from echodistill.audio.mixing import Mix
from echodistill.core.seeds import rng

KINDS_PER_CLIP = 2
"""Number of kinds of noise at each SNR, drawn anew for every clip, so that all kinds take part.

Intervals are computed over clips, and every clip takes part.
"""


def denoised_mixes(mixes: Sequence[Mix], max_snr_db: float, seed: int) -> set[str]:
    """Return the ids of the chosen mixes among the test's ``mixes``.

    These are all clean mixes and, for each clip and each SNR up to ``max_snr_db``, the mixes of two
    kinds of noise.
    """
    chosen = {mix.mix_id for mix in mixes if mix.snr_db is None}
    cells: dict[tuple[str, float], list[str]] = {}
    for mix in sorted(mixes, key=lambda mix: mix.mix_id):
        if mix.snr_db is not None and mix.snr_db <= max_snr_db:
            cells.setdefault((mix.clip_id, mix.snr_db), []).append(mix.mix_id)
    for (clip_id, snr_db), ids in cells.items():
        order = rng(seed, "denoised", clip_id, f"{snr_db:g}").permutation(len(ids))
        chosen |= {ids[index] for index in order[:KINDS_PER_CLIP]}
    return chosen

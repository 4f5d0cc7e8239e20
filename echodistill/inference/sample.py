"""Which mixes of the test a denoiser is tried in: one of them costs a third of a second a clip, so
not every kind. Pure.
"""

from collections.abc import Sequence

from echodistill.audio.mixing import Mix
from echodistill.core.seeds import rng

KINDS_A_CLIP = 2
"""At each SNR, drawn anew for every clip, so that all kinds take part. Intervals are over clips,
and every clip takes part.
"""


def denoised_mixes(mixes: Sequence[Mix], max_snr_db: float, seed: int) -> set[str]:
    """Ids among the test's ``mixes``: every clean one, and up to ``max_snr_db`` those of two kinds
    a clip and SNR.
    """
    chosen = {mix.mix_id for mix in mixes if mix.snr_db is None}
    cells: dict[tuple[str, float], list[str]] = {}
    for mix in sorted(mixes, key=lambda mix: mix.mix_id):
        if mix.snr_db is not None and mix.snr_db <= max_snr_db:
            cells.setdefault((mix.clip_id, mix.snr_db), []).append(mix.mix_id)
    for (clip_id, snr_db), ids in cells.items():
        order = rng(seed, "denoised", clip_id, f"{snr_db:g}").permutation(len(ids))
        chosen |= {ids[index] for index in order[:KINDS_A_CLIP]}
    return chosen

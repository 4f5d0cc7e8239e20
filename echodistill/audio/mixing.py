"""Draw noise recipes (``Mix``) once, and render them bit for bit the same whenever they are read.

Source: protocol of arXiv 2605.23954 (SNR by full-clip mean power).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from echodistill.audio.kinds import CROWD, condition_name
from echodistill.audio.levels import Waveform, power, scaled
from echodistill.core.errors import UserError
from echodistill.core.seeds import rng, seed_of

MAX_PEAK = 0.999  # Largest peak after mixing; full scale is 1.


@dataclass(frozen=True)
class Mix:
    """A clip and a noise recipe: all that is needed to render one noisy clip."""

    mix_id: str
    clip_id: str
    split: str
    noise_kind: str
    """Kind of noise, or ``clean``."""
    snr_db: float | None
    """Ratio of the full-clip mean powers in dB; ``None`` when clean."""
    noise_seed: int
    """Seed of the random stream of the noise: the waveform of a procedural kind, or the offset into
    a recording.
    """
    noise_sources: tuple[str, ...]
    """Clips that a babble is made of, or the one recording; empty for procedural kinds."""


@dataclass(frozen=True)
class Rendered:
    """Both views of a mix, shape (samples,) float32, scaled by one common factor so that neither is
    clipped.
    """

    clean: Waveform
    noisy: Waveform
    gain: float
    """The common factor; 1.0 unless the noisy view would exceed ``MAX_PEAK``."""


def draw(
    seed: int,
    clip_id: str,
    split: str,
    noise_kind: str,
    snr_db: float | None,
    repeat: int,
    sources: Sequence[str] = (),
    picks: int = 1,
) -> Mix:
    """Draw the recipe of one clip under one condition, which depends on the arguments alone and not
    on the order of calls.

    ``sources`` are the candidates, of which up to ``picks`` are used: clips for a babble, one
    recording of a kind, or nothing for a procedural kind. Raise ``UserError`` for a babble without
    a second clip.
    """
    condition = condition_name(noise_kind, snr_db)
    stream = rng(seed, clip_id, condition, repeat)
    # A recording may have the name of a clip without being that clip.
    others = [source for source in sources if source != clip_id or noise_kind != CROWD]
    if sources and not others:
        raise UserError(
            f"mixes.kinds: clip {clip_id} has no other clips for a crowd. Give more training clips"
            " or drop `crowd`"
        )
    picked = (
        stream.choice(len(others), size=min(picks, len(others)), replace=False) if others else ()
    )
    return Mix(
        mix_id=f"{clip_id}/{condition}" + (f"/{repeat}" if repeat else ""),
        clip_id=clip_id,
        split=split,
        noise_kind=noise_kind,
        snr_db=snr_db,
        noise_seed=seed_of(seed, clip_id, condition, repeat, "noise"),
        noise_sources=tuple(others[index] for index in picked),
    )


def render(mix: Mix, clean: Waveform, noise: NDArray[np.floating] | None) -> Rendered:
    """Return the clip with ``noise`` (same length as ``clean``) added at the recipe's SNR.

    Mixing works on amplitudes while the SNR is a ratio of powers, hence the square root: ``scale =
    sqrt(P_clean / 10^(snr/10) / P_noise)``. If the sum exceeds full scale, both views are scaled by
    one factor, because the teacher and the student must receive the same level.

    Raise ``UserError`` when either signal is silent, since no SNR is then defined.
    """
    if mix.snr_db is None:
        return Rendered(clean=clean, noisy=clean, gain=1.0)
    if noise is None or noise.shape != clean.shape:
        raise ValueError(f"{mix.mix_id}: noise must have the clip's shape {clean.shape}")
    clean_power, noise_power = power(clean), power(noise)
    if clean_power == 0.0:
        raise UserError(
            f"clip {mix.clip_id} is silent: no SNR is defined. Remove it from the corpus"
        )
    if noise_power == 0.0:
        cure = (
            f"Replace {', '.join(mix.noise_sources)}"
            if mix.noise_sources
            else f"Leave {mix.noise_kind} out of mixes.kinds"
        )
        raise UserError(f"the noise of mix {mix.mix_id} is silent: no SNR is defined. {cure}")
    scale = np.sqrt(clean_power / 10.0 ** (mix.snr_db / 10.0) / noise_power)
    noisy = clean.astype(np.float64) + scale * noise.astype(np.float64)
    peak = max(float(np.max(np.abs(noisy))), float(np.max(np.abs(clean))))
    gain = min(1.0, MAX_PEAK / peak)
    return Rendered(
        clean=scaled(clean, gain),
        noisy=(gain * noisy).astype(np.float32),
        gain=gain,
    )

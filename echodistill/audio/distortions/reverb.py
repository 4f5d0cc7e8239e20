"""Reverberation in rooms of random size.

Early reflections are computed with the image-source method (Allen, Berkley 1979) of pyroomacoustics
(MIT). Late reflections, which listeners cannot distinguish, are noise that decays with the wanted
T60 (Lehmann, Johansson 2010), because enough images for a second would take seconds to compute.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from echodistill.audio.distortions.full_scale import match_power, within_full_scale
from echodistill.audio.levels import SAMPLE_RATE, Waveform
from echodistill.core.errors import UserError
from echodistill.core.seeds import rng

ROOMS = 8
MAX_ORDER = (
    # Maximum reflections of an image: all that arrive in the first 80 ms, even in the lowest room.
    20
)
LATE_S = 0.08  # Seconds after the sound was made, from which noise replaces the images.
MATCHED_S = 0.04  # Seconds before that in which the level of the noise is matched to the images.
WALL_M = 0.5  # Smallest distance in metres of mouth and microphone from a wall.


def reverb(waveform: Waveform, t60_s: float, stream: np.random.Generator) -> Waveform:
    """Return the clip in one of the ``ROOMS``, which is drawn. The shape is (samples,).

    The result is aligned in time with the direct sound, cut where the clip ends, and has the clip's
    mean power.
    """
    response, direct = room_response(int(stream.integers(ROOMS)), t60_s)
    length = waveform.size + response.size
    length += -length % 1024  # A length with a large prime factor takes several times as long.
    wet = np.fft.irfft(
        np.fft.rfft(waveform.astype(np.float64), length) * np.fft.rfft(response, length), length
    )
    return within_full_scale(match_power(wet[direct : direct + waveform.size], waveform))


@lru_cache(maxsize=64)
def room_response(room: int, t60_s: float) -> tuple[NDArray[np.float64], int]:
    """Return the impulse response of a room, shape (samples,), and the index of the direct sound in
    it. The same arguments always give the same response.

    A room's size and the places in it depend on its number alone; ``t60_s``, the time in which the
    sound falls by 60 dB, determines its walls. Raise ``UserError`` when pyroomacoustics is missing.
    """
    try:
        import pyroomacoustics as pra
    except ImportError as error:
        raise UserError(
            f"reverberation needs the package pyroomacoustics ({error}): install it with `pip"
            " install pyroomacoustics`"
        ) from error

    stream = rng("room", room)
    size_m = stream.uniform((3.5, 3.0, 2.4), (8.0, 6.0, 3.5))
    source_m, microphone_m = _positions(stream, size_m)
    # With more threads, sums would depend on the number of cores.
    pra.constants.set("num_threads", 1)
    shoebox = pra.ShoeBox(
        size_m,
        fs=SAMPLE_RATE,
        materials=pra.Material(absorption(size_m, t60_s)),
        max_order=MAX_ORDER,
    )
    shoebox.add_source(source_m)
    shoebox.add_microphone(microphone_m)
    shoebox.compute_rir()
    # Each arrival is delayed by this many samples, because its interpolation starts before it.
    delay = pra.constants.get("frac_delay_length") // 2
    distance = np.linalg.norm(source_m - microphone_m) / pra.constants.get("c") * SAMPLE_RATE
    direct = round(delay + float(distance))
    early = shoebox.rir[0][0].astype(np.float64)
    early[: direct - delay] = 0.0  # The zero-phase high-pass also rings before the direct sound.
    response = _add_late_part(early, delay, t60_s, stream)
    response.flags.writeable = False  # The cached array is shared by all callers.
    return response, direct


def absorption(size_m: NDArray[np.float64], t60_s: float) -> float:
    """Return the share of energy that walls absorb, by Eyring: ``T60 = 24 ln 10 V / (-c S ln(1 -
    a))``.

    Sabine's formula would need an absorption above 1 in a very dry room.
    """
    volume, surface = (
        float(np.prod(size_m)),
        2.0 * float(size_m[0] * size_m[1] + size_m[1] * size_m[2] + size_m[0] * size_m[2]),
    )
    return 1.0 - float(np.exp(-24.0 * np.log(10.0) * volume / (343.0 * surface * t60_s)))


def _positions(
    stream: np.random.Generator, size_m: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the positions of mouth and microphone in metres, 1 to 2.5 m apart."""
    while True:
        source, microphone = (
            stream.uniform(WALL_M, size_m - WALL_M),
            stream.uniform(WALL_M, size_m - WALL_M),
        )
        if 1.0 <= np.linalg.norm(source - microphone) <= 2.5:
            return source, microphone


def _add_late_part(
    early: NDArray[np.float64], delay: int, t60_s: float, stream: np.random.Generator
) -> NDArray[np.float64]:
    """Return images up to ``LATE_S``, then decaying noise; they cross over at equal power, within a
    quarter of the stretch where the level is matched.
    """
    length = delay + int((LATE_S + t60_s) * SAMPLE_RATE)
    time_s = (np.arange(length) - delay) / SAMPLE_RATE
    images = np.zeros(length)
    images[: early.size] = early[:length]
    # The decay is that of an amplitude, so its exponent is half of that for a power.
    decay = np.exp(-3.0 * np.log(10.0) * time_s / t60_s)
    matched = (time_s >= LATE_S - MATCHED_S) & (time_s < LATE_S)
    level = np.sqrt(np.sum(images[matched] ** 2) / np.sum(decay[matched] ** 2))
    fade = np.clip((time_s - LATE_S) / (MATCHED_S / 4.0) + 1.0, 0.0, 1.0)
    return np.sqrt(1.0 - fade) * images + np.sqrt(fade) * level * decay * stream.standard_normal(
        length
    )

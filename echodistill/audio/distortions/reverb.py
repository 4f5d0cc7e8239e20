"""Reverberation in rooms of random size.

Early reflections come from the image-source method (Allen, Berkley 1979) of pyroomacoustics (MIT),
late ones, which no listener tells apart, from noise that decays with the wanted T60 (Lehmann,
Johansson 2010): images enough for a second take seconds to compute.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from echodistill.audio.distortions.full_scale import at_power_of, within_full_scale
from echodistill.audio.levels import SAMPLE_RATE, Waveform
from echodistill.core.errors import UserError
from echodistill.core.seeds import rng

ROOMS = 8
MAX_ORDER = (
    20  # reflections of an image: all that arrive in the first 80 ms, even in the lowest room
)
LATE_S = 0.08  # after the sound was made, when noise takes over
MATCHED_S = 0.04  # before that: where the noise gets its level from
WALL_M = 0.5  # nobody stands closer to a wall


def reverb(waveform: Waveform, t60_s: float, stream: np.random.Generator) -> Waveform:
    """The clip in one of the ``ROOMS``, drawn. Shape (samples,).

    In time with the direct sound, cut where the clip ends, at its mean power.
    """
    response, direct = room_response(int(stream.integers(ROOMS)), t60_s)
    length = waveform.size + response.size
    length += -length % 1024  # a length with a large prime factor takes several times as long
    wet = np.fft.irfft(
        np.fft.rfft(waveform.astype(np.float64), length) * np.fft.rfft(response, length), length
    )
    return within_full_scale(at_power_of(wet[direct : direct + waveform.size], waveform))


@lru_cache(maxsize=64)
def room_response(room: int, t60_s: float) -> tuple[NDArray[np.float64], int]:
    """The impulse response of a room, shape (samples,), and where in it the direct sound is. The
    same for the same arguments, always.

    A room's size and where people are in it depend on its number alone; ``t60_s``, in which the
    sound falls by 60 dB, sets its walls. Raises ``UserError`` when pyroomacoustics is missing.
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
    source_m, microphone_m = _places(stream, size_m)
    pra.constants.set("num_threads", 1)  # sums would depend on how many cores there are
    shoebox = pra.ShoeBox(
        size_m,
        fs=SAMPLE_RATE,
        materials=pra.Material(absorption(size_m, t60_s)),
        max_order=MAX_ORDER,
    )
    shoebox.add_source(source_m)
    shoebox.add_microphone(microphone_m)
    shoebox.compute_rir()
    # before every arrival, for the start of its interpolation
    delay = pra.constants.get("frac_delay_length") // 2
    distance = np.linalg.norm(source_m - microphone_m) / pra.constants.get("c") * SAMPLE_RATE
    direct = round(delay + float(distance))
    early = shoebox.rir[0][0].astype(np.float64)
    early[: direct - delay] = 0.0  # its high-pass has no phase and so also rings backwards
    response = _with_late_part(early, delay, t60_s, stream)
    response.flags.writeable = False  # it is shared
    return response, direct


def absorption(size_m: NDArray[np.float64], t60_s: float) -> float:
    """The share of energy that walls take, by Eyring: ``T60 = 24 ln 10 V / (-c S ln(1 - a))``.
    Sabine's asks for more than all of it in a dead room.
    """
    volume, surface = (
        float(np.prod(size_m)),
        2.0 * float(size_m[0] * size_m[1] + size_m[1] * size_m[2] + size_m[0] * size_m[2]),
    )
    return 1.0 - float(np.exp(-24.0 * np.log(10.0) * volume / (343.0 * surface * t60_s)))


def _places(
    stream: np.random.Generator, size_m: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mouth and microphone, 1 to 2.5 m apart."""
    while True:
        source, microphone = (
            stream.uniform(WALL_M, size_m - WALL_M),
            stream.uniform(WALL_M, size_m - WALL_M),
        )
        if 1.0 <= np.linalg.norm(source - microphone) <= 2.5:
            return source, microphone


def _with_late_part(
    early: NDArray[np.float64], delay: int, t60_s: float, stream: np.random.Generator
) -> NDArray[np.float64]:
    """Images up to ``LATE_S``, then decaying noise; they cross over within a quarter of the matched
    stretch, at equal power.
    """
    length = delay + int((LATE_S + t60_s) * SAMPLE_RATE)
    time_s = (np.arange(length) - delay) / SAMPLE_RATE
    images = np.zeros(length)
    images[: early.size] = early[:length]
    # amplitude, hence half of the 60 dB's exponent
    decay = np.exp(-3.0 * np.log(10.0) * time_s / t60_s)
    matched = (time_s >= LATE_S - MATCHED_S) & (time_s < LATE_S)
    level = np.sqrt(np.sum(images[matched] ** 2) / np.sum(decay[matched] ** 2))
    fade = np.clip((time_s - LATE_S) / (MATCHED_S / 4.0) + 1.0, 0.0, 1.0)
    return np.sqrt(1.0 - fade) * images + np.sqrt(fade) * level * decay * stream.standard_normal(
        length
    )

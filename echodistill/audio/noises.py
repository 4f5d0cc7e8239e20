"""Make ten kinds of procedural noise. Pure numpy: each function takes a generator and a length and
returns a float64 waveform of shape (samples,).

The kinds are those of arXiv 2605.23954. Levels are arbitrary, since mixing sets them. ``crowd`` is
made of other speakers' clips, which are an argument. All sounds are at 16 kHz.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from echodistill.audio.levels import SAMPLE_RATE, excerpt

BABBLE_VOICES = 6
# Transforms have a whole number of blocks, because a length with a large prime factor takes several
# times as long.
FFT_BLOCK = 1024
Samples = NDArray[np.float64]
FloatArray = NDArray[np.floating]


def _shaped_noise(
    stream: np.random.Generator, samples: int, gain_of_hz: Callable[[FloatArray], FloatArray]
) -> Samples:
    """Return Gaussian noise with the magnitude response ``gain_of_hz``."""
    length = samples + -samples % FFT_BLOCK
    spectrum = np.fft.rfft(stream.standard_normal(length))
    frequency_hz = np.fft.rfftfreq(length, 1.0 / SAMPLE_RATE)
    return np.fft.irfft(spectrum * gain_of_hz(frequency_hz), length)[:samples]


def _slow_envelope(
    stream: np.random.Generator, samples: int, rate_hz: float, floor: float
) -> Samples:
    """Return a smooth random envelope between ``floor`` and 1 that changes about ``rate_hz`` times
    a second.
    """
    knots = max(4, int(samples / SAMPLE_RATE * rate_hz) + 4)
    positions = np.linspace(0, knots - 1, samples)
    return floor + (1.0 - floor) * np.interp(positions, np.arange(knots), stream.random(knots))


def _harmonics(f0_hz: Samples, strengths: Sequence[float] | FloatArray) -> Samples:
    """Return a sum of harmonics of a moving pitch; partials above 7.5 kHz are left out, since they
    would alias.
    """
    phase = 2.0 * np.pi * np.cumsum(f0_hz) / SAMPLE_RATE
    total = np.zeros(f0_hz.size)
    for number, strength in enumerate(strengths, start=1):
        total += strength * np.sin(number * phase) * (number * f0_hz < 7_500.0)
    return total


def _add(target: Samples, sound: Samples, start: int) -> None:
    """Add ``sound`` to ``target`` from ``start`` on, without what exceeds the end."""
    end = min(target.size, start + sound.size)
    target[start:end] += sound[: end - start]


def coloured(stream: np.random.Generator, samples: int, slope_db: float) -> Samples:
    """Return Gaussian noise whose power falls by ``-slope_db`` dB for each octave above 50 Hz: 0 is
    white, -3 pink, -6 brown.
    """
    return _shaped_noise(
        stream, samples, lambda hz: np.maximum(hz, 50.0) ** (slope_db / (20.0 * np.log10(2.0)))
    )


def gauss(stream: np.random.Generator, samples: int) -> Samples:
    return stream.standard_normal(samples)


def alarm(stream: np.random.Generator, samples: int) -> Samples:
    """Return a two-tone siren, whose pitch alternates between two tones a few times a second."""
    time_s = np.arange(samples) / SAMPLE_RATE
    low_hz, high_hz = stream.uniform(450, 900), stream.uniform(1_000, 2_200)
    swing = np.sin(2 * np.pi * stream.uniform(0.8, 4.0) * time_s + stream.uniform(0, 2 * np.pi))
    swing = np.sign(swing) if stream.random() < 0.5 else swing
    pitch_hz = low_hz + (high_hz - low_hz) * (swing + 1.0) / 2.0
    return _harmonics(pitch_hz, [1.0, 0.3, 0.4, 0.15]) + 0.02 * stream.standard_normal(samples)


def animal(stream: np.random.Generator, samples: int) -> Samples:
    """Return barks and chirps: short harmonic bursts with gliding pitch over breath noise."""
    total = 0.01 * stream.standard_normal(samples)
    start = int(stream.uniform(0, 0.1) * SAMPLE_RATE)
    while start < samples:
        length = int(stream.uniform(0.06, 0.25) * SAMPLE_RATE)
        progress = np.linspace(0.0, 1.0, length)
        base_hz = (
            stream.uniform(250, 700) if stream.random() < 0.6 else stream.uniform(1_800, 3_500)
        )
        glide = base_hz * (1.0 + stream.uniform(-0.4, 0.6) * np.sin(np.pi * progress))
        voice = _harmonics(glide, 1.0 / np.arange(1, 10) ** 0.8) + 0.4 * stream.standard_normal(
            length
        )
        _add(total, voice * np.sin(np.pi * progress) ** 0.5, start)
        start += length + int(stream.uniform(0.03, 0.25) * SAMPLE_RATE)
    return total


def laugh(stream: np.random.Generator, samples: int) -> Samples:
    """Return bouts of "ha": voiced bursts four to seven times a second, vowel formants, falling
    pitch.
    """
    total = 0.01 * stream.standard_normal(samples)
    start, pitch_hz = 0, stream.uniform(180, 420)
    while start < samples:
        length = int(stream.uniform(0.1, 0.16) * SAMPLE_RATE)
        progress = np.linspace(0.0, 1.0, length)
        partial_hz = pitch_hz * np.arange(1, 16)
        formants = (
            np.exp(-(((partial_hz - 800) / 300) ** 2))
            + 0.7 * np.exp(-(((partial_hz - 1_300) / 300) ** 2))
            + 0.1
        )
        voiced = _harmonics(pitch_hz * (1.1 - 0.2 * progress), list(formants))
        breath = 0.5 * stream.standard_normal(length) * (progress < 0.3)
        _add(total, (voiced + breath) * np.sin(np.pi * progress), start)
        start += length + int(stream.uniform(0.04, 0.1) * SAMPLE_RATE)
        pitch_hz = (
            stream.uniform(180, 420) if stream.random() < 0.15 else max(120.0, pitch_hz * 0.97)
        )
    return total


def machine(stream: np.random.Generator, samples: int) -> Samples:
    """Return a motor: harmonics of its turning rate, a rattle at half that rate and broadband
    hiss.
    """
    time_s = np.arange(samples) / SAMPLE_RATE
    rate_hz = stream.uniform(45, 140)
    pitch_hz = rate_hz * (1.0 + 0.01 * np.sin(2 * np.pi * stream.uniform(0.3, 2.0) * time_s))
    tone = _harmonics(pitch_hz, list(stream.uniform(0.2, 1.0, 12) / np.arange(1, 13) ** 0.5))
    hiss = _shaped_noise(stream, samples, lambda hz: 1.0 / (1.0 + ((hz - 1_800.0) / 1_500.0) ** 2))
    rattle = 0.5 + 0.5 * np.sin(2 * np.pi * rate_hz / 4 * time_s) ** 2
    return tone / tone.std() + 0.8 * hiss / hiss.std() * rattle


def shower(stream: np.random.Generator, samples: int) -> Samples:
    """Return dense fine droplets: bright noise with fast random crackle."""
    centre_hz = stream.uniform(3_000, 5_500)
    bright = _shaped_noise(
        stream, samples, lambda hz: 1.0 / (1.0 + ((hz - centre_hz) / 2_500.0) ** 2) + 0.05
    )
    crackle = 1.0 + 2.0 * (stream.random(samples) < 0.02) * stream.random(samples)
    return bright * crackle


def traffic(stream: np.random.Generator, samples: int) -> Samples:
    """Return passing cars: low rumble, tyre noise around 1 kHz, slow swells."""
    rumble = _shaped_noise(stream, samples, lambda hz: 1.0 / (1.0 + (hz / 150.0) ** 1.5))
    tyres = _shaped_noise(stream, samples, lambda hz: 1.0 / (1.0 + ((hz - 1_000.0) / 700.0) ** 2))
    swell = _slow_envelope(stream, samples, 1.0, 0.3)
    return rumble / rumble.std() + stream.uniform(0.5, 1.2) * swell * tyres / tyres.std()


def water(stream: np.random.Generator, samples: int) -> Samples:
    """Return a brook: bubbles that ring at their Minnaert frequency, decay and rise slightly in
    pitch, over soft noise.
    """
    total = _shaped_noise(stream, samples, lambda hz: 1.0 / (1.0 + (hz / 800.0) ** 2))
    total *= 0.5 / total.std()
    for _ in range(max(1, int(samples / SAMPLE_RATE * 60))):
        length = int(stream.uniform(0.01, 0.06) * SAMPLE_RATE)
        progress = np.linspace(0.0, 1.0, length)
        pitch_hz = stream.uniform(400, 3_500) * (1.0 + 0.2 * progress)
        ring = np.sin(2 * np.pi * np.cumsum(pitch_hz) / SAMPLE_RATE) * np.exp(-4.0 * progress)
        _add(total, stream.uniform(0.5, 3.0) * ring, int(stream.integers(0, samples)))
    return total


def wind(stream: np.random.Generator, samples: int) -> Samples:
    """Return gusts: deep noise that swells, with a whistling resonance."""
    deep = _shaped_noise(stream, samples, lambda hz: 1.0 / (1.0 + (hz / 250.0) ** 1.2))
    whistle_hz = stream.uniform(400, 1_400)
    whistle = _shaped_noise(stream, samples, lambda hz: np.exp(-(((hz - whistle_hz) / 120.0) ** 2)))
    gusts = _slow_envelope(stream, samples, 2.0, 0.2)
    return (deep / deep.std() + 0.5 * gusts * whistle / whistle.std()) * gusts


def crowd(
    stream: np.random.Generator, samples: int, voices: Sequence[NDArray[np.floating]]
) -> Samples:
    """Return babble: several speakers at once, each at the same power from a random place of their
    clip, looped if it is too short.
    """
    total = np.zeros(samples)
    for voice in voices:
        part = excerpt(stream, np.asarray(voice, dtype=np.float64), samples)
        level = np.sqrt(np.mean(part * part))
        total += part / level if level > 0 else part
    return total


PROCEDURAL: dict[str, Callable[[np.random.Generator, int], Samples]] = {
    "gauss": gauss,
    "alarm": alarm,
    "animal": animal,
    "laugh": laugh,
    "machine": machine,
    "shower": shower,
    "traffic": traffic,
    "water": water,
    "wind": wind,
}

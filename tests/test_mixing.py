"""Noise recipes: exact SNR, one gain for both views, the same bytes in any order and any
process.
"""

import hashlib
import math
import os
import subprocess
import sys
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from echodistill.audio.files import write_wav
from echodistill.audio.kinds import CLEAN, KINDS, condition_name
from echodistill.audio.levels import SAMPLE_RATE, Waveform, dbfs, excerpt, fit_length, power, snr_db
from echodistill.audio.mixing import Mix, draw, render
from echodistill.audio.noises import BABBLE_VOICES, PROCEDURAL, crowd
from echodistill.audio.recordings import NoiseLibrary, list_recordings, read_recording
from echodistill.core.errors import UserError
from echodistill.core.seeds import rng
from tests.noise_cases import used_by_train

CLIPS = tuple(f"clip-{number}" for number in range(12))


def clip(clip_id: str, samples: int = 8_000, level_db: float = -20.0) -> Waveform:
    """A clip of its own colour at a level in dBFS."""
    wave = np.convolve(
        rng("clip", clip_id).standard_normal(samples + 8), np.hanning(9), mode="valid"
    )
    return (wave * 10 ** (level_db / 20) / np.sqrt(power(wave))).clip(-1, 1).astype(np.float32)


def sources_of(kind: str) -> tuple[str, ...]:
    return CLIPS if kind == "crowd" else ()


def recipe(
    kind: str, snr: float | None = 0.0, clip_id: str = "clip-0", repeat: int = 0, seed: int = 1
) -> Mix:
    return draw(seed, clip_id, "train", kind, snr, repeat, sources_of(kind), BABBLE_VOICES)


def sha_of_all_kinds() -> str:
    """Of every kind's recipe and rendered bytes."""
    digest = hashlib.sha256()
    library = NoiseLibrary(clip)
    for kind in KINDS:
        mix = recipe(kind, -5)
        rendered = library.render(mix, clip("clip-0", level_db=-10))
        digest.update(repr(mix).encode() + rendered.clean.tobytes() + rendered.noisy.tobytes())
    return digest.hexdigest()


@given(
    kind=st.sampled_from(KINDS),
    snr=st.floats(-20, 40),
    samples=st.integers(200, 40_000),
    level=st.floats(-70, 0),
    seed=st.integers(0, 10**6),
)
@settings(max_examples=150, deadline=None)
def test_realised_snr_and_peak(
    kind: str, snr: float, samples: int, level: float, seed: int
) -> None:
    clean = clip("clip-0", samples, level)
    rendered = NoiseLibrary(clip).render(recipe(kind, snr, seed=seed), clean)
    added = rendered.noisy.astype(np.float64) - rendered.clean.astype(np.float64)
    assert abs(snr_db(rendered.clean, added) - snr) < 0.01
    assert max(np.abs(rendered.noisy).max(), np.abs(rendered.clean).max()) <= 1.0
    assert rendered.noisy.dtype == rendered.clean.dtype == np.float32
    # one factor for both views: the teacher receives the student's level
    np.testing.assert_allclose(rendered.clean, rendered.gain * clean, rtol=1e-6, atol=1e-12)


def test_gain_scales_both_views_only_against_clipping() -> None:
    library, quiet, loud = (
        NoiseLibrary(clip),
        clip("clip-0", level_db=-40),
        clip("clip-0", level_db=-3),
    )
    untouched = library.render(recipe("gauss", 10), quiet)
    assert untouched.gain == 1.0
    np.testing.assert_array_equal(untouched.clean, quiet)
    scaled = library.render(recipe("gauss", -10), loud)
    assert scaled.gain < 0.5
    assert np.abs(scaled.noisy).max() == pytest.approx(0.999, abs=1e-6)


def test_clean_condition_is_the_clip_itself() -> None:
    clean = clip("clip-0")
    rendered = NoiseLibrary(clip).render(recipe(CLEAN, None), clean)
    assert rendered.gain == 1.0
    assert rendered.noisy is rendered.clean is clean
    assert recipe(CLEAN, None).mix_id == "clip-0/clean"
    assert condition_name("crowd", -10.0) == "crowd@-10"


def test_noise_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="shape"):
        render(recipe("gauss"), clip("clip-0", 300), np.ones(299))


@given(order=st.permutations(list(product(KINDS, CLIPS[:2], (-10, 5), (0, 1)))))
@settings(max_examples=20, deadline=None)
def test_a_draw_depends_on_its_arguments_only(order: list[tuple[str, str, float, int]]) -> None:
    drawn = {item: recipe(item[0], item[2], item[1], item[3]) for item in order}
    np.random.seed(0)
    assert drawn == {item: recipe(item[0], item[2], item[1], item[3]) for item in sorted(order)}
    assert (
        len({mix.noise_seed for mix in drawn.values()})
        == len({mix.mix_id for mix in drawn.values()})
        == len(order)
    )


@pytest.mark.parametrize("kind", KINDS)
def test_other_repeat_seed_condition_or_clip_is_other_noise(kind: str) -> None:
    mixes = [
        recipe(kind),
        recipe(kind, repeat=1),
        recipe(kind, seed=2),
        recipe(kind, 5.0),
        recipe(kind, clip_id="clip-1"),
    ]
    library = NoiseLibrary(clip)
    assert len({library.noise(mix, 4_000).tobytes() for mix in mixes}) == len(mixes)
    if kind == "crowd":
        assert len({mix.noise_sources for mix in mixes}) == len(mixes)


def test_same_bytes_in_every_process() -> None:
    here = sha_of_all_kinds()
    assert sha_of_all_kinds() == here
    code = "from tests.test_mixing import sha_of_all_kinds; print(sha_of_all_kinds())"
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    root = Path(__file__).parents[1]
    other = subprocess.run(
        [sys.executable, "-c", code],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert other.stdout.split()[-1] == here


@given(seed=st.integers(0, 10**6), clip_id=st.sampled_from(CLIPS), count=st.integers(2, 12))
@settings(max_examples=100, deadline=None)
def test_a_crowd_never_holds_the_clip_itself(seed: int, clip_id: str, count: int) -> None:
    assume(clip_id in CLIPS[:count])
    voices = draw(seed, clip_id, "train", "crowd", 0, 0, CLIPS[:count], BABBLE_VOICES).noise_sources
    assert clip_id not in voices
    assert len(set(voices)) == len(voices) == min(BABBLE_VOICES, count - 1)


def test_a_crowd_of_nobody_is_one_clear_error() -> None:
    with pytest.raises(UserError, match=r"clip-0 has no other clips"):
        draw(1, "clip-0", "train", "crowd", 0, 0, ("clip-0",))


def test_voices_of_a_crowd_have_equal_power() -> None:
    loud, quiet = clip("clip-1", level_db=-3), clip("clip-2", level_db=-60)
    babble = crowd(rng("crowd"), 8_000, [loud, quiet])
    loops = [fit_length(voice, 16_000, 0) for voice in (loud, quiet)]
    projected = [
        max(np.correlate(loop, babble, "valid")) / np.sqrt(power(loop)) / 8_000 for loop in loops
    ]
    assert projected == pytest.approx([1.0, 1.0], abs=0.1)


def test_silence_is_a_users_error() -> None:
    with pytest.raises(UserError, match="clip clip-0 is silent"):
        NoiseLibrary(clip).render(recipe("gauss"), np.zeros(400, np.float32))
    with pytest.raises(UserError, match=r"noise of mix clip-0/gauss@0 is silent"):
        render(recipe("gauss"), clip("clip-0", 400), np.zeros(400))


@pytest.mark.parametrize(
    ("samples", "offset", "wanted"),
    [
        (2, 0, [0, 1]),
        (3, 0, [0, 1, 2]),
        (3, 1, [1, 2, 0]),
        (8, 2, [2, 0, 1, 2, 0, 1, 2, 0]),
        (2, 3, [0, 1]),
        (2, 7, [1, 2]),
        (0, 1, []),
    ],
)
def test_fit_length(samples: int, offset: int, wanted: list[int]) -> None:
    assert fit_length(np.arange(3.0), samples, offset).tolist() == wanted


def test_a_loop_fades_its_end_into_its_beginning() -> None:
    """Worked by hand: of 8 samples 2 fade, so the loop is 6 long."""
    s, c = np.sin(np.pi / 8), np.cos(np.pi / 8)
    loop = [c * 6, c * 1 + s * 7, 2, 3, 4, 5]
    for offset, first in ((5, 5), (6, 0), (13, 5)):
        wanted = (loop * 4)[first : first + 12]
        np.testing.assert_allclose(
            fit_length(np.arange(8.0), 12, offset), wanted, rtol=0, atol=1e-12
        )


@pytest.mark.parametrize("size", [1, 2, 3])
def test_tiny_recordings_repeat_as_they_are(size: int) -> None:
    tiny = np.arange(1.0, size + 1.0)
    np.testing.assert_array_equal(fit_length(tiny, 10, 1), np.tile(tiny, 11)[1 % size :][:10])


@given(
    st.integers(1, 3_000),
    st.integers(0, 8_000),
    st.integers(0, 8_000),
    st.sampled_from([np.float32, np.float64]),
)
def test_a_loop_has_its_length_type_and_period_and_a_cut_is_exact(
    size: int, samples: int, offset: int, dtype: type
) -> None:
    noise: NDArray[np.floating] = rng("loop", size).standard_normal(size).astype(dtype)
    before = noise.copy()
    found = fit_length(noise, samples, offset)
    assert (found.shape, found.dtype) == ((samples,), noise.dtype)
    np.testing.assert_array_equal(found, fit_length(noise, samples, offset))
    np.testing.assert_array_equal(noise, before)
    start = offset % size
    if start + samples <= size:
        np.testing.assert_array_equal(found, noise[start : start + samples])
        return
    period = size - min(320, size // 4)
    np.testing.assert_array_equal(found[period:], found[: max(0, samples - period)])
    full = fit_length(noise, 3 * size, 0)
    np.testing.assert_array_equal(found, np.resize(full[start % period :][:period], samples))


@given(
    st.integers(16, 6_000),
    st.lists(st.tuples(st.floats(1, 400), st.floats(0, 6.3)), min_size=1, max_size=4),
    st.integers(0, 9_999),
)
def test_a_smooth_recording_loops_without_a_click(
    size: int, tones: list[tuple[float, float]], offset: int
) -> None:
    """Gains move by at most pi / 2 / F a sample, and their sum is at most the square root of 2."""
    noise = np.sum(
        [np.sin(2 * np.pi * hz * np.arange(size) / SAMPLE_RATE + phase) for hz, phase in tones],
        axis=0,
    )
    step, peak, fade = np.abs(np.diff(noise)).max(), np.abs(noise).max(), min(320, size // 4)
    found = fit_length(noise, 2 * size + 1, offset)
    assert np.abs(np.diff(found)).max() <= np.sqrt(2) * (step + np.pi / 2 / fade * peak)


def test_the_seam_of_looped_noise_is_as_loud_as_the_rest() -> None:
    seams = [
        fit_length(rng("seam", number).standard_normal(4_000), 4_000, 4_000 - 320)[:320]
        for number in range(20)
    ]
    assert 10 * np.log10(np.mean([power(seam) for seam in seams])) == pytest.approx(0, abs=0.5)


def test_the_loudest_place_is_not_faded_away() -> None:
    click = np.zeros(10**6)
    click[-1] = 1.0
    assert dbfs(excerpt(rng("click"), click, 100)) == pytest.approx(-20)


def test_fit_length_of_nothing() -> None:
    with pytest.raises(UserError, match="no samples"):
        fit_length(np.zeros(0), 4, 0)


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """Two kinds: one recording shorter than a clip, and one that is mostly digital silence."""
    bark = np.zeros(80_000, np.float32)
    bark[41_000:41_400] = clip("bark", 400)
    for name, wave in {
        "rain/short.wav": np.linspace(-0.5, 0.5, 1_000, dtype=np.float32),
        "dog/bark.WAV": bark,
    }.items():
        (tmp_path / name).parent.mkdir()
        write_wav(tmp_path / name, wave)
    (tmp_path / "rain" / "notes.txt").write_text("not a recording")
    return tmp_path


def test_a_short_recording_loops_from_a_random_place(recordings: Path) -> None:
    sources = list_recordings(recordings, ("rain", "dog"))
    assert sources == {"rain": ("rain/short.wav",), "dog": ("dog/bark.WAV",)}
    library = NoiseLibrary(clip, used_by_train(recordings, {"rain/short.wav": "rain"}))
    starts = set()
    for repeat in range(5):
        noise = library.noise(draw(1, "clip-0", "train", "rain", 0, repeat, sources["rain"]), 2_500)
        np.testing.assert_array_equal(noise[:1_750], noise[750:])
        assert np.abs(np.diff(noise)).max() < 0.01
        starts.add(float(noise[0]))
    assert len(starts) == 5


def test_silence_around_a_sound_does_not_stop_the_run(recordings: Path) -> None:
    library, clean = (
        NoiseLibrary(clip, used_by_train(recordings, {"dog/bark.WAV": "dog"})),
        clip("clip-0", 3_200),
    )
    for repeat in range(20):
        mix = draw(1, "clip-0", "train", "dog", 0, repeat, ("dog/bark.WAV",))
        rendered = library.render(mix, clean)
        assert snr_db(
            rendered.clean, rendered.noisy.astype(np.float64) - rendered.clean
        ) == pytest.approx(0, abs=0.01)
    click = np.zeros(10**6)
    click[777] = 1.0  # so short that no random place hits it
    assert dbfs(excerpt(rng("click"), click, 100)) == pytest.approx(-20)


@pytest.mark.parametrize("offset", [0.5, -0.2, 0.01])
def test_an_offset_of_a_recording_is_no_noise(recordings: Path, offset: float) -> None:
    """Neither of a whole recording, nor of a part of it: a constant stretch of one is silent."""
    hiss = 0.01 * rng("hiss").standard_normal(16_000)
    for name, wave in {
        "whole": hiss + offset,
        "half": np.where(np.arange(16_000) < 8_000, hiss, hiss + offset),
        "padded": np.concatenate([np.zeros(64_000), hiss + offset]),
    }.items():
        write_wav(recordings / "rain" / f"{name}.wav", wave.astype(np.float32))
        library = NoiseLibrary(clip, used_by_train(recordings, {f"rain/{name}.wav": "rain"}))
        clean = clip("clip-0", 1_600)
        for repeat in range(10):
            rendered = library.render(
                draw(1, "clip-0", "train", "rain", 0, repeat, (f"rain/{name}.wav",)), clean
            )
            added = rendered.noisy.astype(np.float64) - rendered.clean
            assert abs(added.mean()) < 1e-6
            assert snr_db(rendered.clean, added - added.mean()) == pytest.approx(0, abs=0.01)
    write_wav(recordings / "rain" / "constant.wav", np.full(16_000, offset, np.float32))
    with pytest.raises(UserError, match=r"constant\.wav: is silent"):
        read_recording(recordings / "rain/constant.wav")


@pytest.mark.parametrize("kind", PROCEDURAL)
@pytest.mark.parametrize("samples", [100, 101, 137, 200, 1_600, 5_000, 30 * SAMPLE_RATE])
def test_every_kind_sounds_at_every_length(kind: str, samples: int) -> None:
    for seed in range(20 if samples < 10_000 else 1):
        with np.errstate(all="raise", under="ignore"):
            wave = PROCEDURAL[kind](rng(kind, samples, seed), samples)
        assert wave.shape == (samples,)
        assert np.isfinite(wave).all()
        assert power(wave) > 1e-5
        assert np.abs(wave.mean()) < 0.99 * np.sqrt(power(wave))  # not a constant


def third_octaves(wave: NDArray[np.float64]) -> NDArray[np.float64]:
    """Power by third octave from 60 Hz to 8 kHz in dB, relative to the whole."""
    spectrum = np.abs(np.fft.rfft(wave)) ** 2
    hz = np.fft.rfftfreq(wave.size, 1 / SAMPLE_RATE)
    edges = 60 * 2 ** (np.arange(22) / 3)
    bands = np.array([spectrum[(hz >= low) & (hz < high)].sum() for low, high in pairwise(edges)])
    return 10 * np.log10(np.maximum(bands / bands.sum(), 1e-6))


def flicker(wave: NDArray[np.float64]) -> float:
    """How much the level moves between frames of 20 ms, in dB."""
    frames = wave[: wave.size // 320 * 320].reshape(-1, 320)
    return float(np.std(10 * np.log10(np.mean(frames**2, axis=1) + 1e-9)))


def test_kinds_sound_different() -> None:
    """Coarsely: a kind's mean spectrum and level movement lie nearer to each other over seeds than
    to any other kind's.
    """
    profiles = {}
    for kind in PROCEDURAL:
        for half in range(2):
            waves = [PROCEDURAL[kind](rng(kind, half, seed), 2 * SAMPLE_RATE) for seed in range(8)]
            spectrum = np.mean([third_octaves(wave) for wave in waves], axis=0)
            profiles[kind, half] = np.append(
                spectrum, 3 * np.mean([flicker(wave) for wave in waves])
            )
    for kind in PROCEDURAL:
        distance = {other: math.dist(profiles[kind, 0], profiles[other, 1]) for other in PROCEDURAL}
        assert 1.4 * distance.pop(kind) < min(distance.values()), (kind, distance)

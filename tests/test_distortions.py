"""Distortions: what each does, measured; the same bytes for the same recipe; nothing that upsets
them.
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

import echodistill.audio.distortions.reverb as reverb_module
from benchmarks.denoisers import si_sdr_db
from echodistill.audio.distortions.clipping import clipping
from echodistill.audio.distortions.codec import codec
from echodistill.audio.distortions.full_scale import MAX_PEAK, match_power, within_full_scale
from echodistill.audio.distortions.low_pass import low_pass
from echodistill.audio.distortions.packet_loss import MEAN_BURST, PACKET, losses, packet_loss
from echodistill.audio.distortions.recipe import KINDS, Distortion, defaults, from_name
from echodistill.audio.distortions.render import RENDERERS, render
from echodistill.audio.distortions.reverb import ROOMS, absorption, reverb, room_response
from echodistill.audio.distortions.time_stretch import time_stretch
from echodistill.audio.levels import SAMPLE_RATE, Waveform, dbfs, power
from echodistill.core.errors import UserError
from echodistill.core.seeds import rng
from tests.test_denoise import AWKWARD, awkward, lag, noisy, voice

STREAM = rng("unused")


def severities(kind: str) -> st.SearchStrategy[float]:
    return st.floats(KINDS[kind].lowest, KINDS[kind].highest, allow_nan=False)


def tone(hz: float, samples: int = SAMPLE_RATE) -> Waveform:
    return (0.3 * np.sin(2 * np.pi * hz * np.arange(samples) / SAMPLE_RATE)).astype(np.float32)


# All kinds


def test_every_kind_is_rendered_and_its_defaults_are_valid() -> None:
    assert set(RENDERERS) == set(KINDS)
    assert (
        len({distortion.name for distortion in defaults()})
        == len(defaults())
        == sum(len(kind.severities) for kind in KINDS.values())
    )
    for distortion in defaults():
        assert from_name(distortion.name) == distortion
    assert from_name("reverb@0.7").display == "Reverberation 0.7 s"


@pytest.mark.parametrize(
    "name", ["echo@1", "reverb@0.01", "packet_loss@100", "codec@3", "low_pass@nan"]
)
def test_what_is_not_defined_is_one_clear_error(name: str) -> None:
    with pytest.raises(UserError, match=r"choose from reverb|is not between"):
        from_name(name)


@pytest.mark.parametrize("name", ["reverb", "reverb@", "reverb@loud", ""])
def test_a_name_that_cannot_be_read(name: str) -> None:
    with pytest.raises(UserError, match=r"names no distortion: write|choose from"):
        from_name(name)


@pytest.mark.parametrize("kind", KINDS)
@given(
    data=st.data(),
    content=st.sampled_from(AWKWARD),
    samples=st.integers(1, 6_000),
    seed=st.integers(0, 99),
)
@settings(max_examples=40, deadline=None)
def test_any_clip(kind: str, data: st.DataObject, content: str, samples: int, seed: int) -> None:
    severity = float(f"{data.draw(severities(kind)):.3g}")
    distortion = Distortion(kind, min(max(severity, KINDS[kind].lowest), KINDS[kind].highest))
    clean = awkward(content, samples)
    clean.flags.writeable = False  # writing into the input raises
    with np.errstate(all="raise", under="ignore"):
        distorted = render(distortion, clean, seed, "clip")
    assert distorted.shape == (
        (round(samples * distortion.severity),) if kind == "time_stretch" else (samples,)
    )
    assert distorted.dtype == np.float32
    assert np.isfinite(distorted).all()
    assert np.max(np.abs(distorted), initial=0.0) <= 1.0
    if not clean.any():
        assert not distorted.any()
    render(Distortion(kind, KINDS[kind].severities[0]), voice(1, 2_000), "another clip")
    assert render(distortion, clean.copy(), seed, "clip").tobytes() == distorted.tobytes()


@pytest.mark.parametrize("distortion", defaults(), ids=lambda distortion: distortion.name)
def test_a_voice_is_changed_and_is_still_there(distortion: Distortion) -> None:
    clean = noisy(voice(0), 20)
    rendered = [
        render(distortion, clean, seed, "clip") for seed in range(6)
    ]  # a few packets lost may be none
    assert max(abs(dbfs(distorted) - dbfs(clean)) for distorted in rendered) < 6
    assert np.mean([distorted.tobytes() != clean.tobytes() for distorted in rendered]) > 0.5


# not reverberation: a tail that is 10 dB louder than the voice is as far from it as one of 12 dB
@pytest.mark.parametrize("kind", ["codec", "low_pass", "clipping", "packet_loss"])
def test_a_severer_one_leaves_less(kind: str) -> None:
    clean = noisy(voice(0), 20)
    wrong = []  # as a share of the power
    for severity in KINDS[kind].severities:
        ratios_db = [
            si_sdr_db(clean, render(Distortion(kind, severity), clean, seed)) for seed in range(8)
        ]
        wrong.append(np.mean([1 / (1 + 10 ** (ratio / 10)) for ratio in ratios_db]))
    assert wrong == sorted(wrong)
    assert wrong[-1] > 1.5 * wrong[0]


def test_streams_have_names() -> None:
    loss, clean = Distortion("packet_loss", 20), voice(0)
    rendered = {
        names: render(loss, clean, *names).tobytes() for names in [(1, "a"), (2, "a"), (1, "b")]
    }
    assert len(set(rendered.values())) == 3
    np.random.seed(0)
    assert {
        names: render(loss, clean, *names).tobytes() for names in reversed(rendered)
    } == rendered


def sha_of_all() -> str:
    digest = hashlib.sha256()
    for distortion in defaults():
        digest.update(render(distortion, voice(3, 6_000), 1, "clip").tobytes())
    return digest.hexdigest()


def test_another_process_gives_the_same_bytes() -> None:
    code = "from tests.test_distortions import sha_of_all; print(sha_of_all())"
    root = Path(__file__).parents[1]
    other = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert other.returncode == 0, other.stderr
    assert other.stdout.split()[-1] == sha_of_all()


def test_levels() -> None:
    assert within_full_scale(np.array([0.5, -1.0])).tolist() == [0.5, -1.0]
    np.testing.assert_allclose(
        within_full_scale(np.array([0.5, -2.0])), [0.25 * MAX_PEAK, -MAX_PEAK], rtol=1e-6
    )
    assert match_power(np.array([3.0, 0.0]), np.array([1.0, 1.0])).tolist() == pytest.approx(
        [2**0.5, 0.0]
    )


# Reverberation


def schroeder_t60(response: NDArray[np.float64]) -> float:
    """T60 in s by backward integration: a line through the decay from -5 to -35 dB."""
    energy = np.cumsum(response[::-1] ** 2)[::-1]
    decay_db = 10 * np.log10(energy / energy[0] + 1e-30)
    (fitted,) = np.nonzero((decay_db <= -5) & (decay_db >= -35))
    return float(-60 / np.polyfit(fitted / SAMPLE_RATE, decay_db[fitted], 1)[0])


@pytest.mark.parametrize("t60_s", [0.2, 0.4, 0.7, 1.2, 3.0])
def test_rooms_ring_as_long_as_asked(t60_s: float) -> None:
    for room in range(ROOMS):
        response, direct = room_response(room, t60_s)
        assert schroeder_t60(response[direct:]) == pytest.approx(t60_s, rel=0.08), room
        assert np.argmax(np.abs(response)) == direct
        assert not response[
            : direct - 40
        ].any()  # nothing before the direct sound and its interpolation
        # no hole and no step where noise takes over from images, 80 ms after the sound was made
        middle = direct + int(0.07 * SAMPLE_RATE)
        before, after = (
            power(response[start : start + 400]) for start in (middle - 400, middle + 400)
        )
        fall_db = 60 * 800 / SAMPLE_RATE / t60_s
        assert 10 * np.log10(before / after) == pytest.approx(fall_db, abs=4), room


def test_all_early_reflections_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    few = [room_response(room, 0.7)[0] for room in range(ROOMS)]
    monkeypatch.setattr(reverb_module, "MAX_ORDER", 32)
    early = slice(0, 40 + int(0.07 * SAMPLE_RATE))  # before noise takes over
    for room in range(ROOMS):
        more, _ = room_response.__wrapped__(room, 0.7)
        np.testing.assert_allclose(few[room][early], more[early], atol=5e-3 * np.max(more))


def test_absorption_by_hand() -> None:
    # 5 x 4 x 3 m: V = 60, S = 94; T60 = 55.26 * 60 / (343 * 94 * -ln(1 - a)) = 0.5 gives -ln(1 - a)
    # = 0.20568
    assert absorption(np.array([5.0, 4.0, 3.0]), 0.5) == pytest.approx(
        1 - np.exp(-0.20568), abs=1e-5
    )


def test_a_room_depends_on_its_number_and_t60_alone() -> None:
    responses = {room: room_response(room, 0.4)[0] for room in range(ROOMS)}
    assert len({response.tobytes() for response in responses.values()}) == ROOMS
    room_response.cache_clear()
    assert room_response(3, 0.4)[0].tobytes() == responses[3].tobytes()
    assert room_response(3, 0.4)[1] == room_response(3, 1.2)[1]  # the same places in the same room
    with pytest.raises(ValueError, match="read-only"):
        room_response(3, 0.4)[0][0] = 1.0


def test_reverberation_is_the_convolution_in_time_and_at_its_level() -> None:
    clean = voice(0, 5_000)
    wet = reverb(clean, 0.4, rng("room of a clip"))
    response, direct = room_response(int(rng("room of a clip").integers(ROOMS)), 0.4)
    wanted = np.convolve(clean.astype(np.float64), response)[direct : direct + 5_000]
    wanted *= np.sqrt(power(clean) / power(wanted))
    np.testing.assert_allclose(wet, wanted, atol=1e-5)
    assert dbfs(wet) == pytest.approx(dbfs(clean), abs=1e-3)
    click = awkward("click", 5_000)
    assert np.argmax(np.abs(reverb(click, 0.7, rng("any")))) == np.argmax(click)


def test_without_pyroomacoustics(monkeypatch: pytest.MonkeyPatch) -> None:
    room_response.cache_clear()
    monkeypatch.setitem(sys.modules, "pyroomacoustics", None)
    with pytest.raises(UserError, match="install it with `pip install pyroomacoustics`"):
        reverb(voice(0), 0.4, STREAM)


# Codec and band


def test_opus_is_in_time_and_gives_up_high_bands_at_low_rates() -> None:
    clean = noisy(voice(0), 20)
    coded = {kbit_s: codec(clean, kbit_s, STREAM) for kbit_s in KINDS["codec"].severities}
    high = {
        kbit_s: band_power(wave, 5_000, 8_000) / band_power(clean, 5_000, 8_000)
        for kbit_s, wave in coded.items()
    }
    assert high[24.0] > 0.3
    assert high[6.0] < 0.01
    for kbit_s, wave in coded.items():
        assert abs(lag(clean, wave)) <= 1
        assert si_sdr_db(clean, wave) > 0, kbit_s


def band_power(wave: Waveform, low_hz: float, high_hz: float) -> float:
    spectrum = np.abs(np.fft.rfft(wave.astype(np.float64))) ** 2
    hz = np.fft.rfftfreq(wave.size, 1 / SAMPLE_RATE)
    return float(spectrum[(hz >= low_hz) & (hz < high_hz)].sum())


@pytest.mark.parametrize("cutoff_hz", [1000.0, 2000.0, 4000.0])
def test_the_band_above_the_cutoff_is_gone_and_the_one_below_untouched(cutoff_hz: float) -> None:
    noise = (0.1 * rng("white").standard_normal(4 * SAMPLE_RATE)).astype(np.float32)
    limited = low_pass(noise, cutoff_hz, STREAM)
    ratio_db = {
        band: 10 * np.log10(band_power(limited, *band) / band_power(noise, *band))
        for band in [
            (0.0, 0.94 * cutoff_hz),
            (0.99 * cutoff_hz, 1.01 * cutoff_hz),
            (1.07 * cutoff_hz, 8001.0),
        ]
    }
    below, at, above = ratio_db.values()
    assert below == pytest.approx(0, abs=0.05)
    assert at == pytest.approx(-6, abs=0.6)  # half the amplitude
    assert above < -40
    assert lag(voice(0), low_pass(voice(0), cutoff_hz, STREAM)) == 0.0


def test_a_low_pass_does_not_wrap_round() -> None:
    click = np.zeros(2_048, np.float32)
    click[-1] = 1.0
    assert np.max(np.abs(low_pass(click, 1_000, STREAM)[:1_000])) < 1e-3


# Clipping


@pytest.mark.parametrize("percent", [1.0, 5.0, 20.0, 50.0])
def test_as_many_samples_are_clipped_as_asked(percent: float) -> None:
    for clean in (voice(0), noisy(voice(1), 5)):
        clipped = clipping(clean, percent, STREAM)
        sounding = np.count_nonzero(clean)
        flat = np.count_nonzero(np.abs(clipped) > 0.99999 * np.max(np.abs(clipped)))
        assert 100 * flat / sounding == pytest.approx(percent, abs=0.1)
        assert dbfs(clipped) == pytest.approx(dbfs(clean), abs=1e-3)
        assert np.max(np.abs(clipped)) < np.max(np.abs(clean))
        untouched = np.abs(clipped) < 0.99 * np.max(np.abs(clipped))
        gain = clipped[untouched & (clean != 0)] / clean[untouched & (clean != 0)]
        np.testing.assert_allclose(gain, gain[0], rtol=1e-4)  # only the loud ones are bent


# Packet loss


@pytest.mark.parametrize("share", [0.05, 0.2, 0.4])
def test_losses_have_their_share_and_come_in_bursts(share: float) -> None:
    lost = losses(rng("losses", share), 500_000, share)
    assert lost.mean() == pytest.approx(share, rel=0.05)
    bursts = np.diff(np.flatnonzero(np.diff(np.concatenate([[0], lost, [0]]))))[::2]
    assert bursts.mean() == pytest.approx(MEAN_BURST, rel=0.04)
    # geometric: a burst of one has the chance to recover
    assert np.mean(bursts == 1) == pytest.approx(1 / MEAN_BURST, rel=0.05)
    # stationary from the first packet on
    first = [losses(rng("first", number), 1, share)[0] for number in range(4_000)]
    assert np.mean(first) == pytest.approx(share, abs=0.03)


def test_lost_packets_are_silent_and_others_untouched() -> None:
    clean = noisy(voice(0), 20)
    received = packet_loss(clean, 20, rng("lossy"))
    packets = received[: received.size // PACKET * PACKET].reshape(-1, PACKET)
    sent = clean[: packets.size].reshape(-1, PACKET)
    silent = ~packets.any(axis=1)
    assert 0 < np.sum(silent) < np.size(silent)
    np.testing.assert_array_equal(packets[~silent], sent[~silent])


def test_something_of_a_short_clip_arrives() -> None:
    for seed in range(200):
        assert packet_loss(tone(300, 700), 80, rng("short", seed)).any()


# Time stretch


@pytest.mark.parametrize("factor", [0.55, 0.7, 0.85, 1.25, 2.0])
def test_another_duration_at_the_same_pitch(factor: float) -> None:
    for hz in (110.0, 440.0, 1_500.0):
        stretched = time_stretch(tone(hz), factor, STREAM)
        assert stretched.size == round(SAMPLE_RATE * factor)
        spectrum = np.abs(np.fft.rfft(stretched * np.hanning(stretched.size), 1 << 18))
        assert np.argmax(spectrum) * SAMPLE_RATE / (1 << 18) == pytest.approx(hz, rel=0.005)
        # joined without seams: as loud as before throughout, and nothing but the tone
        frames = stretched[800:-800][: (stretched.size - 1_600) // 800 * 800].reshape(-1, 800)
        assert np.sqrt(np.mean(frames**2, axis=1)) == pytest.approx(0.3 / 2**0.5, rel=0.1)


def test_words_move_in_proportion() -> None:
    clean = voice(0)
    stretched = time_stretch(clean, 0.7, STREAM)

    def loud(wave: Waveform, frames: int) -> NDArray[np.float64]:
        return np.array([np.sqrt(power(part)) for part in np.array_split(wave, frames)])

    assert np.corrcoef(loud(clean, 25), loud(stretched, 25))[0, 1] > 0.9


def test_a_factor_of_one_changes_nothing() -> None:
    for clean in (voice(0), noisy(voice(1), 0), tone(200, 3_001)):
        np.testing.assert_allclose(time_stretch(clean, 1.0, STREAM), clean, atol=1e-6)

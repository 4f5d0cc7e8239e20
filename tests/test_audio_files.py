"""The audio edge: what a file may be, and one clear error for each way it may be broken."""

import io
import resource
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from echodistill.audio.files import Decoded, decode_bytes, decode_file, write_wav
from echodistill.audio.levels import Waveform
from echodistill.audio.stored import decode_flac, encode_flac
from echodistill.core.errors import UserError


def sine(
    rate: int, duration_s: float = 0.5, pitch_hz: float = 440.0, peak: float = 0.5
) -> Waveform:
    return (peak * np.sin(2 * np.pi * pitch_hz * np.arange(int(rate * duration_s)) / rate)).astype(
        np.float32
    )


def encoded(
    samples: np.ndarray, rate: int = 16_000, kind: str = "WAV", subtype: str = "PCM_16"
) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=kind, subtype=subtype)
    return buffer.getvalue()


def riff(
    channels: int = 1,
    rate: int = 16_000,
    data_size: int = 1_000,
    data: bytes = bytes(1_000),
    bits: int = 16,
) -> bytes:
    """A PCM wav whose header may claim anything."""
    frame = channels * bits // 8
    header = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, channels, rate, rate * frame, frame, bits)
    body = b"WAVE" + header + struct.pack("<4sI", b"data", data_size) + data
    return struct.pack("<4sI", b"RIFF", min(4 + len(header) + 8 + data_size, 2**32 - 1)) + body


def decode(content: bytes) -> Decoded:
    return decode_bytes(content, "clip", 10.0)


def fault_of(content: bytes) -> str:
    with pytest.raises(UserError) as error:
        decode(content)
    message = str(error.value)
    assert message.startswith("clip: ")
    assert "\n" not in message
    return message


# what can be decoded


@pytest.mark.parametrize(
    ("kind", "subtype"),
    [("WAV", "PCM_16"), ("WAV", "PCM_24"), ("WAV", "FLOAT"), ("FLAC", "PCM_16")],
)
def test_lossless_formats(kind: str, subtype: str) -> None:
    wave = sine(16_000)
    decoded = decode(encoded(wave, 16_000, kind, subtype))
    assert (decoded.source_rate, decoded.source_channels) == (16_000, 1)
    assert decoded.waveform.dtype == np.float32
    assert decoded.waveform == pytest.approx(wave, abs=1.01 / 2**15)


@pytest.mark.parametrize(("kind", "subtype"), [("OGG", "VORBIS"), ("MP3", "MPEG_LAYER_III")])
def test_lossy_formats(kind: str, subtype: str) -> None:
    wave = sine(16_000)
    decoded = decode(encoded(wave, 16_000, kind, subtype)).waveform
    assert decoded.size == pytest.approx(wave.size, abs=2_500)
    assert np.sqrt(np.mean(decoded**2)) == pytest.approx(np.sqrt(np.mean(wave**2)), rel=0.1)


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
def test_other_rates_are_resampled(rate: int) -> None:
    decoded = decode(encoded(sine(rate), rate, subtype="FLOAT"))
    assert decoded.source_rate == rate
    assert decoded.waveform.size == pytest.approx(8_000, abs=1)
    middle = slice(1_000, 7_000)  # away from the edges, where the filter rings
    assert decoded.waveform[middle] == pytest.approx(sine(16_000)[middle], abs=2e-3)


def test_frequencies_above_8_khz_do_not_fold_back() -> None:
    decoded = decode(encoded(sine(44_100, pitch_hz=12_000.0), 44_100, subtype="FLOAT")).waveform
    assert np.max(np.abs(decoded[1_000:-1_000])) < 1e-3


def test_channels_are_averaged() -> None:
    left = sine(16_000)
    decoded = decode(encoded(np.stack([left, np.zeros_like(left)], axis=1), subtype="FLOAT"))
    assert decoded.source_channels == 2
    assert decoded.waveform.shape == left.shape
    assert decoded.waveform == pytest.approx(left / 2)
    opposite = decode(encoded(np.stack([left, -left], axis=1), subtype="FLOAT"))
    assert not opposite.waveform.any()


def test_a_peak_above_full_scale_is_scaled_down() -> None:
    decoded = decode(encoded(sine(16_000, peak=4.0), subtype="FLOAT")).waveform
    assert np.max(np.abs(decoded)) == pytest.approx(1.0)
    assert decoded == pytest.approx(sine(16_000, peak=1.0), abs=1e-3)
    quiet = sine(16_000, peak=0.01)
    assert decode(encoded(quiet, subtype="FLOAT")).waveform == pytest.approx(quiet)


def test_a_streamed_wav_of_unknown_length() -> None:
    """Recorders that cannot seek leave the length at its largest value."""
    assert decode(riff(data_size=0xFFFFFFFF)).waveform.size == 500


def test_chunks_before_the_samples_are_passed_over() -> None:
    wav = riff()
    listed = struct.pack("<4sI", b"LIST", 3) + b"abc\0"  # an odd size is padded to an even one
    assert decode(wav[:36] + listed + wav[36:]).waveform.size == 500


# what cannot


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.wav: no such audio file"):
        decode_file(tmp_path / "none.wav", 1.0)
    with pytest.raises(UserError, match="a folder, not a recording"):
        decode_file(tmp_path, 1.0)


def test_an_error_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"")
    with pytest.raises(UserError, match=r"/a\.wav: the file is empty"):
        decode_file(tmp_path / "a.wav", 1.0)


@pytest.mark.parametrize(
    "content", [b"id,question\n1,what?\n", b"\0" * 2_000, b"RIFF", b"\x9c" * 2_000]
)
def test_what_is_no_audio(content: bytes) -> None:
    assert "not an audio file that can be decoded" in fault_of(content)


@pytest.mark.parametrize(
    ("kind", "subtype"), [("WAV", "PCM_16"), ("WAV", "FLOAT"), ("FLAC", "PCM_16")]
)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_truncated_file(kind: str, subtype: str, share: float) -> None:
    content = encoded(np.random.default_rng(1).uniform(-0.5, 0.5, 8_000), 16_000, kind, subtype)
    fault_of(content[: int(share * len(content))])


def test_a_truncated_wav_reports_it() -> None:
    assert "truncated: the header claims 1000 bytes of samples, 999 are there" in fault_of(
        riff(data=bytes(999))
    )
    assert "truncated: the wav has no sample data" in fault_of(riff()[:36])


def test_no_samples() -> None:
    assert "holds no samples" in fault_of(riff(data_size=0, data=b""))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_no_numbers(value: float) -> None:
    wave = sine(16_000)
    wave[4_321] = value
    assert "NaN or infinite" in fault_of(encoded(wave, subtype="FLOAT"))


def test_impossible_headers() -> None:
    assert "claims 0 channels" in fault_of(riff(channels=0))
    assert "at 0 Hz" in fault_of(riff(rate=0))
    assert "claims 33 channels" in fault_of(riff(channels=33, data_size=660, data=bytes(660)))


def test_too_long() -> None:
    content = encoded(np.zeros(16_001), 16_000)
    with pytest.raises(UserError, match=r"clip: 1\.0001 s is longer than the allowed 1 s"):
        decode_bytes(content, "clip", 1.0)
    assert decode_bytes(encoded(np.zeros(16_000), 16_000), "clip", 1.0).waveform.size == 16_000


def test_what_would_not_fit_in_memory_is_refused_by_its_header() -> None:
    content = bytearray(encoded(np.zeros((1_000, 8)), 16_000, "FLAC"))
    content[22:26] = struct.pack(">I", 3 * 3_600 * 16_000)
    with pytest.raises(
        UserError,
        match=r"^clip: 10800.0 s of 8 channels at 16000 Hz are 5.1 GiB when decoded, more than 2:",
    ):
        decode_bytes(bytes(content), "clip", 20_000.0)


@pytest.mark.parametrize("unknown_length", [False, True])
def test_a_header_of_three_hours_costs_no_memory(unknown_length: bool) -> None:
    claimed = 0xFFFFFFFF if unknown_length else 3 * 3_600 * 16_000 * 2
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if unknown_length:
        assert decode(riff(data_size=claimed)).waveform.size == 500
    else:
        assert "truncated" in fault_of(riff(data_size=claimed))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB


def test_a_flac_header_of_three_hours_costs_no_memory() -> None:
    content = bytearray(encoded(np.zeros(1_000), 16_000, "FLAC"))
    # STREAMINFO: the low 32 bits of the number of samples stand at byte 22
    content[22:26] = struct.pack(">I", 3 * 3_600 * 16_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert "10800.0 s is longer than the allowed 10 s" in fault_of(bytes(content))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_damage_gives_a_clip_or_one_clear_error(data: st.DataObject) -> None:
    """Flipped and cut bytes never escape as another exception, and never as samples beyond full
    scale.
    """
    kind, subtype = data.draw(
        st.sampled_from(
            [("WAV", "PCM_16"), ("WAV", "FLOAT"), ("FLAC", "PCM_16"), ("OGG", "VORBIS")]
        )
    )
    content = bytearray(encoded(sine(16_000, 0.05), 16_000, kind, subtype))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, min(len(content) - 1, 80)))] = data.draw(
            st.integers(0, 255)
        )
    del content[data.draw(st.integers(0, len(content))) :]
    try:
        decoded = decode(bytes(content))
    except UserError as error:
        assert str(error).startswith("clip: ")  # noqa: PT017
    else:
        assert np.isfinite(decoded.waveform).all()
        assert np.max(np.abs(decoded.waveform), initial=0.0) <= 1.0


# what is stored


@settings(max_examples=50, deadline=None)
@given(arrays.arrays(np.float32, st.integers(1, 3_000), elements=st.floats(-1, 1, width=32)))
def test_flac_gives_the_waveform_back(wave: Waveform) -> None:
    content = encode_flac(wave)
    assert content == encode_flac(wave)
    decoded = decode_flac(content, "clip")
    assert decoded.source_rate == 16_000
    assert decoded.waveform.size == wave.size
    assert np.max(np.abs(decoded.waveform - wave)) <= 2.0**-23


def test_a_written_wav_is_exact(tmp_path: Path) -> None:
    wave = sine(16_000)
    write_wav(tmp_path / "a.wav", wave)
    assert np.array_equal(soundfile.read(tmp_path / "a.wav", dtype="float32")[0], wave)
    # without its mean
    assert decode_file(tmp_path / "a.wav", 1.0).waveform == pytest.approx(wave, abs=1e-7)

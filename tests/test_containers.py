"""Stated lengths in every container: truncated recordings are refused, those of programs that
stated none are read whole.
"""

import io
import struct
from collections.abc import Iterator

import numpy as np
import pytest
import soundfile

from echodistill.audio.files import decode_bytes
from echodistill.core.errors import UserError

CONTAINERS = ("WAV", "WAVEX", "RF64", "W64", "AIFF", "CAF", "AU", "NIST", "FLAC", "OGG", "MP3")
SAMPLES = 8_001  # odd, so that some containers pad it
RARE = (
    "AVR",
    "HTK",
    "SVX",
    "MAT4",
    "MAT5",
    "MPC2K",
    "PAF",
    "PVF",
    "SDS",
    "IRCAM",
    "VOC",
    "WVE",
    "XI",
)
UNREADABLE = ("DWVW_12", "DWVW_16", "DWVW_24")
"""libsndfile writes them, but cannot read them to the end."""


def noise(samples: int = SAMPLES, channels: int = 1) -> np.ndarray:
    return 0.3 * np.random.default_rng(samples).standard_normal((samples, channels))


def encoded(samples: np.ndarray, rate: int = 16_000, **options: object) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, **options)
    return buffer.getvalue()


def all_kinds(containers: tuple[str, ...]) -> Iterator[tuple[str, str, bytes]]:
    """Every container, codec and byte order that libsndfile writes."""
    for container in containers:
        for codec in soundfile.available_subtypes(container):
            for endian in ("FILE", "BIG", "LITTLE"):
                for rate in (16_000, 8_000):
                    try:
                        content = encoded(
                            noise(), rate, format=container, subtype=codec, endian=endian
                        )
                    except (soundfile.LibsndfileError, ValueError):
                        continue
                    if codec not in UNREADABLE:
                        yield f"{container} {codec} {endian} {rate}", codec, content


def decoded(content: bytes) -> np.ndarray:
    return decode_bytes(content, "clip.wav", 60.0).waveform


def samples_in(content: bytes) -> int:
    return len(decoded(content))


def fault_of(content: bytes) -> str:
    with pytest.raises(UserError) as error:
        decoded(content)
    message = str(error.value)
    assert message.startswith("clip.wav: ")
    assert "\n" not in message
    return message


@pytest.mark.parametrize("container", CONTAINERS)
def test_every_codec_is_read_whole_and_refused_when_cut(container: str) -> None:
    tried = 0
    for kind, codec, content in all_kinds((container,)):
        whole = samples_in(content)
        rounded = (
            1_200
            if container == "MP3" or codec.startswith(("G7", "GSM")) or "ADPCM" in codec
            else 1
        )
        assert abs(whole - SAMPLES * 16_000 // int(kind.split()[-1])) <= 2 * rounded, kind
        for share in (0.1, 0.5, 0.97):
            assert "truncated" in fault_of(content[: int(share * len(content))]), (kind, share)
        tried += 1
    assert tried


@pytest.mark.parametrize("container", CONTAINERS)
def test_what_follows_the_samples(container: str) -> None:
    """Tags and zeros are no sound; another recording is read too, and samples that no header counts
    are not passed over.
    """
    for kind, _, content in all_kinds((container,)):
        whole = samples_in(content)
        assert samples_in(content + b"TAG" + bytes(125)) == whole, kind
        assert samples_in(content + bytes(3_000)) == whole, kind
        assert samples_in(b"ID3\x04\0\0\0\0\x07\x68" + bytes(1_000) + content) == whole, kind
        assert abs(samples_in(content + content) - 2 * whole) <= 2, kind
        assert "bytes follow the end" in fault_of(content + b"\xf0\x01" * 2_000), kind


@pytest.mark.parametrize("container", RARE)
def test_a_length_that_cannot_be_checked_is_not_trusted(container: str) -> None:
    for kind, _, content in all_kinds((container,)):
        assert "not an audio file that can be decoded" in fault_of(content), kind


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("behind", CONTAINERS)
def test_what_follows_a_flac_is_read_or_refused(behind: str, channels: int) -> None:
    first = encoded(noise(channels=channels), format="FLAC")
    second = encoded(noise(6_000, channels), format=behind)
    if behind == "MP3":  # no mark tells where it begins
        assert "bytes follow the end" in fault_of(first + second)
    else:
        assert abs(samples_in(first + second) - SAMPLES - samples_in(second)) <= 2
    assert samples_in(first + b"\xff\xf8" * 500) == SAMPLES  # so few are taken for padding


def test_a_compressed_sphere_is_named_as_such() -> None:
    content = encoded(noise(), format="NIST").replace(
        b"sample_coding -s3 pcm", b"sample_coding -s26 pcm,embedded-shorten-v2.00"
    )
    assert b"embedded-shorten" in content
    assert (
        "NIST SPHERE compressed with shorten-v2.00, which is not read here: convert it"
        in fault_of(content[:9_000])
    )


def test_joined_recordings_are_read_in_order_and_must_be_alike() -> None:
    first, second = noise(4_000), noise(6_000)
    for container in ("WAV", "AIFF", "FLAC", "W64", "CAF", "AU", "NIST", "RF64"):
        joined = encoded(first, format=container) + encoded(second, format=container)
        parts = np.concatenate(
            [decoded(encoded(part, format=container)) for part in (first, second)]
        )
        # each is read at its own mean
        assert np.allclose(decoded(joined), parts, atol=0.01), container
        unlike = encoded(first, format=container) + encoded(second, 8_000, format=container)
        assert (
            "joined of recordings that differ (1 channels at 8000 Hz and 1 channels at 16000 Hz)"
            in fault_of(unlike)
        )
    with pytest.raises(UserError, match=r"0\.6 s is longer than the allowed 0\.5 s"):
        decode_bytes(joined, "clip", 0.5)


# lengths that nobody filled in

WAV32 = (
    0,
    0x7FFFFFFF,
    0x7FFFFFFF - 36,
    0x7FFFF000,
    0x7F000000,
    0x80000000,
    0x80000024,
    0xFFFFFFFF,
    0xFFFFFFFF - 44,
)


def with_length(container: str, length: int) -> bytes:
    """A recording whose header states another length of its samples."""
    content = bytearray(encoded(noise(), format=container))
    place, layout = {
        "WAV": (content.find(b"data") + 4, "<I"),
        "RIFX": (0, ">I"),
        "AIFF": (content.find(b"SSND") + 4, ">I"),
        "AU": (8, ">I"),
        "W64": (content.find(b"data") + 16, "<Q"),
        "RF64": (28, "<Q"),
        "CAF": (content.find(b"data") + 4, ">Q"),
    }[container]
    struct.pack_into(layout, content, place, length)
    return bytes(content)


@pytest.mark.parametrize(
    ("container", "lengths"),
    [
        ("WAV", WAV32),
        ("AIFF", (*WAV32, 8)),
        ("AU", (0, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)),
        ("W64", (0, 24, 2**63 - 1, 2**64 - 1)),
        ("RF64", (0, 2**63 - 1, 2**64 - 1)),
        ("CAF", (0, 4, 2**63 - 1, 2**64 - 1)),
    ],
)
def test_a_placeholder_is_no_length(container: str, lengths: tuple[int, ...]) -> None:
    whole = decoded(encoded(noise(), format=container))
    for length in lengths:
        found = decoded(with_length(container, length))
        assert abs(len(found) - len(whole)) <= 1, length  # a byte that pads may count
        assert np.allclose(found[: SAMPLES - 1], whole[: SAMPLES - 1], atol=1e-4), length


def test_an_unclosed_wav_states_zero_twice() -> None:
    content = bytearray(with_length("WAV", 0))
    content[4:8] = bytes(4)
    assert abs(samples_in(bytes(content)) - SAMPLES) <= 1


def test_no_samples_and_other_chunks_behind_are_no_recording() -> None:
    empty = encoded(noise(0), format="WAV")
    assert "holds no samples" in fault_of(empty)
    assert "holds no samples" in fault_of(
        empty + struct.pack("<4sI", b"LIST", 2_000) + b"INFO" + bytes(range(1, 250)) * 8 + bytes(4)
    )


@pytest.mark.parametrize("container", ["WAV", "AIFF", "AU", "RF64", "CAF"])
def test_a_length_that_is_too_small_is_not_trusted(container: str) -> None:
    assert "bytes follow the end that its header states" in fault_of(with_length(container, 4_000))


def test_sphere_states_a_number_of_samples() -> None:
    content = encoded(noise(), format="NIST")
    assert "truncated: the header claims 18000 bytes of samples, 16002 are there" in fault_of(
        content.replace(b"sample_count -i 8001", b"sample_count -i 9000")
    )
    assert "bytes follow" in fault_of(
        content.replace(b"sample_count -i 8001", b"sample_count -i 1000")
    )
    assert samples_in(content.replace(b"sample_count -i 8001", b"sample_count -i 0000")) == SAMPLES


def test_chunks_are_found_whether_padded_or_not() -> None:
    content = encoded(noise(), format="WAV")
    for listed in (
        b"LIST\x03\0\0\0abc\0",
        b"LIST\x03\0\0\0abc",
        b"JUNK\x04\0\0\0abcd",
        b"bext\0\0\0\0",
    ):
        before = content[:36] + listed + content[36:]
        assert samples_in(content + b"\0" + listed) == SAMPLES
        if listed != b"LIST\x03\0\0\0abc":  # libsndfile finds it no more than padded
            assert samples_in(before) == SAMPLES


@pytest.mark.parametrize("container", CONTAINERS)
def test_damaged_headers_give_a_clip_or_one_clear_error(
    container: str, capfd: pytest.CaptureFixture[str]
) -> None:
    stream = np.random.default_rng(0)
    kinds = [content for _, _, content in all_kinds((container,))]
    for _ in range(150):
        content = bytearray(kinds[stream.integers(len(kinds))])
        for place in stream.integers(
            0, min(len(content), int(stream.choice([16, 64, 1_200]))), size=3
        ):
            content[place] = stream.choice([0, 1, 2, 0x7F, 0x80, 0xFF])
        try:
            samples_in(bytes(content))
        except UserError as error:
            assert str(error).startswith("clip.wav: ")  # noqa: PT017
    assert "Traceback" not in capfd.readouterr().err


# FLAC without a number of samples


def with_total(content: bytes, total: int) -> bytes:
    bits = int.from_bytes(content[21:26], "big") & ~(2**36 - 1) | total
    return content[:21] + bits.to_bytes(5, "big") + content[26:]


@pytest.mark.parametrize("codec", ["PCM_S8", "PCM_16", "PCM_24"])
@pytest.mark.parametrize("samples", [1, 15, 192, 4_096, 4_097, 40_001])
def test_a_flac_of_unknown_length(codec: str, samples: int) -> None:
    for channels in (1, 2):
        for rate in (16_000, 12_345):
            content = encoded(noise(samples, channels), rate, format="FLAC", subtype=codec)
            whole = decoded(content)
            assert np.array_equal(decoded(with_total(content, 0)), whole), (channels, rate)
            # too few are no more believed
            assert np.array_equal(decoded(with_total(content, samples // 2)), whole)
            assert "truncated" in fault_of(with_total(content, samples + 1))
            for cut in (1, 5):
                assert "truncated" in fault_of(with_total(content, 0)[:-cut]), cut
    assert np.array_equal(decoded(with_total(content, 0) + b"TAG" + bytes(125)), whole)


# Ogg


@pytest.mark.parametrize("codec", ["VORBIS", "OPUS"])
def test_an_ogg_ends_with_its_last_page(codec: str) -> None:
    content = encoded(noise(80_000), format="OGG", subtype=codec)
    assert abs(samples_in(content) - 80_000) <= 1
    pages = [at for at in range(len(content)) if content.startswith(b"OggS", at)]
    for page in pages[1:]:
        assert (
            "truncated: its last Ogg page is not marked as the end; or its recorder was stopped"
            in fault_of(content[:page])
        )
        assert "truncated: its last Ogg page is cut off" in fault_of(content[: page + 10])
        assert "truncated: its last Ogg page is cut off" in fault_of(content[: page + 40])
    middle = pages[len(pages) // 2]
    assert "no Ogg page begins at byte" in fault_of(content[:middle] + b"junk" + content[middle:])
    assert samples_in(content + b"\0junk" * 20) == samples_in(content)


def test_one_ogg_behind_another_may_have_another_codec() -> None:
    vorbis, opus = (
        encoded(noise(16_000), 48_000, format="OGG", subtype=codec) for codec in ("VORBIS", "OPUS")
    )
    assert abs(samples_in(vorbis + opus + vorbis) - 16_000) <= 3


# MP3: what the header does not say is counted


def frames_of(content: bytes) -> list[bytes]:
    """The frames of an MP3 that this file's encoder wrote: they begin alike."""
    starts, position = [], 0
    rates = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
    kilobits = {
        True: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
        False: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    }
    while position < len(content):
        bits = int.from_bytes(content[position : position + 4], "big")
        version = bits >> 19 & 3
        rate = rates[version][bits >> 10 & 3]
        size = (144 if version == 3 else 72) * 1000 * kilobits[version == 3][
            bits >> 12 & 15
        ] // rate + (bits >> 9 & 1)
        starts.append(content[position : position + size])
        position += size
    return starts


def mp3(
    rate: int, mode: str, channels: int = 1, loud_at_the_end: bool = True, seconds: float = 1.0
) -> bytes:
    """Quiet at first and loud at the end, or the other way round, so that a rate guessed from the
    first frame is wrong.
    """
    samples = noise(int(rate * seconds), channels)
    samples[: len(samples) * 2 // 3] *= 1e-4
    samples = samples if loud_at_the_end else samples[::-1]
    return encoded(samples, rate, format="MP3", bitrate_mode=mode, compression_level=0.4)


MP3_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)


@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
@pytest.mark.parametrize("rate", MP3_RATES)
def test_an_mp3_is_read_whole_whether_it_states_its_length(rate: int, mode: str) -> None:
    for channels, loud_at_the_end in ((1, True), (1, False), (2, True)):
        content = mp3(rate, mode, channels, loud_at_the_end)
        stated = decoded(content)
        assert abs(len(stated) - 16_000) <= 2
        first, *sound = frames_of(content)
        assert b"Info" in first or b"Xing" in first
        bare = b"".join(sound)
        per_frame = 1_152 if rate >= 32_000 else 576
        # the decoder itself begins 529 samples late
        whole = (len(sound) * per_frame - 529) * 16_000 / rate
        for variant in (
            bare,
            bare + b"TAG" + bytes(125),
            bare + b"APETAGEX" + struct.pack("<IIII", 2_000, 100, 1, 0) + bytes(2_008),
        ):
            assert abs(samples_in(variant) - whole) <= 2
        assert abs(samples_in(bare + bare) - 2 * whole - 529 * 16_000 / rate) <= 3
        assert abs(samples_in(content + content) - 32_000) <= 4
        assert abs(samples_in(content + bare) - 2 * whole - 529 * 16_000 / rate) <= 3
        for cut in (
            content[:-1],
            bare[:-1],
            content[: len(content) // 2],
            b"".join(sound[:10]) + sound[10][:30],
        ):
            assert "truncated" in fault_of(cut)
        short = first + b"".join(sound[: len(sound) // 2])
        assert (
            f"truncated: the header claims {len(sound)} MPEG frames, {len(sound) // 2} are there"
            in fault_of(short)
        )


def test_stray_bytes_between_mp3_frames_end_nothing() -> None:
    _, *sound = frames_of(mp3(44_100, "VARIABLE"))
    half = len(sound) // 2
    between = (
        b"".join(sound[:half])
        + b"ID3\x04\0\0\0\0\x10\0"
        + bytes(2_048)
        + bytes(3_000)
        + b"".join(sound[half:])
    )
    assert abs(samples_in(between) - samples_in(b"".join(sound))) <= 1
    assert "bytes follow the end" in fault_of(b"".join(sound) + b"\x12\x34" * 1_000)

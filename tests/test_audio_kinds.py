"""Files that are no recording which can be read here: each is called what it is, with what to do
about it.
"""

import gzip
import io
import json
import re
import shlex
import zipfile

import numpy as np
import pytest
import soundfile

from echodistill.audio.files import decode_bytes
from echodistill.audio.levels import SILENCE_DBFS, dbfs, format_duration
from echodistill.core.errors import UserError

REST = np.random.default_rng(1).bytes(3_000)
OTHER_AUDIO = {
    "m4a": (b"\0\0\0\x1cftypM4A \0\0\0\0", "MPEG-4 audio or video"),
    "m4b": (b"\0\0\0\x20ftypM4B \0\0\0\0", "MPEG-4 audio or video"),
    "mp4": (b"\0\0\0\x20ftypisom\0\0\2\0", "MPEG-4 audio or video"),
    "mp42": (b"\0\0\0\x18ftypmp42\0\0\0\0", "MPEG-4 audio or video"),
    "mov": (b"\0\0\0\x14ftypqt  \0\0\0\0", "MPEG-4 audio or video"),
    "3gp": (b"\0\0\0\x18ftyp3gp4\0\0\0\0", "a 3GPP recording"),
    "heif": (b"\0\0\0\x18ftypheic\0\0\0\0", "an MPEG-4 file"),
    "aac": (b"\xff\xf1\x50\x80\x2e\x7f\xfc\x21", "AAC audio"),
    "aac2": (b"\xff\xf9\x50\x80\x2e\x7f\xfc\x21", "AAC audio"),
    "adif": (b"ADIF", "AAC audio"),
    "webm": (b"\x1aE\xdf\xa3\x9fB\x86\x81\1", "WebM or Matroska"),
    "amr": (b"#!AMR\n", "a voice message"),
    "awb": (b"#!AMR-WB\n", "a voice message"),
    "silk": (b"\x02#!SILK_V3", "a voice message"),
    "wma": (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9", "Windows Media"),
    "wv": (b"wvpk", "WavPack"),
    "ape": (b"MAC ", "Monkey's Audio"),
    "tta": (b"TTA1", "True Audio"),
    "mpc": (b"MPCK", "Musepack"),
    "dsf": (b"DSD ", "DSD audio"),
    "ra": (b".ra\xfd", "RealAudio"),
    "rm": (b".RMF", "RealAudio"),
    "avi": (b"RIFF\0\0\0\0AVI ", "a video"),
    "mpg": (b"\0\0\1\xba", "a video"),
    "flv": (b"FLV\1", "a video"),
    "shn": (b"ajkg", "Shorten"),
    "bw64": (b"BW64\xff\xff\xff\xffWAVE", "Broadcast Wave 64"),
    "voc": (b"Creative Voice File\x1a", "of a format whose stated length cannot be checked"),
    "8svx": (b"FORM\0\0\0\0" + b"8SVX", "of a format whose stated length cannot be checked"),
}


def fault_of(content: bytes, name: str = "data/raw/a.wav") -> str:
    with pytest.raises(UserError) as error:
        decode_bytes(content, name, 10.0)
    message = str(error.value)
    assert message.startswith(f"{name}: not an audio file that can be decoded: ")
    assert "\n" not in message
    return message


@pytest.mark.parametrize("kind", OTHER_AUDIO)
def test_other_audio_is_to_be_converted(kind: str) -> None:
    beginning, name = OTHER_AUDIO[kind]
    for rest in (REST, b"", bytes(500)):
        message = fault_of(beginning + rest, f"data/raw/my clip.{kind}")
        assert f"it is {name}" in message
        assert (
            f"convert it: `ffmpeg -i 'data/raw/my clip.{kind}' 'data/raw/my clip.wav'`" in message
        )


@pytest.mark.parametrize(
    ("name", "source", "target"),
    [
        ("a.m4a", "a.m4a", "a.wav"),
        ("data/raw/it's.m4a", "data/raw/it's.m4a", "data/raw/it's.wav"),
        (
            "data/raw/a.wav",
            "data/raw/a.wav",
            "data/raw/a.converted.wav",
        ),  # ffmpeg does not write what it reads
        ("A.WAV", "A.WAV", "A.converted.wav"),
        ("x/a.b.webm", "x/a.b.webm", "x/a.b.wav"),
    ],
)
def test_the_command_can_be_used(name: str, source: str, target: str) -> None:
    command = re.search("`(.*)`", fault_of(b"#!AMR\n" + REST, name))
    assert command
    assert shlex.split(command[1]) == ["ffmpeg", "-i", source, target]


@pytest.mark.parametrize("name", ["data/raw/test.parquet#17", "the recording", "audio 'UklGR'"])
def test_what_is_no_file_gets_no_command(name: str) -> None:
    assert fault_of(b"#!AMR\n" + REST, name).endswith("convert it with ffmpeg")


def packed() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.wav", REST)
    return buffer.getvalue()


LFS = (
    b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"4d7a2146" * 8 + b"\nsize 12345\n"
)
NO_SOUND = {
    "lfs": (LFS, "it is a Git LFS pointer, not the recording itself: run `git lfs pull`"),
    "lfs of old": (
        b"version https://hawser.github.com/spec/v1\noid sha256:0\nsize 1\n",
        "Git LFS pointer",
    ),
    "annex": (b"/annex/objects/SHA256E-s1--0.wav\n", "it is a git-annex pointer"),
    "html": (b"<!DOCTYPE html>\n<html><head><title>Sign in</title>", "it is a web page (HTML)"),
    "html upper": (b"\r\n  <HTML>\r\n<BODY>404</BODY>", "it is a web page (HTML)"),
    "html bom": (b"\xef\xbb\xbf<!doctype html><html>", "it is a web page (HTML)"),
    "html comment": (b"<!-- proxy -->\n<html>", "it is a web page (HTML)"),
    "xml": (
        b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>',
        "it is text ('<?xml version=",
    ),
    "json": (
        json.dumps({"error": "rate limited"}).encode(),
        'it is text (\'{"error": "rate limited"}\')',
    ),
    "not found": (b"Not Found", "it is text ('Not Found'), no sound: fetch the recording again"),
    "chinese": ("找不到文件\n".encode(), "it is text ('找不到文件')"),
    "utf-16": ("Not Found".encode("utf-16"), "it is text ('"),
    "csv": (b"id,question\n1,what?\n", "it is text ('id,question 1,what?')"),
    "long text": ("é".encode() * 5_000, "it is text ('éé"),
    "zeros": (bytes(32_044), "all its bytes are zero"),
    "zip": (packed(), "an archive or compressed file: unpack it"),
    "gzip": (gzip.compress(REST), "an archive or compressed file: unpack it"),
    "7z": (b"7z\xbc\xaf\x27\x1c" + REST, "an archive or compressed file: unpack it"),
    "mac": (b"\0\5\x16\7\0\2\0\0Mac OS X" + bytes(50) + REST, "its name begins with ._"),
    "midi": (b"MThd\0\0\0\6" + REST, "MIDI"),
    "parquet": (b"PAR1" + REST, "a parquet file: name it in corpus.manifest"),
    "png": (b"\x89PNG\r\n\x1a\n" + REST, "an image, a document or data"),
    "numpy": (b"\x93NUMPY\1\0" + REST, "an image, a document or data"),
    "unknown": (
        b"\x9c\x01\x02\x03" + REST,
        "its beginning is that of no known format: if a player plays it, convert it: `ffmpeg",
    ),
}


@pytest.mark.parametrize("kind", NO_SOUND)
def test_what_is_no_sound_is_called_what_it_is(kind: str) -> None:
    content, message = NO_SOUND[kind]
    assert message in fault_of(content)


def test_a_wav_of_a_codec_that_cannot_be_read() -> None:
    """GSM 6.10 cannot seek, which ended the stage with a ValueError; a codec nobody here knows is
    to be converted.
    """
    tone = 0.2 * np.sin(np.arange(16_000) / 7)
    for container in ("WAV", "W64", "AIFF"):
        buffer = io.BytesIO()
        soundfile.write(buffer, tone, 8_000, format=container, subtype="GSM610")
        assert abs(decode_bytes(buffer.getvalue(), "clip", 10.0).waveform.size - 32_000) <= 640
    buffer = io.BytesIO()
    soundfile.write(buffer, tone, 16_000, format="WAV")
    content = bytearray(buffer.getvalue())
    content[20:22] = b"\xff\0"  # AAC
    with pytest.raises(
        UserError,
        match=(
            r"^clip\.wav: not an audio file that can be decoded \(.*\): convert it: `ffmpeg -i"
            r" clip\.wav"
        ),
    ):
        decode_bytes(bytes(content), "clip.wav", 10.0)


# a constant offset is no sound


def wav(samples: np.ndarray, rate: int = 16_000) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format="WAV", subtype="FLOAT")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("duration_s", "limit_s", "shown"),
    [
        (30.04, 30.0, "30.04"),
        (31.42, 30.0, "31.4"),
        (30.0000625, 30.0, "30.0001"),
        (1.2, 1.25, "1.20"),
        (0.1999, 0.2, "0.1999"),
    ],
)
def test_a_length_beyond_a_limit_is_not_shown_as_the_limit(
    duration_s: float, limit_s: float, shown: str
) -> None:
    assert format_duration(duration_s, limit_s, 1) == shown


@pytest.mark.parametrize("offset", [0.9, -0.3, 1e-3])
@pytest.mark.parametrize(
    ("before", "between", "behind"),
    [(4_000, 0, 0), (0, 0, 4_000), (3_000, 2_000, 1_000), (64, 0, 0)],
)
def test_an_offset_beside_zeros_is_taken_from_the_rest(
    offset: float, before: int, between: int, behind: int
) -> None:
    level = np.full(4_000, offset, dtype=np.float32)
    padded = np.concatenate(
        [np.zeros(before), level, np.zeros(between), level, np.zeros(behind)]
    ).astype(np.float32)
    assert dbfs(decode_bytes(wav(padded, 16_000), "clip", 10.0).waveform) < SILENCE_DBFS
    tone = (0.05 * np.sin(np.arange(4_000) * 0.3 + 0.1)).astype(np.float32)
    sounding = np.concatenate(
        [np.zeros(before), level + tone, np.zeros(between), level + tone, np.zeros(behind)]
    ).astype(np.float32)
    plain = np.concatenate([np.zeros(before), tone, np.zeros(between), tone, np.zeros(behind)])
    found = decode_bytes(wav(sounding, 16_000), "clip", 10.0).waveform
    np.testing.assert_allclose(found, plain, atol=1e-3)  # the tone's own mean is gone too
    assert not found[:before].any()


@pytest.mark.parametrize("offset", [0.9, 0.5, -0.3, 1e-3])
@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
def test_an_offset_is_taken_away(offset: float, rate: int) -> None:
    tone = (0.05 * np.sin(2 * np.pi * 440 * np.arange(2 * rate) / rate)).astype(np.float32)
    without = decode_bytes(wav(tone, rate), "clip", 10.0).waveform
    found = decode_bytes(wav(tone + np.float32(offset), rate), "clip", 10.0).waveform
    assert np.allclose(found, without, atol=1e-6)
    assert abs(found.mean()) < 1e-7 or rate != 16_000
    stereo = np.stack([tone + np.float32(offset), tone - np.float32(offset / 2)], axis=1)
    assert np.allclose(decode_bytes(wav(stereo, rate), "clip", 10.0).waveform, without, atol=1e-6)

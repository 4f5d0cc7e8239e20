"""Read MPEG audio (MP3 and MP2) and count its frames, since no header has to state their number.

The decoder trusts the count in a Xing or Info frame at the start, and otherwise estimates one from
the first frame, which is too low where the bit rate rises, too high where it falls, and slightly
wrong even at some constant rates. So each recording is given its true count.
"""

import struct
from dataclasses import dataclass

from echodistill.audio.containers.joined import check_remainder
from echodistill.audio.containers.tags import tag_size
from echodistill.audio.containers.unusable import CONVERT, Truncated, Unusable

_MPEG1 = 3
_RATES_HZ = (44_100, 48_000, 32_000)
_RATE_DIVISOR = {_MPEG1: 1, 2: 2, 0: 4}
_BITRATES = {  # Bit rates in kbit/s by whether the version is MPEG 1, and layer.
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_SEARCHED = 64 * 1024
"""Number of bytes in which the first frame is searched."""
_VBRI_AT = 36
_COUNT_OF_FRAMES = 1
"""Flag of a Xing frame that states the number of frames."""


@dataclass(frozen=True)
class _Header:
    bits: int
    layer: int
    mpeg1: bool
    size: int
    """Number of bytes of the frame."""

    @property
    def kind(self) -> int:
        """Return the bits that all frames of a recording share: sync, version, layer and sampling
        rate.
        """
        return self.bits & 0xFFFE0C00

    @property
    def tag_at(self) -> int:
        """Return the offset of "Xing" or "Info" in a frame: after the side information, whose
        length depends on the channels.
        """
        mono = self.bits >> 6 & 3 == 3
        return 4 + ((17 if mono else 32) if self.mpeg1 else (9 if mono else 17))


def is_mpeg(content: bytes) -> bool:
    """Return whether ``content`` begins with a frame that is followed by a similar frame, a tag or
    the end of the file.
    """
    return _is_followed(content, 0)


def first_recording(content: bytes) -> tuple[bytes, int]:
    """Return the frames of the first recording in ``content`` with their true count before them,
    and the offset of the next recording.

    Tags and stray bytes between frames are left out, because the decoder would stop at some. Raise
    ``Unusable`` when the last frame is cut off or frames are missing, and for layers I and II with
    a changing bit rate, which have no count that could be corrected.
    """
    first = _header(content, 0)
    assert first is not None
    frames: list[tuple[int, _Header]] = []
    position = 0
    while position < len(content):
        header = _header(content, position)
        if header is not None and header.kind == first.kind:
            if position + header.size > len(content):
                raise Truncated("its last MPEG frame is cut off")
            if frames and _is_tag(content, position, header):
                break
            frames.append((position, header))
            position += header.size
        elif size := tag_size(content, position):
            position += size
        else:
            found = _next_frame(content, position, first.kind)
            if found == len(content):
                check_remainder(content[position:])
            position = found
    return _counted(content, frames), min(position, len(content))


def _counted(content: bytes, frames: list[tuple[int, _Header]]) -> bytes:
    position, first = frames[0]
    tag = content[position : position + first.size] if _is_tag(content, position, first) else b""
    sound = frames[1:] if tag else frames
    if not sound:
        raise Truncated("it has no MPEG frame with sound")
    body = b"".join(content[position : position + header.size] for position, header in sound)
    stated = _stated_count(tag, first)
    if stated == len(sound):
        return tag + body
    # Some encoders also count the frame that holds the count.
    if stated is not None and stated > len(sound) + 1:
        raise Truncated(f"the header claims {stated} MPEG frames, {len(sound)} are there")
    if first.layer == 3:
        return _counting_frame(sound[0][1], len(sound)) + body
    if len({header.bits & 0xF000 for _, header in sound}) > 1:
        raise Unusable("its length cannot be known: an MP2 file whose bit rate changes", CONVERT)
    return body


def _is_tag(content: bytes, position: int, header: _Header) -> bool:
    """Return whether a frame holds a count instead of sound."""
    if header.layer != 3:
        return False
    at = position + header.tag_at
    return (
        content[at : at + 4] in (b"Xing", b"Info")
        or content[position + _VBRI_AT : position + _VBRI_AT + 4] == b"VBRI"
    )


def _stated_count(tag: bytes, header: _Header) -> int | None:
    """Return the number of frames that a Xing or Info frame states to the decoder, which ignores a
    VBRI frame; ``None`` without such a number.
    """
    at = header.tag_at
    if (
        tag[at : at + 4] not in (b"Xing", b"Info")
        or not int.from_bytes(tag[at + 4 : at + 8], "big") & _COUNT_OF_FRAMES
    ):
        return None
    return int.from_bytes(tag[at + 8 : at + 12], "big")


def _counting_frame(like: _Header, count: int) -> bytes:
    """Return a Xing frame with ``count`` for frames ``like`` this one, at the lowest bit rate at
    which it fits.
    """
    # The frame has no checksum and no padding.
    bits = (like.bits | 1 << 16) & ~(0xF << 12 | 1 << 9)
    text = b"Xing" + struct.pack(">II", _COUNT_OF_FRAMES, count)
    candidates = (_header((bits | code << 12).to_bytes(4, "big"), 0) for code in range(1, 15))
    header = next(
        header for header in candidates if header and header.size >= header.tag_at + len(text)
    )
    return (header.bits.to_bytes(4, "big").ljust(header.tag_at, b"\0") + text).ljust(
        header.size, b"\0"
    )


def _header(content: bytes, position: int) -> _Header | None:
    """Return the frame header at ``position``; ``None`` where there is none, or one that states no
    bit rate (free format).
    """
    bits = int.from_bytes(content[position : position + 4], "big")
    version, layer, bitrate, rate = (
        bits >> 19 & 3,
        4 - (bits >> 17 & 3),
        bits >> 12 & 0xF,
        bits >> 10 & 3,
    )
    if bits >> 21 != 0x7FF or version == 1 or layer == 4 or bitrate in (0, 15) or rate == 3:
        return None
    mpeg1 = version == _MPEG1
    bits_per_second = _BITRATES[mpeg1, layer][bitrate - 1] * 1000
    rate_hz = _RATES_HZ[rate] // _RATE_DIVISOR[version]
    padding = bits >> 9 & 1
    if layer == 1:
        size = (12 * bits_per_second // rate_hz + padding) * 4
    else:
        size = (72 if layer == 3 and not mpeg1 else 144) * bits_per_second // rate_hz + padding
    return _Header(bits, layer, mpeg1, size)


def _is_followed(content: bytes, position: int) -> bool:
    """Return whether a frame at ``position`` is followed by one of its kind, a tag or the end of
    the file.
    """
    header = _header(content, position)
    if header is None:
        return False
    end = position + header.size
    behind = _header(content, end)
    return (
        (behind is not None and behind.kind == header.kind)
        or end == len(content)
        or tag_size(content, end) > 0
    )


def _next_frame(content: bytes, position: int, kind: int) -> int:
    """Return the offset of the next frame of ``kind``; the length of ``content`` where there is
    none.
    """
    while (position := content.find(b"\xff", position + 1)) >= 0:
        header = _header(content, position)
        if header is not None and header.kind == kind and _is_followed(content, position):
            return position
    return len(content)


def first_frame(content: bytes) -> int | None:
    """Return the offset of the first frame after a tag, or ``None``: some writers pad with zeros
    there.
    """
    places = (
        position for position in range(min(len(content), _SEARCHED)) if content[position] == 0xFF
    )
    return next((position for position in places if _is_followed(content, position)), None)

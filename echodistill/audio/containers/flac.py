"""Read FLAC and compare the header's number of samples with that of the last frame (RFC 9639).
Encoders that write to a pipe leave the header's number 0.
"""

from collections.abc import Iterator

from echodistill.audio.containers.joined import check_remainder, next_beginning
from echodistill.audio.containers.tags import without_tags_behind
from echodistill.audio.containers.unusable import Truncated

MAGIC = b"fLaC"
_TOTAL = slice(21, 26)
"""Bytes of the file whose lowest 36 bits are the number of samples."""
_TOTAL_BITS = 2**36 - 1
_STREAMINFO_END = 42
_MAX_FRAME = 2**16
"""Longest frame in bytes, where the header does not state it: libFLAC's frames of 4,608 samples in
stereo are shorter.
"""
_TRIED = 8
"""Number of frame headers that are tried from the end on, since other bytes may look like one."""


def first_recording(content: bytes) -> tuple[bytes, int]:
    """Return the first recording in ``content`` with its true number of samples, and the offset of
    the next recording.

    Raise ``Unusable`` when the header is cut off, when the last frame is cut off and no number is
    stated, and when the last of the stated samples is followed by what may be another recording.
    """
    if len(content) < _STREAMINFO_END:
        raise Truncated("the FLAC header is cut off")
    begins = next_beginning(content, len(MAGIC))
    recording = content[:begins]
    body = without_tags_behind(recording)
    bits = int.from_bytes(recording[_TOTAL], "big")
    stated, held = bits & _TOTAL_BITS, _samples_to_the_end(body)
    if stated == 0 and held is None:
        raise Truncated("the last FLAC frame is cut off")
    if held is None:
        check_remainder(body[_end_of_sample(body, stated) :])
    if held is not None and held > stated:
        total = (bits - stated + held).to_bytes(5, "big")
        recording = recording[: _TOTAL.start] + total + recording[_TOTAL.stop :]
    return recording, begins


def _samples_to_the_end(recording: bytes) -> int | None:
    """Return the number of samples up to the end of the last frame; ``None`` when the recording
    does not end with a whole frame.
    """
    blocksize = int.from_bytes(recording[10:12], "big")
    for position, number, samples, by_sample in _frame_headers_from_the_end(recording):
        if _crc(recording[position:], 16) == 0:
            return (number if by_sample else number * blocksize) + samples
    return None


def _end_of_sample(recording: bytes, stated: int) -> int:
    """Return the end of the frame that holds the last of the ``stated`` samples; the recording's
    end where that frame is not found.

    A frame does not state its length: it ends where its checksum matches, which happens inside a
    frame only by chance.
    """
    blocksize = int.from_bytes(recording[10:12], "big")
    longest = int.from_bytes(recording[15:18], "big") or _MAX_FRAME
    for position, number, samples, by_sample in _frame_headers_from_the_end(recording):
        if (number if by_sample else number * blocksize) + samples == stated:
            ends = list(_fitting_ends(recording[position : position + longest]))
            return position + ends[-1] if ends else len(recording)
    return len(recording)


def _fitting_ends(content: bytes) -> Iterator[int]:
    """Yield the lengths at which the beginning of ``content`` ends with its own 16-bit checksum."""
    table, register = _TABLES[16], 0
    for length, byte in enumerate(content, start=1):
        register = (register << 8 & 0xFFFF) ^ table[register >> 8 ^ byte]
        if register == 0:
            yield length


def _frame_headers_from_the_end(recording: bytes) -> Iterator[tuple[int, int, int, bool]]:
    """Yield, from the end on, the position, number and samples of what look like frames, and
    whether the number counts samples and not frames.
    """
    position, found = len(recording), 0
    while found < _TRIED and (position := recording.rfind(b"\xff", _STREAMINFO_END, position)) > 0:
        if header := _frame_header(recording[position : position + 16]):
            found += 1
            yield (position, *header)


def _frame_header(frame: bytes) -> tuple[int, int, bool] | None:
    """Return the frame's number, its samples, and whether the number counts samples; ``None`` where
    the bytes are no frame header.
    """
    if len(frame) < 6 or frame[1] & 0xFE != 0xF8 or frame[3] & 1:
        return None
    size_code, rate_code = frame[2] >> 4, frame[2] & 0xF
    number_bytes = max(1, 8 - (~frame[4] & 0xFF).bit_length())
    size_bytes = {6: 1, 7: 2}.get(size_code, 0)
    end = 4 + number_bytes + size_bytes + {12: 1, 13: 2, 14: 2}.get(rate_code, 0)
    if size_code == 0 or end >= len(frame) or _crc(frame[: end + 1], 8) != 0:
        return None
    number = frame[4] if number_bytes == 1 else frame[4] & (0x7F >> number_bytes)
    for byte in frame[5 : 4 + number_bytes]:
        number = number << 6 | byte & 0x3F
    if size_bytes:
        samples = int.from_bytes(frame[4 + number_bytes : 4 + number_bytes + size_bytes], "big") + 1
    else:
        samples = (
            192
            if size_code == 1
            else 576 << size_code - 2
            if size_code < 6
            else 256 << size_code - 8
        )
    return number, samples, bool(frame[1] & 1)


def _crc_table(bits: int, polynomial: int) -> tuple[int, ...]:
    top, mask = 1 << bits - 1, (1 << bits) - 1
    table = []
    for value in range(256):
        register = value << bits - 8
        for _ in range(8):
            register = (register << 1 ^ polynomial if register & top else register << 1) & mask
        table.append(register)
    return tuple(table)


_TABLES = {8: _crc_table(8, 0x07), 16: _crc_table(16, 0x8005)}


def _crc(content: bytes, bits: int) -> int:
    """Return the checksum of ``content``, which is 0 for bytes that end with their own checksum."""
    table, mask, register = _TABLES[bits], (1 << bits) - 1, 0
    for byte in content:
        register = (register << 8 & mask) ^ table[register >> bits - 8 ^ byte]
    return register

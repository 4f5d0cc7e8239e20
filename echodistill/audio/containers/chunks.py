"""Read containers made of chunks, each with a name and a length: WAV (RIFF, RIFX, RF64), AIFF, W64
and CAF.
"""

import struct
from dataclasses import dataclass

from echodistill.audio.containers.joined import check_remainder, next_beginning
from echodistill.audio.containers.unusable import Truncated, Unusable

_PLACEHOLDERS = (0x7F000000, 0x80000000, 0xFFFFFFFF)
"""Placeholder lengths. Programs that write to a pipe and cannot return to their header leave
lengths near these.
"""
_PLACEHOLDER_TOLERANCE = 2**16
_MAX_LENGTH = 2**62
"""A larger 64-bit length is a placeholder."""


@dataclass(frozen=True)
class _Layout:
    name: str
    first: int
    """Offset of the first chunk."""
    id_bytes: int
    length: struct.Struct
    align: int
    data: bytes
    """First bytes of the name of the chunk with the samples."""
    before: int = 0
    """Number of bytes in that chunk before its samples."""
    counts_header: bool = False
    """Whether a chunk's length includes its own name and length."""

    @property
    def header(self) -> int:
        return self.id_bytes + self.length.size


_U32, _U32_BIG = struct.Struct("<I"), struct.Struct(">I")
_WAV = _Layout("wav", 12, 4, _U32, 2, b"data")
_LAYOUTS = (
    (b"RIFF", b"WAVE", _WAV),
    (b"RF64", b"WAVE", _WAV),
    (b"RIFX", b"WAVE", _Layout("wav", 12, 4, _U32_BIG, 2, b"data")),
    (b"FORM", b"AIF", _Layout("AIFF", 12, 4, _U32_BIG, 2, b"SSND", before=8)),
    (b"riff", b"", _Layout("W64", 40, 16, struct.Struct("<Q"), 8, b"data", counts_header=True)),
    (b"caff", b"", _Layout("CAF", 8, 4, struct.Struct(">Q"), 1, b"data", before=4)),
)


@dataclass(frozen=True)
class _Chunk:
    name: bytes
    at: int
    """Offset of the chunk's header."""
    start: int
    """Offset of the chunk's body."""
    length: int
    """Length of the body in bytes, as stated."""


def is_chunked(content: bytes) -> bool:
    """Return whether ``content`` begins like one of these containers."""
    return _layout(content) is not None


def first_recording(content: bytes) -> tuple[bytes, int]:
    """Return the first recording in ``content`` with its true length in its header, and the offset
    of the next recording.

    Raise ``Unusable`` when the recording is truncated, has no chunk of samples, or is followed by
    bytes that its header does not count.
    """
    layout = _layout(content)
    assert layout is not None
    data = _samples(content, layout)
    stated, field = _stated_length(content, data, layout)
    held = len(content) - data.start
    if _is_placeholder(stated, content, data, layout):
        end = next_beginning(content, data.start)
        return _with_length(content[:end], field, end - data.start, layout), end
    if stated > held:
        raise Truncated(f"the header claims {stated} bytes of samples, {held} are there")
    end = data.start + stated
    end_of_chunks = _end_of_chunks(content, _next(content, end, layout), layout)
    begins = next_beginning(content, end)
    check_remainder(content[end_of_chunks:begins])
    # For libsndfile the samples of a W64 extend to the end of the file, so a W64 is cut at their
    # end.
    return content[: end if layout.counts_header else begins], begins


def _layout(content: bytes) -> _Layout | None:
    return next(
        (
            layout
            for magic, form, layout in _LAYOUTS
            if content.startswith(magic) and content.startswith(form, 8)
        ),
        None,
    )


def _chunk(content: bytes, at: int, layout: _Layout) -> _Chunk | None:
    """Return the chunk at ``at``; ``None`` where fewer bytes than a header are left."""
    start = at + layout.header
    if start > len(content):
        return None
    (length,) = layout.length.unpack_from(content, at + layout.id_bytes)
    body = length - layout.header if layout.counts_header else length
    return _Chunk(content[at : at + layout.id_bytes], at, start, body)


def _samples(content: bytes, layout: _Layout) -> _Chunk:
    position = layout.first
    while chunk := _chunk(content, position, layout):
        if chunk.name == b"fmt ":
            _check_format(content, chunk, layout)
        if chunk.name.startswith(layout.data):
            return chunk
        if chunk.length < 0:
            break
        position = _next(content, chunk.start + chunk.length, layout)
    raise Truncated(f"the {layout.name} has no sample data")


def _check_format(content: bytes, chunk: _Chunk, layout: _Layout) -> None:
    if len(content) >= chunk.start + 8:
        channels, rate = struct.unpack_from(
            layout.length.format[0] + "HI", content, chunk.start + 2
        )
        if channels == 0 or rate == 0:
            raise Unusable(f"the header claims {channels} channels at {rate} Hz")


def _next(content: bytes, end: int, layout: _Layout) -> int:
    """Return the offset of the chunk that follows one ending at ``end``. Some writers omit the
    padding.
    """
    padded = end + -end % layout.align
    if padded != end and not _is_name(content, padded) and _is_name(content, end):
        return end
    return padded


def _is_name(content: bytes, at: int) -> bool:
    """Return whether the four bytes at ``at`` are printable, as are the first ones of a chunk's
    name or of a tag.
    """
    name = content[at : at + 4]
    return len(name) == 4 and name.isascii() and name.decode("ascii").isprintable()


def _end_of_chunks(content: bytes, position: int, layout: _Layout) -> int:
    """Return the end of the chunks that begin at ``position``. Tags that players append look like
    chunks that extend past the end of the file.
    """
    while _is_name(content, position) and next_beginning(content[position : position + 16], 0) != 0:
        chunk = _chunk(content, position, layout)
        if chunk is None or chunk.length < 0 or chunk.name.startswith(layout.data):
            break
        position = _next(content, chunk.start + chunk.length, layout)
    return min(position, len(content))


def _stated_length(content: bytes, data: _Chunk, layout: _Layout) -> tuple[int, int]:
    """Return the stated length of the chunk of samples, and the offset of that length: an RF64 has
    it in a chunk of its own.
    """
    if content.startswith(b"RF64") and data.length == 0xFFFFFFFF and content[12:16] == b"ds64":
        return struct.unpack_from("<Q", content, 28)[0], 28
    return data.length, data.at + layout.id_bytes


def _is_placeholder(stated: int, content: bytes, data: _Chunk, layout: _Layout) -> bool:
    """Return whether the length was unknown when the header was written: the samples then extend to
    the end of the recording.
    """
    if stated > layout.before:
        return stated > _MAX_LENGTH or (
            layout.length.size == 4
            and any(abs(stated - value) < _PLACEHOLDER_TOLERANCE for value in _PLACEHOLDERS)
        )
    # The header states no samples: either there are none, or the recorder never returned to its
    # header.
    end_of_chunks = _end_of_chunks(content, data.start + max(0, stated), layout)
    return len(content[end_of_chunks : next_beginning(content, end_of_chunks)].strip(b"\0")) > 0


def _with_length(content: bytes, field: int, length: int, layout: _Layout) -> bytes:
    """Return ``content`` with the length of the samples written at ``field``."""
    if field == 28 and content.startswith(b"RF64"):
        packed = struct.pack("<Q", length)
    else:
        packed = layout.length.pack(length + layout.header if layout.counts_header else length)
    return content[:field] + packed + content[field + len(packed) :]

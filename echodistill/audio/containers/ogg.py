"""Read Ogg (Vorbis, Opus, FLAC), a sequence of pages whose last one in a stream is marked as its
end (RFC 3533).
"""

from echodistill.audio.containers.joined import check_remainder, next_beginning
from echodistill.audio.containers.unusable import KEEP_REST, Truncated, Unusable

_PAGE = b"OggS"
_HEADER = 27
_FIRST, _LAST = 2, 4
"""Flags of a stream's first and last page."""


def first_recording(content: bytes) -> tuple[bytes, int]:
    """Return the first recording in ``content``, and the offset of the next recording.

    Raise ``Unusable`` when a page is cut off, pages are missing between others, or the last page is
    not marked as the end.
    """
    position = 0
    has_begun = False
    ended: dict[bytes, bool] = {}
    while content.startswith(_PAGE, position):
        flags, serial, end = _page(content, position)
        if flags & _FIRST and has_begun:
            break
        has_begun |= not flags & _FIRST
        ended[serial] = bool(flags & _LAST)
        position = end
    begins = next_beginning(content, position)
    if _PAGE in content[position:begins]:
        raise Unusable(
            f"damaged: no Ogg page begins at byte {position}, though more pages follow",
            KEEP_REST,
        )
    if not all(ended.values()):
        raise Truncated("its last Ogg page is not marked as the end; or its recorder was stopped")
    check_remainder(content[position:begins])
    return content[:position], begins


def _page(content: bytes, position: int) -> tuple[int, bytes, int]:
    """Return the flags, the stream's serial number and the end of the page at ``position``."""
    header = content[position : position + _HEADER]
    lacing = (
        content[position + _HEADER : position + _HEADER + header[-1]]
        if len(header) == _HEADER
        else b""
    )
    end = position + _HEADER + len(lacing) + sum(lacing)
    if len(header) < _HEADER or len(lacing) < header[-1] or end > len(content):
        raise Truncated("its last Ogg page is cut off")
    return header[5], header[14:18], end

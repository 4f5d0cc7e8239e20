"""Split a file's bytes into recordings that a decoder reads to their end: one, or several where
files were joined.
"""

from collections.abc import Callable

from echodistill.audio.containers import chunks, flac, headers, mpeg, ogg
from echodistill.audio.containers.kinds import fault_of_kind
from echodistill.audio.containers.tags import id3v2_size

First = Callable[[bytes], tuple[bytes, int]]


def recordings_in(content: bytes) -> list[bytes]:
    """Return the consecutive recordings in ``content``, each with its true length in its header.

    Lengths that were never filled in (0 or a placeholder, which programs leave that write to a
    pipe) are counted. Raise ``Unusable`` for bytes that are no recording, for a format whose length
    cannot be checked, and for a truncated recording.
    """
    found = []
    while content:
        content, first = _container(content)
        recording, begins = first(content)
        found.append(recording)
        content = content[begins:]
    return found


def _container(content: bytes) -> tuple[bytes, First]:
    """Return ``content`` from the start of its recording, and the function that reads it.

    Raise ``Unusable`` for bytes of no known format.
    """
    behind_tag = content
    while size := id3v2_size(behind_tag):
        behind_tag = behind_tag[size:]
    if chunks.is_chunked(behind_tag):
        return behind_tag, chunks.first_recording
    if behind_tag.startswith(flac.MAGIC):
        return behind_tag, flac.first_recording
    if behind_tag.startswith(b"OggS"):
        return behind_tag, ogg.first_recording
    if behind_tag.startswith((b".snd", b"dns.")):
        return behind_tag, headers.first_au
    if behind_tag.startswith(b"NIST_1A"):
        return behind_tag, headers.first_sphere
    if behind_tag is content and mpeg.is_mpeg(content):
        return content, mpeg.first_recording
    if behind_tag is not content and (begins := mpeg.first_frame(behind_tag)) is not None:
        return behind_tag[begins:], mpeg.first_recording
    raise fault_of_kind(content)

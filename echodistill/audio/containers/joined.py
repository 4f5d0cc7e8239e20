"""Find where another recording begins in the same file, and bytes that no header accounts for.

``cat a.wav b.wav > c.wav`` makes a file whose second part every decoder ignores silently.
"""

import re

from echodistill.audio.containers.unusable import KEEP_COUNTED, Unusable

UNEXPLAINED_BYTES = 1024
"""Number of bytes after the samples, neither zero nor of a known structure, that are accepted as
padding.
"""
_BEGINNING = re.compile(
    rb"RIFF....WAVE|RIFX....WAVE|RF64....WAVE|FORM....AIF[FC]|riff\x2e\x91\xcf\x11|caff\0\x01\0\0|\.snd\0\0|dns\..\0|NIST_1A\n"
    rb"|fLaC[\0\x80]\0\0\x22|OggS\0\x02",
    re.DOTALL,
)


def next_beginning(content: bytes, position: int) -> int:
    """Return the offset of the next recording at or after ``position``; the length of ``content``
    where there is none.
    """
    match = _BEGINNING.search(content, position)
    return match.start() if match else len(content)


def check_remainder(remainder: bytes) -> None:
    """Raise ``Unusable`` where the bytes after a recording's stated end may be samples that its
    header does not count.
    """
    if len(remainder.strip(b"\0")) > UNEXPLAINED_BYTES:
        raise Unusable(
            f"{len(remainder)} bytes follow the end that its header states: a recorder that"
            " was stopped, or joined files",
            KEEP_COUNTED,
        )

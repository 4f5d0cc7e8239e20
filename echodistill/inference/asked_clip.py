"""Read the clip that is asked about. This module imports no model library, so that a fault of the
clip is reported at once.
"""

import sys
from pathlib import Path

from echodistill.audio.files import decode_bytes, decode_file
from echodistill.audio.levels import Waveform
from echodistill.core.errors import UserError

MAX_CLIP_S = 600.0


def read_clip(clip: Path) -> Waveform:
    """Decode the clip to ask about: a file, a pipe, or standard input where the path is ``-``.

    Raise ``UserError`` where there is no recording, or it cannot be used.
    """
    if str(clip) == "-":
        if sys.stdin is None or sys.stdin.isatty():
            raise UserError(
                "-: standard input is no recording: name a file, or pipe one in (`cat clip.wav |"
                " echodistill ask - ...`)"
            )
        return decode_bytes(sys.stdin.buffer.read(), "standard input", MAX_CLIP_S).waveform
    if clip.is_fifo():
        return decode_bytes(clip.read_bytes(), str(clip), MAX_CLIP_S).waveform
    return decode_file(clip, MAX_CLIP_S).waveform

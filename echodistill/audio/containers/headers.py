"""Read containers with one header before all samples: AU (Sun, NeXT) and NIST SPHERE."""

import re
import struct

from echodistill.audio.containers.joined import check_remainder, next_beginning
from echodistill.audio.containers.unusable import CONVERT, Truncated, Unusable

_UNKNOWN = 0xFFFFFFFF


def first_au(content: bytes) -> tuple[bytes, int]:
    """Return the first recording in ``content`` with its true length in its header, and the offset
    of the next recording.

    Raise ``Unusable`` when the recording is truncated or followed by bytes that its header does not
    count.
    """
    number = struct.Struct(">I" if content.startswith(b".snd") else "<I")
    if len(content) < 24:
        raise Truncated("the AU header is cut off")
    start, stated = (number.unpack_from(content, at)[0] for at in (4, 8))
    start = max(start, 24)
    if stated in (0, 0x7FFFFFFF, 0x80000000, _UNKNOWN):
        end = next_beginning(content, start)
        return content[:8] + number.pack(max(0, end - start)) + content[12:end], end
    return _checked(content, start, stated)


def first_sphere(content: bytes) -> tuple[bytes, int]:
    """Return the same as ``first_au`` for NIST SPHERE, whose header consists of lines of text."""
    header = content[:1024]
    size = re.match(rb"NIST_1A\n\s*(\d+)\n", header)
    fields = dict(re.findall(rb"^(\w+) -i (\d+)\s*$", header, re.MULTILINE))
    if size is None or b"end_head" not in header:
        raise Truncated("the NIST SPHERE header is cut off")
    if coding := re.search(rb"^sample_coding -s\d+ \S*embedded-(\S+)", header, re.MULTILINE):
        raise Unusable(
            f"NIST SPHERE compressed with {coding[1].decode('ascii', 'replace')}, which is not read"
            " here",
            CONVERT,
        )
    start = max(int(size[1]), size.end())
    # The field is left out where a sample is one byte of u-law or A-law.
    sample_bytes = int(fields.get(b"sample_n_bytes", b"1"))
    stated = (
        int(fields.get(b"sample_count", b"0"))
        * int(fields.get(b"channel_count", b"1"))
        * sample_bytes
    )
    if stated == 0:  # libsndfile then reads all bytes as samples.
        end = next_beginning(content, start)
        return content[:end], end
    return _checked(content, start, stated)


def _checked(content: bytes, start: int, stated: int) -> tuple[bytes, int]:
    held = max(0, len(content) - start)
    if stated > held:
        raise Truncated(f"the header claims {stated} bytes of samples, {held} are there")
    end = start + stated
    begins = next_beginning(content, end)
    check_remainder(content[end:begins])
    return content[:end], begins

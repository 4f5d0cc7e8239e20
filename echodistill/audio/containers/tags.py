"""Find tags that players write before and after a recording. They are no sound, and some decoders
fail on them.
"""

ID3V2_HEADER = 10


def id3v2_size(content: bytes, position: int = 0) -> int:
    """Return the length of the ID3v2 tag at ``position``; 0 where there is none."""
    header = content[position : position + ID3V2_HEADER]
    if len(header) < ID3V2_HEADER or not header.startswith(b"ID3") or max(header[6:]) > 0x7F:
        return 0
    size = sum(byte << shift for byte, shift in zip(header[6:], (21, 14, 7, 0), strict=True))
    return ID3V2_HEADER + size + (ID3V2_HEADER if header[5] & 0x10 else 0)


def tag_size(content: bytes, position: int) -> int:
    """Return the length of the ID3 or APE tag at ``position``; 0 where there is none."""
    if content.startswith(b"TAG", position):
        return 128
    if content.startswith(b"APETAGEX", position):
        return 32 + int.from_bytes(content[position + 12 : position + 16], "little")
    return id3v2_size(content, position)


def without_tags_behind(content: bytes) -> bytes:
    """Return ``content`` without an ID3v1 tag, an APE tag and zeros at its end."""
    content = content.rstrip(b"\0") if content.endswith(bytes(128)) else content
    if content[-128:-125] == b"TAG":
        content = content[:-128]
    footer = content[-32:]
    if footer.startswith(b"APETAGEX"):
        has_header = footer[23] & 0x80
        content = content[: -int.from_bytes(footer[12:16], "little") - (32 if has_header else 0)]
    return content

"""Name the kind of a file that is no readable recording by its first bytes, since its name may be
wrong.
"""

import re

from echodistill.audio.containers.unusable import CONVERT, Unusable

_SHOWN = 40
_NO_AUDIO = "not an audio file that can be decoded"
_OTHER_AUDIO = (
    (
        rb"....ftyp(?:M4A|M4B|mp4|isom|iso\d|MSNV|dash|qt  )",
        "MPEG-4 audio or video (m4a, mp4, mov)",
    ),
    (rb"....ftyp3g", "a 3GPP recording (3gp)"),
    (rb"....ftyp", "an MPEG-4 file"),
    (rb"\xff[\xf0\xf1\xf8\xf9]|ADIF", "AAC audio"),
    (rb"\x1aE\xdf\xa3", "WebM or Matroska (webm, mkv, mka)"),
    (rb"#!AMR|#!SILK|\x02#!SILK", "a voice message (AMR or SILK)"),
    (rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "Windows Media (wma, asf)"),
    (rb"wvpk", "WavPack"),
    (rb"MAC ", "Monkey's Audio (ape)"),
    (rb"TTA[12]", "True Audio (tta)"),
    (rb"MPCK|MP\+", "Musepack (mpc)"),
    (rb"DSD |FRM8", "DSD audio (dsf, dff)"),
    (rb"\.RMF|\.ra\xfd", "RealAudio"),
    (rb"RIFF....AVI |\x00\x00\x01[\xb3\xba]|FLV\x01", "a video"),
    (rb"BW64", "Broadcast Wave 64"),
    (rb"ajkg", "Shorten (shn)"),
    (
        (
            rb"Creative Voice File|FORM....8SVX|2BIT| paf|fap"
            rb" |PVF1\n|\x64\xa3.\x00|\x00.\xa3\x64|ALawSoundFile"
        ),
        "of a format whose stated length cannot be checked (VOC, SVX, AVR, PAF, PVF, IRCAM, WVE)",
    ),
)
_NO_SOUND = (
    (
        rb"PK\x03\x04|\x1f\x8b|7z\xbc\xaf|Rar!|\xfd7zXZ|BZh|\x28\xb5\x2f\xfd",
        "an archive or compressed file: unpack it",
    ),
    (
        rb"\x00\x05\x16\x07",
        (
            "what macOS keeps beside a file (its name begins with ._): delete it, and take the file"
            " without ._"
        ),
    ),
    (rb"MThd", "MIDI, notes without sound: render it to wav first"),
    (rb"PAR1", "a parquet file: name it in corpus.manifest"),
    (
        rb"\x89PNG|\xff\xd8\xff|GIF8|%PDF|\x93NUMPY|\x80[\x02-\x05]",
        "an image, a document or data: put the recording there",
    ),
)
_LFS = re.compile(rb"version https://(?:git-lfs|hawser)")
_HTML = re.compile(
    rb"\s*(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html|head|body|script|title|meta)\b",
    re.IGNORECASE | re.DOTALL,
)
_FETCH = "fetch the recording again"


def fault_of_kind(content: bytes) -> Unusable:
    """Return why ``content`` cannot be read, with the cure."""
    for pattern, what in _OTHER_AUDIO:
        if re.match(pattern, content, re.DOTALL):
            return Unusable(f"{_NO_AUDIO}: it is {what}", CONVERT)
    for pattern, what in _NO_SOUND:
        if re.match(pattern, content, re.DOTALL):
            return Unusable(f"{_NO_AUDIO}: it is {what}")
    if not content.strip(b"\0"):
        return Unusable(
            f"{_NO_AUDIO}: all its bytes are zero, as an unfinished download or copy leaves them:"
            f" {_FETCH}"
        )
    text = _text(content)
    if text is not None:
        return Unusable(f"{_NO_AUDIO}: {_fault_of_text(content, text)}")
    return Unusable(
        f"{_NO_AUDIO}: its beginning is that of no known format", f"if a player plays it, {CONVERT}"
    )


def _fault_of_text(content: bytes, text: str) -> str:
    if _LFS.match(content):
        return (
            "it is a Git LFS pointer, not the recording itself: run `git lfs pull` where it"
            " was cloned"
        )
    if "/annex/objects/" in text:
        return (
            "it is a git-annex pointer, not the recording itself: run `git annex get` where"
            " it was cloned"
        )
    if _HTML.match(content.removeprefix(b"\xef\xbb\xbf")):
        return (
            "it is a web page (HTML), as a download leaves it that was refused or needs a login:"
            f" {_FETCH}"
        )
    return f"it is text ({' '.join(text.split())[:_SHOWN]!r}), no sound: {_FETCH}"


def _text(content: bytes) -> str | None:
    """Return the beginning of ``content`` as text; ``None`` where it is no text."""
    beginning = content[:2_000]
    if beginning[:2] in (b"\xff\xfe", b"\xfe\xff"):
        text = beginning[: len(beginning) // 2 * 2].decode("utf-16", errors="replace")
    else:
        text = beginning.decode(
            "utf-8-sig", errors="ignore" if len(content) > len(beginning) else "replace"
        )
    odd = sum(
        not (character.isprintable() or character.isspace()) or character == "\ufffd"
        for character in text
    )
    return text if odd == 0 and len(text) > len(beginning) // 4 else None

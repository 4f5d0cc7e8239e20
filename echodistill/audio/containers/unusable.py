"""The reasons why a recording cannot be used. The caller adds the recording's name, which the
readers of its bytes do not have.
"""

CONVERT = "convert it"
KEEP_REST = "fetch it again, or keep what is there"
KEEP_COUNTED = "keep what the header counts"


class Unusable(Exception):
    """A recording's fault. ``cure`` is what ffmpeg can do about it; empty where ffmpeg does not
    help.
    """

    def __init__(self, reason: str, cure: str = "") -> None:
        super().__init__(reason)
        self.cure = cure


class Truncated(Unusable):
    """The fault of a recording whose end is missing."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"truncated: {reason}", KEEP_REST)

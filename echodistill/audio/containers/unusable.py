"""Why a recording cannot be used. The caller knows its name; what reads its bytes does not."""

CONVERT = "convert it"
KEEP_REST = "fetch it again, or keep what is there"
KEEP_COUNTED = "keep what the header counts"


class Unusable(Exception):
    """A recording's fault. ``cure`` says what ffmpeg does about it; empty where ffmpeg is no
    help.
    """

    def __init__(self, reason: str, cure: str = "") -> None:
        super().__init__(reason)
        self.cure = cure


class Truncated(Unusable):
    """A recording lacks its end."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"truncated: {reason}", KEEP_REST)

"""The names of noise kinds and conditions. Source: arXiv 2605.23954."""

KINDS = ("gauss", "crowd", "alarm", "animal", "laugh", "machine", "shower", "traffic", "water", "wind")
CROWD = "crowd"  # babble: made of clips, where there are no recordings
CLEAN = "clean"  # the condition without noise


def condition_name(noise_kind: str, snr_db: float | None) -> str:
    """``crowd@-10``, or ``clean``."""
    return CLEAN if snr_db is None else f"{noise_kind}@{snr_db:g}"

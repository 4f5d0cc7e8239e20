"""Names of noise kinds and conditions. Source: arXiv 2605.23954."""

KINDS = (
    "gauss",
    "crowd",
    "alarm",
    "animal",
    "laugh",
    "machine",
    "shower",
    "traffic",
    "water",
    "wind",
)
CROWD = "crowd"  # Babble, which is made of clips where there are no recordings of it.
CLEAN = "clean"  # The condition without noise.
ALL_KINDS = "all kinds"  # The mean over kinds, in tables.
RESERVED = {CLEAN: "the condition without noise", ALL_KINDS: "the mean over all kinds"}
"""Names that a kind of noise cannot have, with their meaning."""


def condition_name(noise_kind: str, snr_db: float | None) -> str:
    """Return the name of a condition, such as ``crowd@-10`` or ``clean``."""
    return CLEAN if snr_db is None else f"{noise_kind}@{snr_db:g}"


def fault_of_name(kind: str) -> str | None:
    """Return why ``kind`` cannot name a kind of noise, or ``None`` where it can.

    A kind names a sub-folder of recordings and is part of mix ids (``CLIP/KIND@SNR``).
    """
    if kind.casefold() in RESERVED:
        return (
            f"{kind!r} is the name of {RESERVED[kind.casefold()]}: give the kind of noise another"
            " name"
        )
    if (
        not kind
        or not kind.isprintable()
        or kind != kind.strip()
        or kind.startswith(".")
        or set(kind) & set("/\\@")
    ):
        return (
            f"{kind!r} cannot name a kind of noise: write a word without /, \\, @, line breaks,"
            " outer spaces or a leading dot"
        )
    return None

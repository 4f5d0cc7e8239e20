"""Random streams with names: the same name gives the same numbers, in any order and any process."""

import hashlib

import numpy as np


def seed_of(*names: object) -> int:
    """Return a 63-bit seed for a stream named by ``names`` (their ``str`` forms; order matters)."""
    digest = hashlib.sha256("\x1f".join(str(name) for name in names).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def rng(*names: object) -> np.random.Generator:
    """Return a generator that depends on ``names`` alone, e.g. ``rng(seed, clip_id, "crowd",
    -10)``.
    """
    return np.random.Generator(np.random.PCG64(seed_of(*names)))

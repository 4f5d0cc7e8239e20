"""Locate the cache of references and of a judge's replies. Imports nothing heavy."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return ``ECHODISTILL_CACHE``, or ``.echodistill/cache`` in the working folder if that is not
    set or empty.
    """
    return Path(os.environ.get("ECHODISTILL_CACHE") or ".echodistill/cache")

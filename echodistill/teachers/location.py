"""Where the reference cache is. Imports nothing heavy."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """``ECHODISTILL_CACHE``, or ``.echodistill/cache`` in the working folder where that is not set
    or empty.
    """
    return Path(os.environ.get("ECHODISTILL_CACHE") or ".echodistill/cache")

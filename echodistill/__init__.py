"""Audio language models that keep understanding when the world is noisy.

The names of ``library.py`` are available here: ``from echodistill import load_model, train``.
"""

import os
import time

STARTED_S = time.time()
"""Time at which this process began to load the package, in seconds since 1970. The clock is the one
that sets the times of files.
"""
PARENT_AT_START = os.getppid()
"""Number of the process that started this one. Where that process has ended since, the parent is
another one.
"""


def __getattr__(name: str) -> object:
    """Return a name of ``library.py``, which is loaded at its first use because that takes
    seconds.
    """
    from importlib import import_module

    library = import_module("echodistill.library") if not name.startswith("_") else None
    if name in getattr(library, "__all__", ()):
        return getattr(library, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

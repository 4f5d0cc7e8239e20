"""Audio language models that keep understanding when the world is noisy.

What ``library.py`` offers is found here: ``from echodistill import load_model, train``.
"""

import os
import time

STARTED_S = time.time()
"""When this process began to load the package, in seconds since 1970, by the clock that the times
of files are taken from.
"""
PARENT_AT_START = os.getppid()
"""The process that started this one: where it has ended since, the parent is another."""


def __getattr__(name: str) -> object:
    """Return a name of ``library.py``, which is loaded when it is first used: it takes seconds."""
    from importlib import import_module

    library = import_module("echodistill.library") if not name.startswith("_") else None
    if name in getattr(library, "__all__", ()):
        return getattr(library, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

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


LIBRARY = ("Example", "NoisyData", "answer", "compare", "load_model", "train")
"""The names of ``library.py`` that the package offers itself."""


def __getattr__(name: str) -> object:
    """Return a name of ``library.py``, which is loaded when it is first used: that takes seconds.

    Every other name must be refused before it is loaded, since Python asks here for submodules too.
    """
    if name not in LIBRARY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module("echodistill.library"), name)

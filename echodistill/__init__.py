"""Audio language models that keep understanding when the world is noisy."""

import os
import time

STARTED_S = time.time()
"""When this process began to load the package, in seconds since 1970, by the clock that the times
of files are taken from.
"""
PARENT_AT_START = os.getppid()
"""The process that started this one: where it has ended since, the parent is another."""

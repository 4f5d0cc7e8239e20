"""How the threads of a stage wait for each other; the variable must be set before torch is
loaded.
"""

from typing import Final

SLEEPING: Final = {"OMP_WAIT_POLICY": "passive"}
"""Variable that makes waiting threads sleep. Spinning threads, the default, are slightly faster on
an idle machine, but compete for the cores as soon as anything else runs. A value that the user sets
is kept.
"""

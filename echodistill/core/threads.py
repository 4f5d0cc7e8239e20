"""How the threads of a stage wait for each other; to be in its environment before torch is
loaded.
"""

from typing import Final

SLEEPING: Final = {"OMP_WAIT_POLICY": "passive"}
"""Spinning threads, the default, are a little quicker on an idle machine, and take the cores from
one another as soon as anything else runs. Who sets the variable otherwise keeps that.
"""

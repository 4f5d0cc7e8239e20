"""Start DVC as a process tree that ends with the command that started it, however that command
ends.
"""

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from echodistill.core.environment import RUN_OPTIONS
from echodistill.core.lifetime import exit_on
from echodistill.core.terminal import child_environment
from echodistill.core.threads import SLEEPING
from echodistill.storage.place import place_from_environment


def repro(stages: list[str], jobs: int, held: IO[str], options: Sequence[str]) -> int:
    """Run DVC in a process tree that ends with this process, and return its exit status.

    ``options`` are those of the command that the user gave, for messages that suggest it again.

    The tree ends before the parameters are restored. It also holds ``held``, the lock of this
    folder, so no other run starts here while any process of it is alive.
    """
    environment = SLEEPING | {
        **os.environ,
        **child_environment(),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "PYTHONUNBUFFERED": "1",
        "DVC_NO_ANALYTICS": "1",
        RUN_OPTIONS: shlex.join(options),
    }
    # Results that the team has computed from the same inputs are pulled from DVC's remote.
    pull = ["--pull"] if place_from_environment() else []
    module = (
        ["flows.repro", *pull, *stages]
        if jobs == 1
        else ["flows.parallel_repro", *stages, str(jobs)]
    )
    python = [sys.executable, "-m"]
    command = [*python, "flows.supervisor", *python, *module]
    with (
        exit_on(signal.SIGTERM, signal.SIGHUP),
        subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.PIPE,
            pass_fds=[held.fileno()],
            start_new_session=True,
        ) as tree,
    ):
        try:
            return tree.wait()
        except BaseException:
            assert tree.stdin
            tree.stdin.close()  # The supervisor then ends the tree.
            tree.wait()
            raise

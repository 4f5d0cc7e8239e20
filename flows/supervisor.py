"""Run a command that ends with the process that started it: ``python -m flows.supervisor
COMMAND…``.

The command gets a process group of its own. The whole group ends when this process's standard input
closes, because its parent closed it or was killed, and when this process receives SIGTERM or
SIGHUP: first by SIGTERM, after ``GRACE_S`` seconds by SIGKILL. When this process itself is killed,
the kernel kills the command. The command inherits the open files that this process was given
(``pass_fds``), such as a lock.
"""

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress

from echodistill.core.lifetime import end_with_parent

GRACE_S = 5.0


def main() -> int:
    with subprocess.Popen(
        sys.argv[1:],
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        close_fds=False,
        preexec_fn=end_with_parent,
    ) as child:
        ended = threading.Event()

        def end_group() -> None:
            for number, wait_s in ((signal.SIGTERM, GRACE_S), (signal.SIGKILL, 0.0)):
                if ended.is_set():
                    return
                try:
                    os.killpg(child.pid, number)
                except ProcessLookupError:
                    return
                ended.wait(wait_s)

        def watch_parent() -> None:
            while os.read(0, 4096):
                pass
            end_group()

        for number in (signal.SIGTERM, signal.SIGHUP):
            # A signal that is ignored, as SIGHUP is under nohup, stays ignored.
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(
                    number, lambda *_: threading.Thread(target=end_group, daemon=True).start()
                )
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # The parent decides what ends.
        threading.Thread(target=watch_parent, daemon=True).start()
        status = child.wait()
        # Grandchildren may still run after the command itself has ended.
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        ended.set()
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main())

"""Runs a command that dies with whoever started it: ``python -m flows.supervisor COMMAND…``.

The command gets a process group of its own. When this process's standard input closes, because its
parent closed it or was killed, or when it is told to terminate or hang up, the whole group ends:
politely at first, by force after ``GRACE_S``. When this process itself is killed, the kernel kills
the command. Open files that this process was given (``pass_fds``), such as a lock, the command gets
too.
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
            if signal.getsignal(number) != signal.SIG_IGN:  # as under nohup
                signal.signal(
                    number, lambda *_: threading.Thread(target=end_group, daemon=True).start()
                )
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
        threading.Thread(target=watch_parent, daemon=True).start()
        status = child.wait()
        # grandchildren may outlive the command itself
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        ended.set()
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main())

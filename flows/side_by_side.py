"""Bring a pipeline up to date, several of its stages at a time: ``python -m flows.side_by_side PIPELINE JOBS``.

Stages of ``PIPELINE`` itself compute with one thread each, so they run side by side and their bytes do not depend on how many do;
stages of other files use all cores and run alone. Each is brought up to date as the flows do it. Where one fails, those under way
end, no other starts, and all can be taken up again.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.table import Table

from echodistill.errors import UserError
from flows.graph import Node, read_graph, unchanged

ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
LOGS = Path(".echodistill/logs")


class Outcome:
    """What became of a stage, and what it says meanwhile."""

    def __init__(self, name: str) -> None:
        self.name, self.since, self.last_line = name, time.monotonic(), "starting"
        self.log = LOGS / f"{name.replace('/', '_')}.log"
        self.failed = False

    @property
    def took(self) -> str:
        minutes, seconds = divmod(round(time.monotonic() - self.since), 60)
        return f"{minutes}:{seconds:02}"

    def run(self) -> None:
        """Brings the stage up to date; all it prints goes to its log."""
        command = [sys.executable, "-m", "flows.bring_up", self.name]
        with (
            self.log.open("w", encoding="utf-8") as log,
            subprocess.Popen(
                command, env=os.environ | ONE_THREAD, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
            ) as process,
        ):
            assert process.stdout is not None
            for line in process.stdout:  # a bar's carriage returns are line ends here
                log.write(line)
                log.flush()
                self.last_line = line.strip() or self.last_line
        self.failed = process.returncode != 0


def bring_up(pipeline: str, jobs: int, console: Console) -> int:
    """The exit status: 0 when all is up to date."""
    nodes = read_graph(Path(), pipeline=pipeline)
    known = unchanged(Path(), nodes, pipeline)
    waiting = {node.name: node for node in nodes if node.name not in known}
    alone = [name for name in waiting if not name.startswith(f"{pipeline}:")]
    for name in alone:
        if subprocess.run([sys.executable, "-m", "flows.bring_up", name], check=False).returncode != 0:
            return 1
        del waiting[name]
    total = len(waiting)
    console.print(f"{total} of {len(nodes)} stages to bring up to date, {jobs} at a time" if total else "all stages are up to date")
    LOGS.mkdir(parents=True, exist_ok=True)
    running: dict[Future[None], Outcome] = {}
    failed: list[Outcome] = []
    with ThreadPoolExecutor(jobs) as pool, Live(console=console, refresh_per_second=1, transient=True) as live:
        while waiting or running:
            if not failed:
                for name in _ready(waiting, [outcome.name for outcome in running.values()])[: jobs - len(running)]:
                    del waiting[name]
                    outcome = Outcome(name)
                    running[pool.submit(outcome.run)] = outcome
            if not running:
                break
            ended, _ = wait(running, timeout=1.0, return_when=FIRST_COMPLETED)
            for future in ended:
                outcome = running.pop(future)
                future.result()
                failed += [outcome] if outcome.failed else []
                done = total - len(waiting) - len(running)
                live.console.print(f"{outcome.name} {'failed' if outcome.failed else 'done'} after {outcome.took} ({done} of {total})")
            live.update(_shown(list(running.values())))
    for outcome in failed:
        console.print(f"{outcome.name} failed; the end of {outcome.log}:")
        console.print("\n".join(outcome.log.read_text(encoding="utf-8").splitlines()[-20:]), markup=False)
    return 1 if failed else 0


def _ready(waiting: dict[str, Node], running: Sequence[str]) -> list[str]:
    """Stages whose needs are met, in the graph's order."""
    unmet = {*waiting, *running}
    return [name for name, node in waiting.items() if not unmet & set(node.needs)]


def _shown(running: Sequence[Outcome]) -> Table:
    table = Table.grid(padding=(0, 2))
    for outcome in running:
        table.add_row(outcome.name.rpartition(":")[2], outcome.took, outcome.last_line[-100:])
    return table


def main() -> int:
    pipeline, jobs = sys.argv[1:]
    # ended from outside, its stages get the same signal: it waits for them and leaves the terminal as it was
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        return bring_up(pipeline, int(jobs), Console(highlight=False, soft_wrap=True))
    except UserError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    sys.exit(main())

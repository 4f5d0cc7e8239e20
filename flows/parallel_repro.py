"""Bring a pipeline up to date, several of its stages at a time:
``python -m flows.parallel_repro PIPELINE JOBS``.

Stages of ``PIPELINE`` itself compute with one thread each, so they run side by side and their bytes
do not depend on how many do; stages of other files use all cores and run one by one, before. Each
is brought up to date as the flows do it, and as often tried again after a crash. Where one fails,
those under way end, no other starts, and all can be taken up again.
"""

import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from echodistill.core.errors import UserError
from echodistill.core.extras import missing_extra_named
from flows.graph import Node, note_code, read_graph, unchanged
from flows.stage_process import StageCrashed, StageRefused, end_all, run_stage

ONE_THREAD: Final = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
LOGS: Final = Path(".echodistill/logs")
SHOWN_CHARACTERS: Final = 60


class Work:
    """A stage that is brought up to date, and what is shown of it meanwhile."""

    def __init__(
        self,
        node: Node,
        environment: Mapping[str, str],
        shown: Progress,
        aloud: bool,
        stopped: threading.Event,
    ) -> None:
        self.node, self.since, self.failed = node, time.monotonic(), False
        self.log = LOGS / f"{node.name.replace('/', '_')}.log"
        self._environment, self._shown, self._aloud, self._stopped, self._bar = (
            environment,
            shown,
            aloud,
            stopped,
            "",
        )
        self._row = shown.add_task(node.name.rpartition(":")[2], total=None, line="starting")

    @property
    def took(self) -> str:
        minutes, seconds = divmod(round(time.monotonic() - self.since), 60)
        return f"{minutes}:{seconds:02}"

    def run(self) -> None:
        """Runs the stage, again after a crash as often as its ``meta`` says; all it prints goes to
        its log, and ``aloud`` here too.
        """
        with self.log.open("w", encoding="utf-8") as log:

            def log_line(line: str) -> None:
                print(line, file=log, flush=True)
                if self._aloud:
                    self._shown.console.print(line, markup=False)
                self._shown.update(self._row, line=line[-SHOWN_CHARACTERS:])

            for attempts_left in reversed(range(1 + self.node.meta.retries)):
                try:
                    timeout_s = self.node.meta.timeout_s
                    run_stage(
                        self.node.name,
                        Path(),
                        "if changed",
                        timeout_s,
                        self._environment,
                        log_line,
                        self._progress,
                    )
                    break
                except StageRefused:
                    self.failed = True
                except StageCrashed as error:
                    self.failed = self._stopped.is_set() or not attempts_left
                    log_line(str(error) if self.failed else f"crashed, starts again: {error}")
                if self.failed:
                    break
        self._shown.remove_task(self._row)

    def _progress(self, label: str, percent: float) -> None:
        if label != self._bar:  # a stage may have several bars, one after the other
            self._shown.reset(self._row, total=100)
            self._bar = label
        self._shown.update(self._row, completed=percent, line=label[-SHOWN_CHARACTERS:])


def bring_up(pipeline: str, jobs: int, console: Console) -> int:
    """The exit status: 0 when all is up to date."""
    nodes = read_graph(Path(), pipeline=pipeline)
    note_code(Path())
    known = unchanged(Path(), nodes, pipeline)
    waiting = {node.name: node for node in nodes if node.name not in known}
    alone = {
        name: waiting.pop(name) for name in list(waiting) if not name.startswith(f"{pipeline}:")
    }
    LOGS.mkdir(parents=True, exist_ok=True)
    if not alone and not waiting:
        console.print("all stages are up to date")
    for stages, width, environment in ((alone, 1, {}), (waiting, jobs, ONE_THREAD)):
        if stages:
            console.print(
                f"{len(stages)} stages to bring up to date,"
                f" {'one by one' if width == 1 else f'{width} at a time'}"
            )
        if failed := _side_by_side(stages, width, environment, console):
            for work in failed:
                console.print(f"{work.node.name} failed; the end of {work.log}:")
                console.print(
                    "\n".join(work.log.read_text(encoding="utf-8").splitlines()[-20:]), markup=False
                )
            return 1
    return 0


def _side_by_side(
    waiting: dict[str, Node], jobs: int, environment: Mapping[str, str], console: Console
) -> list[Work]:
    """Runs all that ``waiting`` holds, and empties it as they start; the works that failed."""
    total = len(waiting)
    running: dict[Future[None], Work] = {}
    failed: list[Work] = []
    stopped = threading.Event()
    columns = (
        TextColumn("{task.description}", markup=False),
        TimeElapsedColumn(),
        BarColumn(20),
        TimeRemainingColumn(),
        TextColumn("{task.fields[line]}", markup=False),
    )
    with (
        ThreadPoolExecutor(jobs) as pool,
        Progress(*columns, console=console, refresh_per_second=1, transient=True) as shown,
    ):
        try:
            while waiting or running:
                if not failed:
                    for name in _ready(waiting, [work.node.name for work in running.values()])[
                        : jobs - len(running)
                    ]:
                        work = Work(waiting.pop(name), environment, shown, jobs == 1, stopped)
                        running[pool.submit(work.run)] = work
                if not running:
                    break
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    work = running.pop(future)
                    future.result()
                    failed += [work] if work.failed else []
                    done = total - len(waiting) - len(running)
                    shown.console.print(
                        f"{work.node.name} {'failed' if work.failed else 'done'} after {work.took}"
                        f" ({done} of {total})"
                    )
        except BaseException:
            stopped.set()
            while wait(running, timeout=0.5).not_done:  # one may start a process just now
                end_all()
            raise
    return failed


def _ready(waiting: dict[str, Node], running: Sequence[str]) -> list[str]:
    """Stages whose needs are met, in the graph's order."""
    unmet = {*waiting, *running}
    return [name for name, node in waiting.items() if not unmet & set(node.needs)]


def main() -> int:
    pipeline, jobs = sys.argv[1:]
    # ended from outside, it ends its stages and leaves the terminal as it was
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        with missing_extra_named():
            return bring_up(pipeline, int(jobs), Console(highlight=False, soft_wrap=True))
    except UserError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    sys.exit(main())

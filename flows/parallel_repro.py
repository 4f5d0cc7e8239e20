"""Bring a pipeline up to date with several stages at a time: ``python -m flows.parallel_repro
PIPELINE JOBS``.

Stages of ``PIPELINE`` itself compute with one thread each, so they run at the same time, and their
bytes do not depend on how many do. Stages of other files use all cores, so they run before, one at
a time. Each stage is brought up to date as the flows do it, and is started again after a crash as
often as in a flow. Where a stage fails, the running stages finish, no other stage starts, and a
later run can resume all of them.
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

from echodistill.core.counted import counted
from echodistill.core.errors import UserError
from echodistill.core.extras import missing_extra_named
from flows.graph import Node, note_code, read_graph, unchanged
from flows.stage_process import StageCrashed, StageRefused, end_all, run_stage

ONE_THREAD: Final = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
LOGS: Final = Path(".echodistill/logs")
SHOWN_CHARACTERS: Final = 60


class StageRunner:
    """A stage that is being brought up to date, with its row of the progress display."""

    def __init__(
        self,
        node: Node,
        environment: Mapping[str, str],
        display: Progress,
        verbose: bool,
        stopped: threading.Event,
    ) -> None:
        self.node, self.since, self.failed = node, time.monotonic(), False
        self.log = LOGS / f"{node.name.replace('/', '_')}.log"
        self._environment, self._display, self._verbose, self._stopped, self._bar = (
            environment,
            display,
            verbose,
            stopped,
            "",
        )
        self._row = display.add_task(node.name.rpartition(":")[2], total=None, line="starting")

    @property
    def duration(self) -> str:
        minutes, seconds = divmod(round(time.monotonic() - self.since), 60)
        return f"{minutes}:{seconds:02}"

    def run(self) -> None:
        """Run the stage, and run it again after a crash at most as often as its ``meta`` allows.

        Every printed line goes to the stage's log file, and also to the console where ``verbose``
        is set.
        """
        with self.log.open("w", encoding="utf-8") as log:

            def log_line(line: str) -> None:
                print(line, file=log, flush=True)
                if self._verbose:
                    self._display.console.print(line, markup=False)
                self._display.update(self._row, line=line[-SHOWN_CHARACTERS:])

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
        self._display.remove_task(self._row)

    def _progress(self, label: str, percent: float) -> None:
        if label != self._bar:  # A stage may show several progress bars, one after the other.
            self._display.reset(self._row, total=100)
            self._bar = label
        self._display.update(self._row, completed=percent, line=label[-SHOWN_CHARACTERS:])


def repro_parallel(pipeline: str, jobs: int, console: Console) -> int:
    """Bring all stages of ``pipeline`` up to date and return the exit status: 0 where all are, else
    1.
    """
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
                f"{counted(len(stages), 'stage')} to bring up to date,"
                f" {'one by one' if width == 1 else f'{width} at a time'}"
            )
        if failed := _run_parallel(stages, width, environment, console):
            for work in failed:
                console.print(f"{work.node.name} failed; the end of {work.log}:")
                console.print(
                    "\n".join(work.log.read_text(encoding="utf-8").splitlines()[-20:]), markup=False
                )
            return 1
    return 0


def _run_parallel(
    waiting: dict[str, Node], jobs: int, environment: Mapping[str, str], console: Console
) -> list[StageRunner]:
    """Run all stages of ``waiting``, at most ``jobs`` at a time, and return those that failed.

    A stage is removed from ``waiting`` when it starts.
    """
    total = len(waiting)
    running: dict[Future[None], StageRunner] = {}
    failed: list[StageRunner] = []
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
        Progress(*columns, console=console, refresh_per_second=1, transient=True) as display,
    ):
        try:
            while waiting or running:
                if not failed:
                    for name in _ready(waiting, [work.node.name for work in running.values()])[
                        : jobs - len(running)
                    ]:
                        work = StageRunner(
                            waiting.pop(name), environment, display, jobs == 1, stopped
                        )
                        running[pool.submit(work.run)] = work
                if not running:
                    break
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    work = running.pop(future)
                    future.result()
                    failed += [work] if work.failed else []
                    done = total - len(waiting) - len(running)
                    display.console.print(
                        f"{work.node.name} {'failed' if work.failed else 'done'} after"
                        f" {work.duration} ({done} of {total})"
                    )
        except BaseException:
            stopped.set()
            # A thread may be starting a process at this moment, so all are ended repeatedly.
            while wait(running, timeout=0.5).not_done:
                end_all()
            raise
    return failed


def _ready(waiting: dict[str, Node], running: Sequence[str]) -> list[str]:
    """Return the names of the stages whose needs are met, in the graph's order."""
    unmet = {*waiting, *running}
    return [name for name, node in waiting.items() if not unmet & set(node.needs)]


def main() -> int:
    pipeline, jobs = sys.argv[1:]
    # SIGTERM raises SystemExit, so the stages are ended and the terminal is restored.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        with missing_extra_named():
            return repro_parallel(pipeline, int(jobs), Console(highlight=False, soft_wrap=True))
    except UserError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    sys.exit(main())

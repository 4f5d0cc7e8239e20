"""Run one DVC stage as a child process, and return DVC's decision about it or raise the reason of
its failure.
"""

import os
import re
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from echodistill.core.threads import SLEEPING
from flows.run_stage import UNKNOWN

# ``-P`` keeps this folder out of the module path: a workspace's own code must be found first.
RUN_STAGE = (sys.executable, "-P", str(Path(__file__).with_name("run_stage.py")))
RunCondition = Literal["if changed", "always", "if known"]
"""When a stage runs. With ``if known`` it never runs: only results that a cache has are restored.
"""
PROGRESS = re.compile(r"^(?P<label>[\w@ .-]+): +(?P<percent>\d+)%\|")
HINT = re.compile(
    r"^(Updating lock file|To track the changes|To enable auto|Use `dvc push`|Data and pipelines"
    r" are up|\t(git|dvc) )"
)
"""Pattern of DVC's advice for people at a terminal."""
RAN = "ran"
DECISIONS = (
    (re.compile(r"^Running stage '"), RAN),
    (re.compile(r"^Stage '[^']+' is cached - skipping run"), "cached: restored from the run cache"),
    (re.compile(r"^Stage '[^']+' didn't change, skipping"), "cached: nothing changed"),
)
REFUSAL = re.compile(r"^error: (?P<message>.*)")
SHOWN_LINES = 5
"""Number of a crashed command's last lines that its error quotes."""
RUNNING: set["SupervisedProcess"] = set()


class StageUnknown(Exception):
    """No cache has the outputs of a stage, so the stage would have to run."""


class StageRefused(Exception):
    """A stage or gate rejected its input with one clear message, so a retry cannot help."""


class StageCrashed(Exception):
    """A stage ended without an error message of its own. It may be retried, and resumes then."""


@dataclass(frozen=True)
class StageRun:
    """The result of a stage that is up to date now."""

    name: str
    decision: str
    seconds: float


class SupervisedProcess:
    """A process tree that ends at the latest when this process does."""

    def __init__(self, command: list[str], workspace: Path, environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("supervisor.py")), *command],
            cwd=workspace,
            env=SLEEPING | {**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        RUNNING.add(self)

    def lines(self) -> Iterator[str]:
        """Yield the output's lines as they arrive.

        A progress bar redraws its line after a carriage return; each redrawing counts as a line.
        """
        assert self._process.stdout
        yield from _lines(self._process.stdout)

    def end(self) -> None:
        """Close the supervisor's input, so that the process tree ends within seconds."""
        if self._process.stdin:
            self._process.stdin.close()

    def wait(self) -> int:
        status = self._process.wait()
        RUNNING.discard(self)
        return status


def end_all() -> None:
    """End every running stage, where a flow is cancelled."""
    for process in list(RUNNING):
        process.end()


def _lines(stream: IO[bytes]) -> Iterator[str]:
    rest = b""
    while chunk := stream.read1(65536):  # type: ignore[attr-defined]
        *whole, rest = re.split(rb"[\r\n]", rest + chunk)
        yield from (text for line in whole if (text := line.decode(errors="replace").rstrip()))
    if rest.strip():
        yield rest.decode(errors="replace").rstrip()


def run_command(
    command: list[str], workspace: Path, environment: Mapping[str, str], log: Callable[[str], None]
) -> list[str]:
    """Run a command to its end and return its output's lines.

    Raise ``StageRefused`` where it failed with an error message of its own, else ``StageCrashed``
    with its last lines.
    """
    process = SupervisedProcess(command, workspace, environment)
    lines = []
    for line in process.lines():
        log(line)
        lines.append(line)
    if (status := process.wait()) != 0:
        if refusal := next(filter(None, map(REFUSAL.match, lines)), None):
            raise StageRefused(refusal["message"])
        shown_command = " ".join(command).removeprefix(f"{sys.executable} -m ")
        raise StageCrashed(
            f"`{shown_command}` ended with status {status}: " + "\n".join(lines[-SHOWN_LINES:])
        )
    return lines


def run_stage(
    name: str,
    workspace: Path,
    how: RunCondition,
    timeout_s: float | None,
    environment: Mapping[str, str],
    log: Callable[[str], None],
    progress: Callable[[str, float], None],
) -> StageRun:
    """Bring one stage up to date, with ``environment`` added to this process's environment.

    ``log`` gets every line except those of progress bars; ``progress`` gets each bar's label and
    percentage.

    Raise ``StageRefused`` or ``StageCrashed`` where the stage fails, and ``StageUnknown`` where
    only known results were requested and there are none.
    """
    started = time.monotonic()
    options = {"if changed": [], "always": ["--force"], "if known": ["--only-known"]}[how]
    process = SupervisedProcess([*RUN_STAGE, *options, name], workspace, environment)
    timer = threading.Timer(timeout_s, process.end) if timeout_s else None
    if timer:
        timer.start()
    decision, refusal = "", ""
    tail: deque[str] = deque(maxlen=SHOWN_LINES)
    try:
        for line in process.lines():
            if match := PROGRESS.match(line):
                progress(match["label"], float(match["percent"]))
                continue
            if HINT.match(line):
                continue
            log(line)
            tail.append(line)
            # A line is DVC's own remark, or part of the message of a stage that refuses its input;
            # such a message may have several lines.
            found = next((meaning for pattern, meaning in DECISIONS if pattern.match(line)), "")
            decision = found if found == RAN or not decision else decision
            if match := REFUSAL.match(line):
                refusal = match["message"]
            elif refusal and not line.startswith("ERROR:"):
                refusal += "\n" + line
        status = process.wait()
    finally:
        if timer:
            timer.cancel()
        process.end()
    seconds = time.monotonic() - started
    if status == 0:
        return StageRun(name, decision or "cached", seconds)
    if how == "if known" and status == UNKNOWN:
        raise StageUnknown(name)
    if refusal:
        raise StageRefused(refusal)
    if timeout_s and seconds >= timeout_s:
        raise StageCrashed(f"stage {name} was ended after its timeout of {timeout_s:g} s")
    raise StageCrashed(f"stage {name} ended with status {status}: " + "\n".join(tail))

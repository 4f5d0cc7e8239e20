"""One DVC stage as a child process: its lines as they come, what DVC decided, and why it failed if
it did.
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

# without its folder in the path: a workspace's own code comes first there
RUN_STAGE = (sys.executable, "-P", str(Path(__file__).with_name("run_stage.py")))
How = Literal["if changed", "always", "if known"]
"""When a stage runs; ``if known``: never, only results that a cache has are brought."""
PROGRESS = re.compile(r"^(?P<label>[\w@ .-]+): +(?P<percent>\d+)%\|")
HINT = re.compile(
    r"^(Updating lock file|To track the changes|To enable auto|Use `dvc push`|Data and pipelines"
    r" are up|\t(git|dvc) )"
)
"""DVC's advice for people at a terminal."""
RAN = "ran"
DECISIONS = (
    (re.compile(r"^Running stage '"), RAN),
    (re.compile(r"^Stage '[^']+' is cached - skipping run"), "cached: restored from the run cache"),
    (re.compile(r"^Stage '[^']+' didn't change, skipping"), "cached: nothing changed"),
)
REFUSAL = re.compile(r"^error: (?P<message>.*)")
SHOWN_LINES = 5
"""How many of a crashed command's last lines its error quotes."""
RUNNING: set["SupervisedProcess"] = set()


class StageUnknown(Exception):
    """No cache has the outputs of a stage: it would have to run."""


class StageRefused(Exception):
    """A stage or gate said no to its input: one clear message, and no use in trying again."""


class StageCrashed(Exception):
    """A stage ended without saying why: it may be tried again, and resumes."""


@dataclass(frozen=True)
class StageRun:
    """A stage that is up to date now."""

    name: str
    decision: str
    seconds: float


class SupervisedProcess:
    """A process tree that ends with this one at the latest."""

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
        """Lines as they come; a progress bar redraws its line behind a carriage return, each of
        which counts as one.
        """
        assert self._process.stdout
        yield from _lines(self._process.stdout)

    def end(self) -> None:
        """Let go: the tree ends within seconds."""
        if self._process.stdin:
            self._process.stdin.close()

    def wait(self) -> int:
        status = self._process.wait()
        RUNNING.discard(self)
        return status


def end_all() -> None:
    """End every running stage; for a cancelled flow."""
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
    """Run a process command to its end; its lines.

    Raises ``StageRefused`` when it failed by an error of its own, else ``StageCrashed`` with its
    last lines.
    """
    process = SupervisedProcess(command, workspace, environment)
    lines = []
    for line in process.lines():
        log(line)
        lines.append(line)
    if (status := process.wait()) != 0:
        if refusal := next(filter(None, map(REFUSAL.match, lines)), None):
            raise StageRefused(refusal["message"])
        said = " ".join(command).removeprefix(f"{sys.executable} -m ")
        raise StageCrashed(
            f"`{said}` ended with status {status}: " + "\n".join(lines[-SHOWN_LINES:])
        )
    return lines


def run_stage(
    name: str,
    workspace: Path,
    how: How,
    timeout_s: float | None,
    environment: Mapping[str, str],
    log: Callable[[str], None],
    progress: Callable[[str, float], None],
) -> StageRun:
    """Bring one stage up to date, with ``environment`` added to this process's own.

    ``log`` gets every line, ``progress`` what a bar says and its percentage.

    Raises ``StageRefused`` or ``StageCrashed``; ``StageUnknown`` where only known results were
    asked for and there are none.
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
            # DVC's own remark, or the message of a stage that refuses, which may run over several
            # lines
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

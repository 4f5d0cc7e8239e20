"""Run a stage through the deployment ``stage/POOL``, on any machine that works for that pool, and
follow it.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId
from prefect.client.schemas.objects import FlowRun, State
from prefect.client.schemas.sorting import LogSort
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound

from echodistill.core.errors import UserError
from echodistill.storage.client import Store
from flows.graph import Node
from flows.stage_process import StageCrashed, StageRefused, StageRun
from flows.stage_request import apply_result, pack, publish, read_result

REFUSED = "Refused"
"""Name of the state of a stage run that refused its input."""
RESULT_KEY = ", handed back as "
POLL_S = 2.0
REMINDER_S = 60.0
SERVER_TIMEOUT_S = 120.0
"""Time in seconds without an answer from the server after which the run is given up."""
HEARTBEAT_S = 300.0
SILENCE_S = 4 * HEARTBEAT_S
"""Time in seconds without a log line after which a working machine is considered dead."""
LOGS_AT_ONCE = 200
LATECOMERS = 20  # Number of log lines that may reach the server after later ones.


def run_remote_stage(
    store: Store,
    repository: Path,
    workspace: Path,
    node: Node,
    force: bool,
    flow_run_id: str,
    log: Callable[[str], None],
) -> StageRun:
    """Bring a stage up to date on its pool. Its inputs must be in DVC's remote.

    Raise ``StageRefused`` or ``StageCrashed`` where the stage run does, and ``UserError`` where the
    pool has no deployment or the stage needs something that only this machine has.
    """
    request = publish(store, pack(store, repository, workspace, node, force))
    pool = node.meta.pool
    try:
        # ``as_subflow`` is on by default: Prefect shows the run below the task that started it.
        run: Any = run_deployment(
            f"stage/{pool}",
            parameters={"request": request, "waiting_run": flow_run_id},
            timeout=0,
            flow_run_name=node.name,
        )
    except ObjectNotFound as error:
        raise UserError(
            f"{node.name} wants pool {pool}, which has no deployment stage/{pool}: add it to"
            " infra/prefect.yaml"
        ) from error
    state = _follow(run, f"waiting for a worker of pool {pool}", log)
    message = state.message or ""
    if state.is_completed():
        result = read_result(store, message.rpartition(RESULT_KEY)[2])
        apply_result(workspace, result)
        return StageRun(node.name, f"{result.decision} (on pool {pool})", result.seconds)
    if state.name == REFUSED or state.is_cancelled():
        raise StageRefused(message or "cancelled")
    raise StageCrashed(f"{node.name} on pool {pool}: {state.name}: {message}")


def _follow(run: FlowRun, reminder: str, log: Callable[[str], None]) -> State[Any]:
    """Pass the run's log lines on until it ends, and return its last state.

    Raise ``StageCrashed`` where the server does not answer for ``SERVER_TIMEOUT_S`` or the machine
    logs nothing for ``SILENCE_S``.
    """
    seen: set[UUID] = set()
    reminded, answered = time.monotonic() - REMINDER_S / 2, time.monotonic()
    last_line = answered
    with get_client(sync_client=True) as client:
        while True:
            time.sleep(POLL_S)
            try:
                # The state is read first, so that every line that was logged before it is
                # available.
                state, before = client.read_flow_run(run.id).state, len(seen)
                _pass_on(client, run.id, seen, log)
                answered = time.monotonic()
                if state is None or not state.is_running() or len(seen) > before:
                    last_line = answered
            except Exception as error:
                if time.monotonic() - answered > SERVER_TIMEOUT_S:
                    raise StageCrashed(
                        f"Prefect's server has not answered for {SERVER_TIMEOUT_S:.0f} s: {error}"
                    ) from error
                continue
            if state is not None and state.is_final():
                return state
            if time.monotonic() - last_line > SILENCE_S:
                raise StageCrashed(
                    f"the machine that worked on it has logged nothing for {SILENCE_S / 60:.0f} min"
                )
            if (state is None or state.is_scheduled()) and time.monotonic() - reminded > REMINDER_S:
                log(reminder)
                reminded = time.monotonic()


def _pass_on(client: Any, run_id: UUID, seen: set[UUID], log: Callable[[str], None]) -> None:
    """Log the run's log lines that are not in ``seen``, and add them to it."""
    wanted = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run_id]))
    offset = max(0, len(seen) - LATECOMERS)
    while found := client.read_logs(
        log_filter=wanted, limit=LOGS_AT_ONCE, offset=offset, sort=LogSort.TIMESTAMP_ASC
    ):
        for line in found:
            if line.id not in seen:
                seen.add(line.id)
                log(line.message)
        offset += len(found)

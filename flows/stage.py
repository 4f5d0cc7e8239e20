"""The flow ``stage``, which runs one stage for another machine. It is deployed once for each pool
as ``stage/POOL``.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect import flow, get_run_logger
from prefect.runtime import flow_run
from prefect.states import Cancelled, Completed, Failed, State

from echodistill.core.errors import UserError
from echodistill.storage.client import checked_place, open_store
from flows.cancellation import CancellationWatcher
from flows.commands import DVC
from flows.remote_stage import HEARTBEAT_S, REFUSED, RESULT_KEY
from flows.reporting import StageProgress
from flows.stage_process import (
    RunCondition,
    StageCrashed,
    StageRefused,
    end_all,
    run_command,
    run_stage,
)
from flows.stage_request import StageResult, lock_entry, publish, read_request, unpacked
from flows.workspace import environment


@contextmanager
def heartbeat(stage: str, log: Callable[[str], None]) -> Iterator[None]:
    """Log at intervals that the stage is running, while the block runs.

    The waiting flow considers a machine dead that logs nothing for a long time.
    """
    over = threading.Event()

    def beat() -> None:
        minutes = 0.0
        while not over.wait(HEARTBEAT_S):
            minutes += HEARTBEAT_S / 60
            log(f"{stage}: running for {minutes:.0f} min")

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@flow(name="stage", persist_result=False)
def stage(request: str, waiting_run: str | None = None) -> State[Any]:
    """Run the stage that the request with the hash ``request`` describes: clone, pull inputs, run,
    push outputs.

    ``waiting_run`` is the id of the flow run that waits for this one; where that is cancelled, so
    is this one.
    """
    logger = get_run_logger()
    here = UUID(str(flow_run.get_id()))
    with CancellationWatcher(
        [here, *([UUID(waiting_run)] if waiting_run else [])], end_all
    ) as watch:
        try:
            place = checked_place()
            if place is None:
                raise UserError(
                    "ECHODISTILL_S3 is not set where this worker runs: set it and start the worker"
                    " again"
                )
            store = open_store(place)
            given = read_request(store, request)
            log = partial(logger.info, "%s")
            progress = StageProgress(given.stage, log)
            logger.info("%s: getting its inputs", given.stage)
            with heartbeat(given.stage, log), unpacked(store, Path.cwd(), given, log) as clone:
                shared = environment(Path.cwd(), clone)
                if watch.cancelled:
                    raise StageRefused("cancelled")
                how: RunCondition = "always" if given.force else "if changed"
                done = run_stage(given.stage, clone, how, given.timeout_s, shared, log, progress)
                run_command(
                    [*DVC, "--wait-for-lock", "push", "--run-cache", given.stage],
                    clone,
                    shared,
                    logger.debug,
                )
                result = StageResult(
                    given.stage, done.decision, done.seconds, lock_entry(clone, given.stage)
                )
            key = publish(store, result)
        except StageRefused as error:
            return (
                Cancelled(message="cancelled")
                if watch.cancelled
                else Failed(name=REFUSED, message=str(error))
            )
        except (UserError, StageCrashed) as error:
            return Cancelled(message="cancelled") if watch.cancelled else Failed(message=str(error))
        finally:
            end_all()
    return Completed(message=f"{done.decision} in {done.seconds:.0f} s{RESULT_KEY}{key}")

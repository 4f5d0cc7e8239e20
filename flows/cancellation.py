"""End the processes that a run started as soon as the run, or the run that waits for it, is
cancelled.
"""

import logging
import threading
from collections.abc import Callable
from types import TracebackType
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import StateType

POLL_S = 2.0
CANCELLING = (StateType.CANCELLING, StateType.CANCELLED)

logger = logging.getLogger(__name__)


class CancellationWatcher:
    """Call ``end`` when one of the flow runs ``run_ids`` is being cancelled, while a ``with`` block
    runs.

    ``end`` is called again at every later check, so that a process that was just about to start
    ends too. Where the server cannot be reached, nothing is ended.
    """

    def __init__(self, run_ids: list[UUID], end: Callable[[], None]) -> None:
        self.cancelled = False
        self._run_ids = run_ids
        self._end = end
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="cancellation", daemon=True)

    def __enter__(self) -> "CancellationWatcher":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()

    def _poll(self) -> None:
        with get_client(sync_client=True) as client:
            while not self._over.wait(POLL_S):
                try:
                    states = [client.read_flow_run(run_id).state for run_id in self._run_ids]
                except Exception as error:
                    logger.debug("cannot ask whether the run is cancelled: %s", error)
                    continue
                if any(state and state.type in CANCELLING for state in states):
                    self.cancelled = True
                    self._end()

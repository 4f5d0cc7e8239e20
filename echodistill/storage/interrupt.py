"""Interrupt a transfer in a background thread, so that it does not keep a finished program from
ending.
"""

import threading
from typing import Any

from echodistill.core.errors import UserError
from echodistill.storage.client import Store


def interruptible(store: Store) -> threading.Event:
    """Return an event that, once set, makes every further request of ``store`` raise
    ``UserError``.
    """
    interrupted = threading.Event()

    def refuse(**_request: Any) -> None:
        if interrupted.is_set():
            raise UserError("the transfer was interrupted, because the program ends")

    store.client.meta.events.register("before-send.s3", refuse)
    return interrupted

"""Support several processes that train together (``accelerate launch``).

One process writes, and the others wait where they need the result. In a training of one process
nothing here costs time.
"""

import os
from datetime import timedelta
from typing import TypeVar, cast

import torch
from torch import distributed

from echodistill.core.environment import is_launched
from echodistill.core.errors import UserError

Item = TypeVar("Item")
MAX_WAIT = timedelta(hours=2)
"""Longest time for which a process waits for the others. The launcher ends all processes when one
ends, so this only has to be longer than the fetching of a checkpoint.
"""


def processes() -> int:
    """Return the number of processes that train together, as the launcher's environment gives
    it.
    """
    return int(os.environ["WORLD_SIZE"]) if is_launched() else 1


def rank() -> int:
    """Return the number of this process, from 0."""
    return int(os.environ["RANK"]) if is_launched() else 0


def is_main() -> bool:
    """Return whether this process is the one that writes."""
    return rank() == 0


def init() -> None:
    """Join the process group of the training, each process on its own device.

    Raise ``UserError`` where the processes run on several machines.
    """
    if processes() == 1:
        return
    if os.environ.get("LOCAL_WORLD_SIZE", str(processes())) != str(processes()):
        raise UserError(
            "a training runs on one machine, with all its GPUs: launch it with --num_machines 1"
        )
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    if not distributed.is_initialized():  # accelerate uses a process group that exists already.
        distributed.init_process_group(timeout=MAX_WAIT)


def barrier() -> None:
    """Return when every process has called this."""
    if processes() > 1:
        distributed.barrier()


def all_gather_object(item: Item) -> list[Item]:
    """Return the ``item`` of each process in the order of their ranks. All processes must call
    this.
    """
    if processes() == 1:
        return [item]
    items: list[Item | None] = [None] * processes()
    distributed.all_gather_object(items, item)
    return cast(list[Item], items)


def shutdown() -> None:
    """Leave the process group that ``init`` joined."""
    if processes() > 1:
        distributed.destroy_process_group()

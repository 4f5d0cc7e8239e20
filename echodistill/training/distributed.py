"""Several processes that train together (``accelerate launch``): one of them writes, and the others
wait where they need it.

Everything here is free in a training of one process.
"""

import os
from datetime import timedelta
from typing import TypeVar, cast

import torch
from torch import distributed

from echodistill.core.environment import is_launched
from echodistill.core.errors import UserError

Item = TypeVar("Item")
LONGEST_WAIT = timedelta(hours=2)
"""The launcher ends all processes when one dies; this only has to be longer than fetching a
checkpoint takes.
"""


def processes() -> int:
    """How many train together, by the launcher's environment."""
    return int(os.environ["WORLD_SIZE"]) if is_launched() else 1


def is_main() -> bool:
    """Whether this process is the one that writes."""
    return not is_launched() or int(os.environ["RANK"]) == 0


def init() -> None:
    """Meet the other processes, each on its own device. Raises ``UserError`` when they are on
    several machines.
    """
    if processes() == 1:
        return
    if os.environ.get("LOCAL_WORLD_SIZE", str(processes())) != str(processes()):
        raise UserError(
            "a training runs on one machine, with all its GPUs: launch it with --num_machines 1"
        )
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    if not distributed.is_initialized():  # accelerate takes what is there
        distributed.init_process_group(timeout=LONGEST_WAIT)


def barrier() -> None:
    """Return when every process has come here."""
    if processes() > 1:
        distributed.barrier()


def all_gather_object(item: Item) -> list[Item]:
    """The ``item`` of each process, in the order of their numbers. All have to call it."""
    if processes() == 1:
        return [item]
    items: list[Item | None] = [None] * processes()
    distributed.all_gather_object(items, item)
    return cast(list[Item], items)


def shutdown() -> None:
    """The end of ``init``."""
    if processes() > 1:
        distributed.destroy_process_group()

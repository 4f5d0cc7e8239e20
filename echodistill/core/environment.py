"""The environment variables that say how a process computes. Imports nothing heavy."""

import os

from echodistill.core.errors import UserError

LAUNCHED = "TORCHELASTIC_RUN_ID"
"""Set by ``torchrun``, which ``accelerate launch`` starts several processes with."""
OF_LAUNCHERS = ("WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
OF_JOB_MANAGERS = (
    "PMI_SIZE",
    "PMI_RANK",
    "MPI_LOCALNRANKS",
    "MPI_LOCALRANKID",
    *(
        f"{library}_COMM_WORLD_{what}"
        for library in ("OMPI", "MV2")
        for what in ("SIZE", "RANK", "LOCAL_SIZE", "LOCAL_RANK")
    ),
)
DEVICE_BATCH = "ECHODISTILL_DEVICE_BATCH"
DEFAULT_DEVICE_BATCH = 96


def is_launched() -> bool:
    """Whether a launcher started this process together with others, to train with them."""
    return LAUNCHED in os.environ


def forget_job_manager() -> None:
    """Remove what a job manager tells its jobs: accelerate would take it for a training of several
    processes.

    Those that train together are started by a launcher, whose variables stay.
    """
    for name in OF_JOB_MANAGERS if is_launched() else OF_JOB_MANAGERS + OF_LAUNCHERS:
        os.environ.pop(name, None)


def device_batch() -> int:
    """Rows a device takes at once: ``ECHODISTILL_DEVICE_BATCH``, or 96. Raises ``UserError`` where
    it is no such number.
    """
    value = os.environ.get(DEVICE_BATCH) or str(DEFAULT_DEVICE_BATCH)
    try:
        rows = int(value)
    except ValueError:
        rows = 0
    if rows < 1:
        raise UserError(f"{DEVICE_BATCH}={value!r}: give a whole number above 0")
    return rows

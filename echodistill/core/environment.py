"""The environment variables that determine how a process computes. This module imports nothing
heavy.
"""

import os

from echodistill.core.errors import UserError

LAUNCH_VARIABLE = "TORCHELASTIC_RUN_ID"
"""Variable that ``torchrun`` sets, with which ``accelerate launch`` starts several processes."""
LAUNCHER_VARIABLES = ("WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
JOB_MANAGER_VARIABLES = (
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
RUN_OPTIONS = "ECHODISTILL_RUN_OPTIONS"
"""Variable that `echodistill run` and `echodistill compare` set for their stages: the options that
the user gave them, as a shell reads them. Messages that suggest the command repeat them.
"""


def is_launched() -> bool:
    """Return whether a launcher started this process together with others to train with them."""
    return LAUNCH_VARIABLE in os.environ


def clear_job_manager_variables() -> None:
    """Remove the variables that a job manager sets, which accelerate would take for a training of
    several processes.

    Processes that train together are started by a launcher, whose variables are kept.
    """
    for name in (
        JOB_MANAGER_VARIABLES if is_launched() else JOB_MANAGER_VARIABLES + LAUNCHER_VARIABLES
    ):
        os.environ.pop(name, None)


def device_batch() -> int:
    """Return the number of rows that a device processes at once: ``ECHODISTILL_DEVICE_BATCH``, or
    96.

    Raise ``UserError`` where the variable is not a whole number above 0.
    """
    value = os.environ.get(DEVICE_BATCH) or str(DEFAULT_DEVICE_BATCH)
    try:
        rows = int(value)
    except ValueError:
        rows = 0
    if rows < 1:
        raise UserError(f"{DEVICE_BATCH}={value!r}: give a whole number above 0")
    return rows

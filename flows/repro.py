"""Run ``dvc repro`` so that it records only what is true: ``python -m flows.repro [OPTION…]
[STAGE…]``.

A stage's inputs are fixed at its start. Locks and run cache folders that a killed DVC left are
removed, and damage in the cache is printed.
"""

import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from echodistill.core.errors import UserError
from echodistill.core.extras import missing_extra_named
from flows.dvc_repo import locked
from flows.fixed_inputs import inputs_fixed
from flows.hash_database import damaged_databases_removed
from flows.run_cache import clear_run_cache, report_damaged_objects
from flows.rwlock import clear_damaged_rwlock, zombies_ignored


def is_news(record: logging.LogRecord) -> bool:
    """Return whether an error of DVC adds anything to what was printed.

    A stage that ends with status 1 has printed its own error. DVC then adds which command failed.
    """
    error = record.exc_info[1] if record.exc_info else None
    cause = error.__cause__ if error else None
    return not (
        type(cause).__name__ == "StageCmdFailedError" and str(cause).endswith(", exited with 1")
    )


def repro(arguments: Sequence[str], options: Sequence[str] = ()) -> int:
    """Return the exit status of ``dvc OPTIONS repro ARGUMENTS``."""
    from dvc.cli import logger
    from dvc.cli import main as dvc

    logger.addFilter(is_news)

    with damaged_databases_removed(), zombies_ignored(), inputs_fixed(), report_damaged_objects():
        return int(dvc([*options, "repro", *arguments]))


def main() -> int:
    try:
        with missing_extra_named(), locked(Path()) as repo:
            for message in [*clear_damaged_rwlock(repo), *clear_run_cache(repo)]:
                print(message, flush=True)
    except UserError as error:
        sys.exit(f"error: {error}")
    return repro(sys.argv[1:], ["--wait-for-lock"])


if __name__ == "__main__":
    sys.exit(main())

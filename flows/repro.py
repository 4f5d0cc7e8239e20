"""Run ``dvc repro`` so that it records only what is true: ``python -m flows.repro [OPTION…]
[STAGE…]``.

A stage's inputs are fixed at its start. Locks and run cache folders that a killed DVC left are
removed, and damage in the cache is printed.
"""

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


def repro(arguments: Sequence[str], options: Sequence[str] = ()) -> int:
    """Return the exit status of ``dvc OPTIONS repro ARGUMENTS``."""
    from dvc.cli import main as dvc

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

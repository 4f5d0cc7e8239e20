"""Bring one stage up to date: ``python -P flows/run_stage.py [--force | --only-known] STAGE``.

This is ``dvc repro --single-item`` that also uses the team's past runs: results that somebody
computed from the same inputs are pulled. DVC's own ``--pull`` copies the whole run cache each time;
here only new entries are copied. With ``--only-known`` nothing is computed, and the exit status is
``UNKNOWN`` where a computation would be needed.
"""

import sys
from pathlib import Path

from echodistill.lineage.dvc_lock import set_damaged_aside
from flows.dvc_repo import locked
from flows.remote import has_remote
from flows.repro import repro
from flows.run_cache import clear_run_cache, report_damaged_objects
from flows.rwlock import clear_damaged_rwlock, zombies_ignored

UNKNOWN = 75


def main() -> int:
    """Run the command and return its exit status.

    Raise the remote's error where it cannot be read: an outage must not make a stage run again.
    """
    *options, name = sys.argv[1:]
    if "--force" not in options:
        known = bring_results(name)
        if "--only-known" in options and not known:
            return UNKNOWN
    return repro(
        ["--single-item", *(["--force"] if "--force" in options else []), name], ["--wait-for-lock"]
    )


def bring_results(name: str) -> bool:
    """Return whether a stage need not run, because its outputs exist.

    Missing outputs are restored from the local cache or DVC's remote where one of them has them.
    """
    from dvc.stage.cache import RunCacheNotFoundError

    with locked(Path()) as repo, zombies_ignored(), report_damaged_objects():
        if message := set_damaged_aside(Path()):
            print(message, flush=True)
        for message in [*clear_damaged_rwlock(repo), *clear_run_cache(repo)]:
            print(message, flush=True)
        (stage,) = repo.stage.collect(name)
        if not stage.changed():
            return True
        if any(not dep.exists for dep in stage.deps):
            return False
        try:
            repo.stage_cache.restore(stage)
            return True
        except RunCacheNotFoundError:
            if not has_remote(Path()):
                return False
        past = repo.cloud.get_remote_odb(None, "fetch --run-cache", hash_name="md5-dos2unix")
        repo.stage_cache.transfer(past, repo.cache.legacy, force=False)
        # The stage is read from dvc.lock again: `restore` has entered the present inputs in it, and
        # the old outputs would be taken for their result.
        repo._reset()
        (stage,) = repo.stage.collect(name)
        try:
            repo.stage_cache.restore(stage, pull=True)
            return True
        except RunCacheNotFoundError:
            return False


if __name__ == "__main__":
    sys.exit(main())

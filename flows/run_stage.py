"""Bring one stage up to date: ``python -P flows/run_stage.py [--force | --only-known] STAGE``.

``dvc repro --single-item`` with the team's past runs in reach: what somebody computed from the same
inputs is pulled. DVC's own ``--pull`` copies the whole run cache each time; here only what is new.
With ``--only-known`` nothing is computed, and the exit status is ``UNKNOWN`` where something would
have to be.
"""

import sys
from pathlib import Path

from echodistill.lineage.dvc_lock import set_damaged_aside
from flows.dvc_repo import locked
from flows.remote import has_remote
from flows.repro import repro
from flows.run_cache import clear_run_cache, damage_said
from flows.rwlock import clear_damaged_rwlock, zombies_ignored

UNKNOWN = 75


def main() -> int:
    """Raises what a remote raises that cannot be read: a stage is not computed again because of an
    outage.
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
    """Whether a stage need not run: its outputs are there, or are now, from the local cache or
    DVC's remote.
    """
    from dvc.stage.cache import RunCacheNotFoundError

    with locked(Path()) as repo, zombies_ignored(), damage_said():
        if said := set_damaged_aside(Path()):
            print(said, flush=True)
        for said in [*clear_damaged_rwlock(repo), *clear_run_cache(repo)]:
            print(said, flush=True)
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
        # as dvc.lock has it: `restore` has entered the present inputs, with which the old outputs
        # would pass for their result
        repo._reset()
        (stage,) = repo.stage.collect(name)
        try:
            repo.stage_cache.restore(stage, pull=True)
            return True
        except RunCacheNotFoundError:
            return False


if __name__ == "__main__":
    sys.exit(main())

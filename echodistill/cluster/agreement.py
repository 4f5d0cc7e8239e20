"""Whether workers compute the bytes that this process would: the same packages, the same code, the
same arithmetic.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

from distributed import Client, get_worker

from echodistill.code_hash import code_hash
from echodistill.errors import UserError

PACKAGES = ("numpy", "soundfile", "soxr", "dask", "distributed", "cloudpickle")
OF_SCHEDULER = ("dask", "distributed")


def check_versions(client: Client, name: str) -> None:
    """Raises ``UserError`` naming the first package of the scheduler or a worker that has another
    version than ours.
    """
    found = cast(dict[str, Any], client.get_versions(packages=PACKAGES))
    ours = _versions(found["client"], PACKAGES)
    theirs = {"the scheduler": _versions(found["scheduler"], OF_SCHEDULER)}
    theirs |= {
        f"worker {worker}": _versions(facts, PACKAGES)
        for worker, facts in sorted(found["workers"].items())
    }
    for member, versions in theirs.items():
        for package, version in versions.items():
            if version != ours[package]:
                raise UserError(
                    f"{name}: {member} has {package} {version or 'not installed'}, this machine"
                    f" {ours[package]}: results could differ. Install requirements.lock there"
                )


def check_package(client: Client, name: str) -> None:
    """Raises ``UserError`` when a worker lacks this package, or has one that knows no cluster."""
    try:
        client.run(_present)
    except Exception as error:  # Dask wraps what failed over there in a plain one
        raise UserError(
            f"{name}: a worker cannot load {__name__}: install this version of echodistill there"
        ) from error


def _present() -> None:
    """Can only be called where this module is."""


def _versions(facts: dict, packages: tuple[str, ...]) -> dict[str, str | None]:
    versions = facts["packages"]
    python = ".".join(versions["python"].split(".")[:2])  # a patch release changes no result
    return {"python": python} | {package: versions.get(package) for package in packages}


@dataclass(frozen=True)
class WorkerCheck:
    """What a worker must find about itself before it computes for us. Workers that come later are
    held to it too.
    """

    module: str
    """Where the mapped function is defined."""
    probe: Callable[[], str]
    code: str
    """Hash of the code of the module and of all it imports."""
    results: str
    """What ``probe`` gave."""

    def verify(self) -> None:
        """Raises ``UserError`` on a worker that differs."""
        worker = get_worker().address
        if _code(self.module) != self.code:
            raise UserError(
                f"workers.address: worker {worker} has other code of echodistill than this machine:"
                " install this version there and restart its workers"
            )
        if _results(self.probe) != self.results:
            raise UserError(
                f"workers.address: worker {worker} does not compute the same bytes as this machine:"
                " its processor or a library differs. Use workers of this machine's kind"
            )


def worker_check(function: Callable, probe: Callable[[], str]) -> WorkerCheck:
    return WorkerCheck(function.__module__, probe, _code(function.__module__), _results(probe))


@cache  # a file that changes after the worker has imported it is not what the worker runs
def _code(module: str) -> str:
    return code_hash(module)


@cache
def _results(probe: Callable[[], str]) -> str:
    return probe()

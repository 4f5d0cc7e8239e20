"""Read ``dvc.lock``, which has every stage's command, inputs and outputs by content, and compute
its hashes again.

DVC writes the file.
"""

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from echodistill.code_hash import FOLDER as CODE
from echodistill.core.errors import UserError
from echodistill.core.similar import meant
from echodistill.core.yaml12 import load_yaml
from echodistill.storage.dvc_hashes import dvc_md5

LOCK = "dvc.lock"
SCHEMA = "2.0"
WRITTEN_S = 1.0  # DVC does not write the file atomically, but well within this time.


@dataclass(frozen=True)
class LockedStage:
    """A stage as it ran last."""

    command: str
    params: Mapping[str, Mapping[str, Any]]
    """Parameters that the stage read, by file."""
    deps: Mapping[str, str]
    """DVC's hash of each input, by path; ``unknown`` where DVC has none."""
    outs: Mapping[str, str]
    """DVC's hash of each output, by path; ``unknown`` where DVC has none."""


@dataclass(frozen=True)
class Lock:
    """All stages of a lock, and the bytes from which they were read.

    Code is left out: the stage that writes the hashes of code, and the dependencies on them. The
    git revision identifies the code.
    """

    content: bytes
    stages: Mapping[str, LockedStage]

    @property
    def sha256(self) -> str:
        """Return the SHA-256 of the file."""
        return hashlib.sha256(self.content).hexdigest()

    @property
    def stages_sha256(self) -> str:
        """Return a SHA-256 of the stages, which does not change where only code is edited."""
        stages = {name: asdict(stage) for name, stage in self.stages.items()}
        return hashlib.sha256(json.dumps(stages, sort_keys=True).encode()).hexdigest()

    def outputs(self, stages: Sequence[str] | None = None) -> dict[str, str]:
        """Return DVC's hash, by path, of the outputs of these stages, or of all where ``stages`` is
        ``None``.

        The name ``gate`` also selects every ``gate@…``. Raise ``UserError`` for a stage that does
        not exist.
        """
        chosen = set(self.stages)
        if stages is not None:
            of_name = {
                wanted: {name for name in self.stages if wanted in (name, name.split("@")[0])}
                for wanted in stages
            }
            if unknown := [wanted for wanted, names in of_name.items() if not names]:
                raise UserError(
                    f"{LOCK} has no stage {unknown[0]!r}, it has {', '.join(self.stages)}"
                    f"{meant(unknown[0], self.stages) or ': run `echodistill run` first'}"
                )
            chosen = set().union(*of_name.values())
        return {
            path: md5
            for name, stage in self.stages.items()
            if name in chosen
            for path, md5 in stage.outs.items()
        }

    def stale(self) -> str | None:
        """Return a sentence about an input that has changed since a stage read it, or ``None``.

        Only inputs that are outputs of other stages are compared, by their hashes in the lock.
        """
        made = self.outputs()
        for name, stage in self.stages.items():
            for path, md5 in stage.deps.items():
                if made.get(path, md5) != md5:
                    return f"stage {name} read another {path} than there is now"
        return None


def read_lock(folder: Path) -> Lock:
    """Return the lock in ``folder``. Raise ``UserError`` where it is missing or does not have DVC's
    form.
    """
    path = folder / LOCK
    if not path.is_file():
        raise UserError(f"{path} is missing: run `echodistill run`")
    if _is_damaged(path):
        time.sleep(WRITTEN_S)
    return parse_lock(path.read_bytes(), str(path))


def parse_lock(content: bytes, name: str) -> Lock:
    """Return the lock with this content. Raise ``UserError`` that names ``name`` where it is not a
    lock.
    """
    try:
        lock = load_yaml(content)
        if not isinstance(lock, dict) or lock.get("schema") != SCHEMA:
            raise ValueError(f"no schema {SCHEMA}")
        stages = {name: _stage(entry) for name, entry in (lock.get("stages") or {}).items()}
        of_code = {name for name, stage in stages.items() if {*stage.outs} == {str(CODE)}}
        return Lock(content, {name: stages[name] for name in stages if name not in of_code})
    except (yaml.YAMLError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{name} is not a lock that DVC wrote ({type(error).__name__}): delete it and run"
            " `echodistill run`"
        ) from error


def _stage(entry: Mapping[str, Any]) -> LockedStage:
    """Return a stage from its entry.

    Raise ``KeyError``, ``TypeError`` or ``AttributeError`` where the entry does not have DVC's
    form.
    """
    command = entry["cmd"]
    params = entry.get("params", {})
    if not isinstance(command, str | list) or not isinstance(params, dict):
        raise TypeError("no command, or no parameters")
    return LockedStage(
        "; ".join(command) if isinstance(command, list) else command,
        {file: dict(values.items()) for file, values in params.items()},
        {path: md5 for path, md5 in _hashes(entry, "deps") if CODE not in Path(path).parents},
        dict(_hashes(entry, "outs")),
    )


def _hashes(entry: Mapping[str, Any], kind: str) -> list[tuple[str, str]]:
    return [(_path(row), str(row.get("md5", "unknown"))) for row in entry.get(kind, [])]


def _path(row: Mapping[str, Any]) -> str:
    path = row["path"]
    if not isinstance(path, str):
        raise TypeError("no path")
    return path


def set_damaged_aside(folder: Path) -> str | None:
    """Rename a lock that cannot be read, and return a sentence about it; ``None`` where the lock is
    fine.

    A process that was killed while DVC wrote the lock leaves such a file. Nothing is computed again
    for it, because the run cache has what every stage made.
    """
    path = folder / LOCK
    if not _is_damaged(path):
        return None
    time.sleep(WRITTEN_S)
    if not _is_damaged(path):
        return None
    damaged = path.with_name(f"{LOCK}.damaged")
    path.replace(damaged)
    return (
        f"{path} was damaged: it is {damaged.name} now, and what stages made comes from DVC's run"
        " cache"
    )


def _is_damaged(path: Path) -> bool:
    try:
        parse_lock(path.read_bytes(), str(path))
    except FileNotFoundError:
        return False
    except UserError:
        return True
    return False


def check_outputs(lock: Lock, parts: Sequence[Path]) -> None:
    """Raise ``UserError`` where an output in ``parts`` or below them is not what its stage made."""
    for path, md5 in lock.outputs().items():
        if any(Path(path).is_relative_to(part) for part in parts) and dvc_md5(Path(path)) != md5:
            raise UserError(
                f"{path} is not what its stage made: run `echodistill run`, which makes it again or"
                " takes it from DVC's cache"
            )

"""Hand a stage to another machine and take its result back. The two machines share only git and S3.

The other machine makes a clone at the same commit. It gets the parameters, ``dvc.yaml`` and
``dvc.lock`` as they are here, fetches from S3 the inputs that git does not track and no stage
makes, and gets all other inputs by ``dvc pull``. This machine gets the stage's entry for
``dvc.lock``, and its outputs by ``dvc pull``.
"""

import fcntl
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from echodistill.core.atomic import atomic_path
from echodistill.core.errors import UserError
from echodistill.core.yaml12 import dump_yaml, load_yaml
from echodistill.storage.client import Store
from echodistill.storage.dvc_hashes import objects_of
from echodistill.storage.objects import fetch, read_bytes
from echodistill.storage.objects import publish as publish_objects
from echodistill.storage.place import DVC as REMOTE
from echodistill.tracking.client import without_credentials
from flows.commands import DVC, output_of
from flows.dvc_repo import locked
from flows.graph import PIPELINE, Node, inputs_of_stage, note_code
from flows.remote import share_cache, use_remote
from flows.stage_process import run_command

CLONES = Path(".echodistill/remote")
REQUESTS = "stage-requests"


@dataclass(frozen=True)
class StageRequest:
    """Everything that another machine needs to run one stage."""

    stage: str
    needs: list[str]
    """Names of the stages whose outputs the stage reads."""
    force: bool
    timeout_s: float | None
    commit: str
    sources: list[str]
    """Git addresses that have the commit, the nearest first."""
    files: dict[str, str | None]
    """Text of each file that may differ from the commit: parameters, graphs and their locks. The
    text is ``None`` where the file does not exist.
    """
    inputs: dict[str, str]
    """DVC's hash of each input that git does not track and no stage makes, by its path in the
    repository.
    """


@dataclass(frozen=True)
class StageResult:
    """The result of a stage that another machine brought up to date."""

    stage: str
    decision: str
    seconds: float
    lock: dict[str, Any]
    """The stage's entry in ``dvc.lock``."""


def publish(store: Store, what: StageRequest | StageResult) -> str:
    """Publish a request or a result, and return its hash for the other machine."""
    content = json.dumps(asdict(what), sort_keys=True).encode()
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    return publish_objects(store.at(REQUESTS), "stage request", {md5: content})


def read_request(store: Store, md5: str) -> StageRequest:
    """Return the request with this hash that ``publish`` stored."""
    return StageRequest(**json.loads(read_bytes(store.at(REQUESTS), md5)))


def read_result(store: Store, md5: str) -> StageResult:
    """Return the result with this hash that ``publish`` stored."""
    return StageResult(**json.loads(read_bytes(store.at(REQUESTS), md5)))


def pack(
    store: Store,
    repository: Path,
    workspace: Path,
    node: Node,
    force: bool,
) -> StageRequest:
    """Return the request for a stage of ``workspace``, and publish the inputs that can travel in no
    other way.

    ``workspace`` is ``repository`` or a clone of it. Raise ``UserError`` where code is not
    committed, because a clone would lack it.
    """
    tracked, loose = inputs_of_stage(workspace, node.name)
    edited = (
        output_of("git", "diff", "--name-only", "HEAD", "--", *tracked, cwd=workspace).splitlines()
        if tracked
        else []
    )
    carried = _carried(workspace)
    if uncommitted := sorted(
        {*edited, *(path for path in loose if path.endswith(".py"))} - set(carried)
    ):
        raise UserError(
            f"{', '.join(uncommitted)}: commit this first, for {node.name} runs in a clone on"
            " another machine"
        )
    remote = store.at(REMOTE)
    inputs = {path: publish_objects(remote, path, objects_of(workspace / path)) for path in loose}
    with locked(workspace):
        files = {
            name: (workspace / name).read_text("utf-8") if (workspace / name).is_file() else None
            for name in carried
        }
    remotes = output_of("git", "remote", cwd=repository).splitlines()
    # The other machine uses its own git credentials.
    origin = (
        [without_credentials(output_of("git", "remote", "get-url", "origin", cwd=repository))]
        if "origin" in remotes
        else []
    )
    return StageRequest(
        node.name,
        list(node.needs),
        force,
        node.meta.timeout_s,
        output_of("git", "rev-parse", "HEAD", cwd=workspace),
        [str(repository.resolve()), *origin],
        files,
        inputs,
    )


@contextmanager
def unpacked(
    store: Store, base: Path, request: StageRequest, log: Callable[[str], None]
) -> Iterator[Path]:
    """Yield the clone in which a requested stage can run, with its inputs.

    ``base`` is the repository in which this machine's worker runs. A stage's clone is kept, so that
    a crashed stage can resume, and only one run at a time uses it. Raise ``UserError`` where no
    source has the commit.
    """
    clone = (base / CLONES / re.sub(r"\W+", "-", request.stage)).resolve()
    clone.parent.mkdir(parents=True, exist_ok=True)
    with clone.with_suffix(".lock").open("w") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log(f"waiting for another run of {request.stage} on this machine")
            fcntl.flock(held, fcntl.LOCK_EX)
        _check_out(clone, request)
        share_cache(base, clone)
        use_remote(clone, store.place)
        for name, text in request.files.items():
            if text is None:
                (clone / name).unlink(missing_ok=True)
            else:
                (clone / name).write_text(text, encoding="utf-8")
        for path, md5 in request.inputs.items():
            fetch(store.at(REMOTE), md5, clone / path)
        if request.needs:
            run_command(
                [*DVC, "--wait-for-lock", "pull", "--force", *request.needs],
                clone,
                {},
                lambda _line: None,
            )
        note_code(clone)
        yield clone


def _check_out(clone: Path, request: StageRequest) -> None:
    """Check out the request's commit in the clone, from the first address that has it.

    Raise ``UserError`` where no address has it.
    """
    if not (clone / ".git").is_dir():
        output_of("git", "init", "--quiet", str(clone), cwd=clone.parent)
    reasons = []
    for source in request.sources:
        try:
            output_of(
                "git",
                "fetch",
                "--quiet",
                source,
                "HEAD",
                "+refs/heads/*:refs/stage-request/*",
                cwd=clone,
            )
            output_of(
                "git", "checkout", "--quiet", "--force", "--detach", request.commit, cwd=clone
            )
            return
        except UserError as error:
            reasons.append(str(error))
    raise UserError(
        f"commit {request.commit} of stage {request.stage} is not to be had: push it. "
        + "; ".join(reasons)
    )


def _carried(workspace: Path) -> list[str]:
    """Return the paths of the files that may differ from the commit."""
    graphs = output_of("git", "ls-files", "dvc.yaml", "*/dvc.yaml", cwd=workspace).splitlines()
    return [
        "params.yaml",
        *(name for graph in graphs for name in (graph, graph.removesuffix("yaml") + "lock")),
    ]


def _place_in_lock(stage: str) -> tuple[str, str]:
    """Return the path of a stage's lock file in the repository, and the stage's name in it.

    ``stage`` is ``FOLDER/dvc.yaml:NAME``, or ``NAME``.
    """
    graph, _, name = stage.rpartition(":")
    return (graph or PIPELINE).removesuffix("yaml") + "lock", name


def lock_entry(workspace: Path, stage: str) -> dict[str, Any]:
    """Return a stage's entry in its lock file."""
    lock, name = _place_in_lock(stage)
    return dict(load_yaml((workspace / lock).read_text(encoding="utf-8"))["stages"][name])


def apply_result(workspace: Path, result: StageResult) -> None:
    """Enter the stage's entry in its lock file, then pull the outputs that the other machine made.

    Raise ``UserError`` where the inputs have changed here since.
    """
    lock, name = _place_in_lock(result.stage)
    path = workspace / lock
    with locked(workspace):
        known: dict[str, Any] = {"schema": "2.0"}
        if path.is_file():
            known = load_yaml(path.read_text(encoding="utf-8"))
        known.setdefault("stages", {})[name] = result.lock
        with atomic_path(path) as temporary:
            temporary.write_text(dump_yaml(known), encoding="utf-8")
    run_command(
        [*DVC, "--wait-for-lock", "pull", "--force", result.stage],
        workspace,
        {},
        lambda _line: None,
    )
    output = output_of(
        *DVC, "--wait-for-lock", "repro", "--dry", "--single-item", result.stage, cwd=workspace
    )
    if "didn't change" not in output:
        raise UserError(
            f"{result.stage} was made on another machine from other inputs than are here now: run"
            " it again"
        )

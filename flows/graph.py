"""Read DVC's graph.

``dvc.yaml`` is the only description of the graph: these flows name no stage but ``code``.
"""

import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from echodistill.core.errors import UserError
from echodistill.core.similar import meant
from echodistill.evaluating import check_evaluation
from echodistill.import_graph import closure
from echodistill.params.whole import load_params
from flows.dvc_repo import locked
from flows.run_cache import CLEARED
from flows.stage_process import StageCrashed, StageRefused, run_command

MODULE = re.compile(r"python -m (echodistill\.stages\.\w+)")
UNCHANGED = re.compile(r"^Stage '(?P<name>[^']+)' (?P<reason>didn't change, skipping)")
PIPELINE = "dvc.yaml"
CODE = "code"
"""Name of the stage that writes the hash of every other stage's code. It runs before all tasks and
is not a task itself.
"""
EVALUATION = "evaluation/dvc.yaml"
"""Path of the graph that replaces ``PIPELINE`` where the corpus is used for testing only."""
# ``-P`` keeps this folder out of the module path: a workspace's own code must be found first.
REPRO = (sys.executable, "-P", str(Path(__file__).with_name("repro.py")))
META_KEYS = {"pool", "retries", "timeout_s", "concurrency"}


@dataclass(frozen=True)
class Meta:
    """A stage's ``meta:`` block in ``dvc.yaml``, with the facts that an orchestrator needs."""

    pool: str = "cpu"
    """Name of the work pool in which the stage runs."""
    retries: int = 0
    """Number of times that the stage is started again after a crash. A stage that refused its input
    is never started again.
    """
    timeout_s: float | None = None
    concurrency: int = 1
    """Number of stages of this pool that may run at the same time on one machine."""

    @classmethod
    def of(cls, stage: str, block: dict[str, Any] | None) -> "Meta":
        """Return the ``Meta`` of a ``meta:`` block.

        Raise ``UserError`` that names the stage and its unknown keys where the block has any.
        """
        if unknown := set(block or {}) - META_KEYS:
            raise UserError(
                f"dvc.yaml: meta of stage {stage} has unknown keys {sorted(unknown)}; known:"
                f" {sorted(META_KEYS)}"
            )
        return cls(**(block or {}))


@dataclass(frozen=True)
class Node:
    """One stage of the graph."""

    name: str
    needs: tuple[str, ...]
    """Names of the stages whose outputs this stage reads."""
    meta: Meta


def whole_graph(workspace: Path) -> str:
    """Return the path of the graph that a run brings up to date where no target is named.

    Raise ``UserError`` where the corpus is used for testing only and the parameters name no model
    to evaluate, and where the clips lack what the method needs.
    """
    from echodistill.method_data import check_method_data

    params = load_params(workspace / "params.yaml")
    if not params.corpus.is_test_only:
        check_method_data(params, workspace)
        return PIPELINE
    check_evaluation(params)
    return EVALUATION


def read_graph(workspace: Path, target: str | None = None, pipeline: str = PIPELINE) -> list[Node]:
    """Return the stages that lead to ``target``, or to every stage of the file ``pipeline`` where
    it is ``None``.

    Each stage comes after the stages that it needs. Raise ``UserError`` where the graph has no
    stage ``target``.
    """
    import networkx

    with locked(workspace) as repo:
        graph = repo.index.graph
        by_name = {_name(stage): stage for stage in graph if _is_task(stage)}
        if target is not None and target not in by_name:
            raise UserError(
                f"dvc.yaml has no stage {target!r}; it has {', '.join(sorted(by_name))}"
                f"{meant(target, by_name)}"
            )
        wanted = [by_name[target]] if target else None
        # Edges lead from a stage to the stages that it needs, so post-order puts those first.
        starts = wanted or [
            by_name[name] for name in sorted(by_name) if by_name[name].path_in_repo == pipeline
        ]
        order: list[Any] = []
        for start in starts:
            order += [
                stage
                for stage in networkx.dfs_postorder_nodes(graph, start)
                if _is_task(stage) and stage not in order
            ]
        return [
            Node(
                _name(stage),
                tuple(sorted(_name(each) for each in graph.successors(stage) if _is_task(each))),
                Meta.of(_name(stage), stage.meta),
            )
            for stage in order
        ]


def _is_task(stage: Any) -> bool:
    """Return whether a stage is a task of its own: all stages with a command but ``CODE`` are."""
    return bool(stage.cmd) and _name(stage) != CODE


def note_code(workspace: Path) -> None:
    """Run the stage ``CODE`` where the graph has it.

    DVC compares the other stages with the hashes that it writes. Raise ``UserError`` with the
    reason where the stage fails.
    """
    with locked(workspace) as repo:
        if CODE not in {_name(stage) for stage in repo.index.stages if stage.cmd}:
            return
    try:
        run_command([*REPRO, "--single-item", CODE], workspace, {}, lambda _line: None)
    except (StageRefused, StageCrashed) as error:
        raise UserError(f"stage {CODE} failed: {error}") from error


def _name(stage: Any) -> str:
    """Return a stage's name as ``dvc repro`` takes it in the repository's root.

    The name does not depend on this process's working directory.
    """
    return stage.name if stage.path_in_repo == PIPELINE else f"{stage.path_in_repo}:{stage.name}"


def inputs_of_graph(workspace: Path) -> list[Path]:
    """Return the sorted absolute paths of dependencies that no stage makes and git does not
    track.
    """
    tracked = {str(workspace.resolve() / name) for name in _tracked(workspace)}
    return sorted(Path(path) for path in _external_inputs(workspace, None) - tracked)


def inputs_of_stage(workspace: Path, stage: str) -> tuple[list[str], list[str]]:
    """Return the existing inputs of a stage that no stage makes: those that git tracks, and the
    others.

    Paths are relative to the repository. Raise ``UserError`` for an input outside the repository,
    because another machine does not have it.
    """
    inside = []
    for path in sorted(_external_inputs(workspace, stage)):
        if not Path(path).is_relative_to(workspace.resolve()):
            raise UserError(
                f"{stage} reads {path}, outside the repository: other machines do not have it."
                " Copy or link it in"
            )
        inside.append(Path(path).relative_to(workspace.resolve()).as_posix())
    held = _tracked(workspace)
    existing = [path for path in inside if (workspace / path).exists()]
    known = [path for path in existing if all(name in held for name in _files(workspace, path))]
    return known, [path for path in existing if path not in known]


def _files(workspace: Path, path: str) -> list[str]:
    """Return the path itself, or the paths of all files below it where it is a folder."""
    whole = workspace / path
    return (
        [each.relative_to(workspace).as_posix() for each in whole.rglob("*") if each.is_file()]
        if whole.is_dir()
        else [path]
    )


def _external_inputs(workspace: Path, stage: str | None) -> set[str]:
    """Return the absolute paths that a stage depends on and that are not part of any stage's
    outputs.

    Where ``stage`` is ``None``, return those of all stages.
    """
    with locked(workspace) as repo:
        made = {out.fs_path for each in repo.index.stages for out in each.outs}
        stages = [
            each
            for each in repo.index.stages
            if stage is None or (each.cmd and _name(each) == stage)
        ]
        read = {dep.fs_path for each in stages for dep in each.deps if dep.protocol == "local"}
        modules = {match[1] for each in stages if (match := MODULE.search(each.cmd or ""))}
    if stage is not None:  # The graph has code as a hash alone, so the modules are added here.
        code = {name for module in modules for name in closure(module)}
        read |= {str(workspace.resolve() / name) for name in code}
    return {
        path for path in read if not any(path == out or path.startswith(f"{out}/") for out in made)
    }


def _tracked(workspace: Path) -> set[str]:
    asked = subprocess.run(
        ["git", "ls-files", "-z"], cwd=workspace, capture_output=True, text=True, check=True
    )
    return {name for name in asked.stdout.split("\0") if name}


def unchanged(workspace: Path, nodes: Sequence[Node], pipeline: str = PIPELINE) -> dict[str, str]:
    """Return DVC's reason for each stage among ``nodes`` that has nothing to do.

    One dry run is much cheaper than one for each stage. A dry run compares each stage with the
    files as they are now, so a stage that needs a stage that will run is never reported as
    unchanged.
    """
    asked = subprocess.run(
        [*REPRO, "--dry", pipeline], cwd=workspace, capture_output=True, text=True, check=False
    )
    for line in asked.stdout.splitlines():
        if CLEARED.search(line):
            print(line, flush=True)
    found = (UNCHANGED.match(line) for line in asked.stdout.splitlines())
    reasons = (
        {match["name"]: match["reason"] for match in found if match}
        if asked.returncode == 0
        else {}
    )
    known: dict[str, str] = {}
    for node in nodes:  # Each node comes after the nodes that it needs.
        if node.name in reasons and known.keys() >= set(node.needs):
            known[node.name] = reasons[node.name]
    return known

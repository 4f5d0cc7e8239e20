"""Reads DVC's graph. ``dvc.yaml`` is its only description: no stage but ``code`` is named in these
flows.
"""

import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from echodistill.core.errors import UserError
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
"""The stage that notes the hash of the code of all others. It runs before them, as no task."""
EVALUATION = "evaluation/dvc.yaml"
"""In place of ``PIPELINE`` where the corpus is a test alone."""
# without its folder in the path: a workspace's own code comes first there
REPRO = (sys.executable, "-P", str(Path(__file__).with_name("repro.py")))
META_KEYS = {"pool", "retries", "timeout_s", "concurrency"}


@dataclass(frozen=True)
class Meta:
    """What an orchestrator needs to know of a stage; its ``meta:`` block in ``dvc.yaml``."""

    pool: str = "cpu"
    """Work pool it wants to run in."""
    retries: int = 0
    """How often it is started again after a crash; never after it refused its input."""
    timeout_s: float | None = None
    concurrency: int = 1
    """How many stages of its pool may run side by side on one machine."""

    @classmethod
    def of(cls, stage: str, block: dict[str, Any] | None) -> "Meta":
        """Raises ``UserError`` naming the stage and an unknown key."""
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
    """Stages whose outputs it reads."""
    meta: Meta


def whole_graph(workspace: Path) -> str:
    """Return the file of the graph that a run brings up where no target is named.

    Raises ``UserError`` where the corpus is a test alone, and the parameters name no model to
    evaluate on it.
    """
    params = load_params(workspace / "params.yaml")
    if not params.corpus.is_test_alone:
        return PIPELINE
    check_evaluation(params)
    return EVALUATION


def read_graph(workspace: Path, target: str | None = None, pipeline: str = PIPELINE) -> list[Node]:
    """The stages that lead to ``target``, or to all of the file ``pipeline``, each behind those it
    needs. Raises ``UserError``.
    """
    import networkx

    with locked(workspace) as repo:
        graph = repo.index.graph
        by_name = {_name(stage): stage for stage in graph if _is_task(stage)}
        if target is not None and target not in by_name:
            raise UserError(
                f"dvc.yaml has no stage {target!r}; it has {', '.join(sorted(by_name))}"
            )
        wanted = [by_name[target]] if target else None
        # edges lead from a stage to what it needs, so post-order puts those first
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
    """Return whether a stage is brought up to date by itself, as all but ``CODE`` are."""
    return bool(stage.cmd) and _name(stage) != CODE


def note_code(workspace: Path) -> None:
    """Run the stage ``CODE`` where the graph has it: other stages are compared with what it notes.

    Raises ``UserError`` with the reason where that fails.
    """
    with locked(workspace) as repo:
        if CODE not in {_name(stage) for stage in repo.index.stages if stage.cmd}:
            return
    try:
        run_command([*REPRO, "--single-item", CODE], workspace, {}, lambda _line: None)
    except (StageRefused, StageCrashed) as error:
        raise UserError(f"stage {CODE} failed: {error}") from error


def _name(stage: Any) -> str:
    """As ``dvc repro`` takes it in the repository's root, wherever this process works."""
    return stage.name if stage.path_in_repo == PIPELINE else f"{stage.path_in_repo}:{stage.name}"


def inputs_of_graph(workspace: Path) -> list[Path]:
    """What the graph reads and git does not hold: absolute paths of dependencies that no stage
    makes and no commit tracks.
    """
    tracked = {str(workspace.resolve() / name) for name in _tracked(workspace)}
    return sorted(Path(path) for path in _made_by_no_stage(workspace, None) - tracked)


def inputs_of_stage(workspace: Path, stage: str) -> tuple[list[str], list[str]]:
    """What a stage reads and no stage makes, as paths in the repository: those that git holds, and
    the others that exist.

    Raises ``UserError`` for one outside the repository, which another machine has not got.
    """
    inside = []
    for path in sorted(_made_by_no_stage(workspace, stage)):
        if not Path(path).is_relative_to(workspace.resolve()):
            raise UserError(
                f"{stage} reads {path}, outside the repository: another machine has not got that."
                " Copy or link it in"
            )
        inside.append(Path(path).relative_to(workspace.resolve()).as_posix())
    held = _tracked(workspace)
    there = [path for path in inside if (workspace / path).exists()]
    known = [path for path in there if all(name in held for name in _files(workspace, path))]
    return known, [path for path in there if path not in known]


def _files(workspace: Path, path: str) -> list[str]:
    """The file itself, or all files below a folder."""
    whole = workspace / path
    return (
        [each.relative_to(workspace).as_posix() for each in whole.rglob("*") if each.is_file()]
        if whole.is_dir()
        else [path]
    )


def _made_by_no_stage(workspace: Path, stage: str | None) -> set[str]:
    """Absolute paths that a stage (any when ``None``) depends on and that are no part of any
    stage's outputs.
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
    if stage is not None:  # code, which the graph has as a hash alone
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
    """Stages among ``nodes`` that have nothing to do, with DVC's reason. One dry run is much
    cheaper than asking stage by stage.

    A dry run holds each stage against what is on disk now: behind a stage that will run, nothing is
    known to be unchanged.
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
    for node in nodes:  # each stands behind those it needs
        if node.name in reasons and known.keys() >= set(node.needs):
            known[node.name] = reasons[node.name]
    return known

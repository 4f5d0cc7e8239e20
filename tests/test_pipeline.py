"""dvc.yaml against the code: declared imports, gates before every use, parameters, what an edit
runs again.
"""

import ast
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from echodistill.code_hash import STAGES, files_with_effect, stage_modules
from echodistill.gates.next_step import next_step
from echodistill.import_graph import ROOT, closure
from echodistill.stage_inputs import FOLDERS, watched_folders
from flows.graph import read_graph
from tests.stage_params import declared

FOR_PEOPLE = ("reports/accuracy_by_snr", "reports/model_card.md")
"""No stage builds on these."""
PATHS = re.compile(r"\$\{(paths\.\w+|corpus\.path|corpus\.test\.path|mixes\.recordings)\}")


@cache
def stages() -> dict[str, dict[str, Any]]:
    """Every stage but ``code`` with templates filled in, ``foreach`` stages one by one."""
    document = yaml.safe_load((ROOT / "dvc.yaml").read_text())
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    values = {f"paths.{name}": path for name, path in document["vars"][0]["paths"].items()}
    corpus, mixes = params["corpus"], params["mixes"]
    values |= {
        "corpus.path": corpus["path"],
        "corpus.test.path": corpus["test"]["path"],
        "mixes.recordings": mixes["recordings"],
        "train.method": "${train.method}",  # each of them is meant
        "train.accelerator": "${train.accelerator}",
    }

    def fill(node: Any, more: dict[str, str]) -> Any:
        if isinstance(node, dict):
            return {fill(key, more): fill(value, more) for key, value in node.items()}
        if isinstance(node, list):
            return [fill(value, more) for value in node]
        if not isinstance(node, str):
            return node
        return re.sub(r"\$\{([\w.]+)\}", lambda match: ({**values, **more})[match.group(1)], node)

    found = {}
    for name, stage in document["stages"].items():
        if name == "code":
            continue
        if "foreach" not in stage:
            found[name] = fill(stage, {})
            continue
        for key, item in stage["foreach"].items():
            item_values = {"key": key} | {
                f"item.{field}": fill(value, {}) for field, value in item.items()
            }
            found[f"{name}@{key}"] = fill(stage["do"], item_values)
    return found


def outs_of(stage: dict[str, Any]) -> list[str]:
    entries = [*stage.get("outs", []), *stage.get("metrics", []), *stage.get("plots", [])]
    return [next(iter(entry)) if isinstance(entry, dict) else entry for entry in entries]


def module_of(name: str) -> str:
    return name.split("@")[0]


def gate_of(artifact: str) -> str | None:
    """The gate that judges an artifact, by what its command names."""
    for name, stage in stages().items():
        if name.startswith("gate@") and stage["cmd"].split()[6] == artifact:
            return name
    return None


def upstream(name: str) -> set[str]:
    """All stages that must have run before a stage."""
    deps = stages()[name]["deps"]
    direct = {
        other
        for other, stage in stages().items()
        for out in outs_of(stage)
        if any(d == out or d.startswith(out + "/") for d in deps)
    }
    return direct.union(*(upstream(other) for other in direct))


@pytest.mark.parametrize("name", stages())
def test_a_stage_depends_on_the_hash_of_its_own_code_and_on_no_file_of_it(name: str) -> None:
    deps = stages()[name]["deps"]
    of_code = [dep for dep in deps if dep.startswith("build/") or dep.endswith(".py")]
    of_choice = [
        "build/code/methods/${train.method}.sha256",
        "build/code/accelerators/${train.accelerator}.json",
    ]
    own = f"build/code/{module_of(name)}.sha256"
    assert of_code == [own, *(of_choice if name == "train" else [])]


def test_the_closure_finds_imports_inside_functions(tmp_path: Path) -> None:
    assert "echodistill/reports/table.py" in closure("echodistill.cli")
    assert "echodistill/data/espeak_process.py" in closure("echodistill.stages.corpus")


@pytest.mark.parametrize("name", [name for name in stages() if not name.startswith("gate@")])
def test_every_artifact_has_a_gate(name: str) -> None:
    ungated = [
        out
        for out in outs_of(stages()[name])
        if gate_of(out) is None and not out.startswith(FOR_PEOPLE)
    ]
    assert not ungated, f"{ungated} of stage {name} has no gate in dvc.yaml"


@pytest.mark.parametrize("name", [name for name in stages() if not name.startswith("gate@")])
def test_whoever_uses_an_artifact_waits_for_its_verdict(name: str) -> None:
    deps = stages()[name]["deps"]
    made = [
        out
        for stage, spec in stages().items()
        if not stage.startswith("gate@")
        for out in outs_of(spec)
    ]
    for artifact in made:
        used = any(dep == artifact or dep.startswith(artifact + "/") for dep in deps)
        if used and (gate := gate_of(artifact)):
            assert gate in upstream(name), f"{name} uses {artifact} without depending on {gate}"


@pytest.mark.parametrize("name", stages())
def test_a_stage_declares_exactly_the_parameters_it_reads(name: str) -> None:
    source = (ROOT / f"echodistill/stages/{module_of(name)}.py").read_text()
    calls = [
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "run_stage"
    ]
    (sections,) = [keyword.value for keyword in calls[0].keywords if keyword.arg == "sections"]
    assert sorted(stages()[name]["params"]) == declared(ast.literal_eval(sections))


def test_a_stage_watches_the_folders_it_depends_on_and_no_others() -> None:
    """While it runs it holds them against what they were at its start (``stage_inputs.py``)."""
    for graph in ("dvc.yaml", "comparison/dvc.yaml", "evaluation/dvc.yaml"):
        for name, stage in yaml.safe_load((ROOT / graph).read_text())["stages"].items():
            entry = stage.get("do", stage)
            # with the shell between them a stage would outlive a killed DVC
            assert entry["cmd"].startswith("exec python -m echodistill.stages."), name
            if name == "code":
                continue
            source = (
                ROOT / f"echodistill/stages/{entry['cmd'].split()[3].rpartition('.')[2]}.py"
            ).read_text()
            nodes = ast.walk(ast.parse(source))
            (call,) = [
                node
                for node in nodes
                if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "run_stage"
            ]
            given = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}
            assert sorted(entry["params"]) == declared(given["sections"]), name
            of_the_user = {key for key in FOLDERS if f"${{{key}}}" in entry["deps"]}
            watched = (
                set(watched_folders(given["sections"]))
                if given.get("reads_folders", True)
                else set()
            )
            # a stage that is given mixes holds each recording that it reads against its hash in
            # their noise.json
            verified = set() if "mixes" in given["sections"] else {"mixes.recordings"}
            # the report draws some examples and is done in seconds: it does without
            assert watched == (set() if name == "report" else of_the_user - verified), name


def test_where_work_is_computed_makes_no_stage_run_again() -> None:
    """``workers.address`` changes no byte: DVC watches it for nobody, and only the stages that map
    over workers are given it.
    """
    watched = {param.split(".")[0] for stage in stages().values() for param in stage["params"]}
    assert "workers" not in watched
    given = set()
    for path in (ROOT / "echodistill/stages").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "run_stage":
                given |= {
                    path.stem
                    for keyword in node.keywords
                    if keyword.arg == "on_workers" and ast.literal_eval(keyword.value)
                }
        if path.stem != "entry":
            assert "params.workers" not in path.read_text(), path
    assert given == {"corpus", "mixes"}


@pytest.mark.parametrize("name", stages())
def test_paths_in_the_command_are_dependencies_or_outs(name: str) -> None:
    stage = stages()[name]
    paths = [word for word in stage["cmd"].split()[4:] if "/" in word]
    assert set(paths) <= {*stage["deps"], *outs_of(stage)}


@pytest.mark.parametrize("name", [name for name in stages() if name.startswith("gate@")])
def test_a_failed_gate_names_the_stage_that_makes_its_artifact(name: str) -> None:
    artifact = name.partition("@")[2]
    command = re.search(r"`(?:dvc repro --force|echodistill run) (\S+)", next_step(artifact))
    assert command
    assert any(
        dep == out or dep.startswith(out + "/")
        for dep in stages()[name]["deps"]
        for out in outs_of(stages()[command[1].rstrip("`")])
    )


def hashes_with(edited: str) -> set[str]:
    """The code hashes that a file is part of."""
    return {
        f"build/code/{name}.sha256"
        for name in stage_modules()
        if edited in files_with_effect(f"{STAGES}.{name}")
    }


def reruns(edited: str) -> set[str]:
    """Stages that run again when a file is edited, if each of them gave other bytes."""
    stale: set[str] = set()
    changed = hashes_with(edited)
    while True:
        more = {
            name
            for name, stage in stages().items()
            if name not in stale
            and any(dep == c or dep.startswith(c + "/") for dep in stage["deps"] for c in changed)
        }
        if not more:
            return stale
        stale |= more
        changed |= {out for name in more for out in outs_of(stages()[name])}


def test_touching_the_plots_retrains_nothing() -> None:
    stale = reruns("echodistill/reports/curves.py")
    assert "evaluate" in stale
    assert not stale & {
        "corpus",
        "mixes",
        "base",
        "references",
        "train",
        "predict@base",
        "predict@student",
    }


def test_touching_the_mixing_runs_the_mixes_but_not_the_base() -> None:
    hashes = hashes_with("echodistill/audio/mixing.py")
    directly = {name for name, stage in stages().items() if hashes & {*stage["deps"]}}
    assert {"mixes", "train", "predict@base"} <= directly
    assert not directly & {"corpus", "base", "references", "evaluate", "promote"}


def test_the_method_is_read_by_training_only() -> None:
    readers = {
        name
        for name, stage in stages().items()
        if name != "code" and any(p in ("train", "train.method") for p in stage["params"])
    }
    assert readers == {"train"}


def test_comparison_parameters_are_read_by_what_compares_only() -> None:
    assert {name for name, stage in stages().items() if "evaluate" in stage["params"]} == {
        "evaluate",
        "promote",
    }


def test_the_decision_reads_nothing_of_the_test() -> None:
    """What is reported and what is decided on are different clips: no figure and no answer of the
    test may reach the decision.
    """
    of_test = {"data/answers/base.parquet", "data/answers/student.parquet", "reports/metrics.json"}
    assert of_test <= {out for stage in stages().values() for out in outs_of(stage)}
    for name in ("promote", "gate@promotion"):
        assert not of_test & {
            path
            for each in (name, *upstream(name))
            for path in (*outs_of(stages()[each]), *stages()[each]["deps"])
        }


def test_what_is_handed_to_another_machine_needs_the_champion() -> None:
    (node,) = (each for each in read_graph(ROOT) if each.name == "predict_champion")
    assert node.meta.pool == "gpu"
    assert {"champion", "gate@champion", "corpus", "mixes"} <= set(node.needs)

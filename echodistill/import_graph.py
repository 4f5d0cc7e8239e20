"""Which source files a stage is made of, found by walking its imports: what its ``deps`` in
dvc.yaml must list.

``module_lists.py`` writes them there. What a killed stage kept is only taken up again by the same
code.
"""

import ast
import hashlib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = "echodistill"
# started as a separate process, so no import shows it
STARTED_BY = {"echodistill/datasets/builtin.py": ["echodistill/datasets/espeak_process.py"]}


def _file_of(module: str) -> Path | None:
    path = ROOT / Path(*module.split("."))
    if path.with_suffix(".py").is_file():
        return path.with_suffix(".py")
    return path / "__init__.py" if (path / "__init__.py").is_file() else None


def imports_of(path: Path) -> set[str]:
    """Modules of the package that a file imports anywhere, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.split(".")[0] == PACKAGE and _file_of(name) is not None}


def closure(module: str) -> list[str]:
    """Files a module needs, itself included, as paths from the root, sorted. Empty ``__init__.py``
    files are left out.
    """
    files: set[str] = set()
    waiting = [module]
    while waiting:
        path = _file_of(waiting.pop())
        assert path is not None
        name = path.relative_to(ROOT).as_posix()
        if name in files or path.stat().st_size == 0:
            continue
        files |= {name, *STARTED_BY.get(name, [])}
        waiting += imports_of(path)
    return sorted(files)


def code_hash(module: str) -> str:
    """sha256 over the files a module is made of."""
    digest = hashlib.sha256()
    for name in closure(module):
        digest.update(name.encode() + b"\0" + hashlib.sha256((ROOT / name).read_bytes()).digest())
    return digest.hexdigest()

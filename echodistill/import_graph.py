"""Find the source files of which a module consists, by following its imports."""

import ast
import os.path
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = "echodistill"
# These files are started as separate processes, so no import shows them.
STARTED_BY = {"echodistill/data/builtin.py": ["echodistill/data/espeak_process.py"]}


def file_of(module: str) -> Path | None:
    """Return the file of a module or package, or ``None`` where the name is neither."""
    stem = os.path.join(ROOT, *module.split("."))
    # Text instead of paths: the stage ``code`` asks twenty thousand times.
    candidates = (f"{stem}.py", os.path.join(stem, "__init__.py"))
    return next((Path(name) for name in candidates if os.path.isfile(name)), None)


def syntax_tree(path: Path) -> ast.Module:
    """Return the syntax tree of a file. It is parsed once for each state of the file."""
    facts = path.stat()
    return _parsed(path, facts.st_mtime_ns, facts.st_size)


@cache
def _parsed(path: Path, _mtime_ns: int, _size: int) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports_of(path: Path) -> set[str]:
    """Return the modules of the package that a file imports anywhere, also inside functions."""
    return {name for name in _named_in(syntax_tree(path)) if file_of(name) is not None}


@cache  # A tree is walked once for each state of its file.
def _named_in(tree: ast.Module) -> frozenset[str]:
    """Return the names of the package that a tree imports: modules, and what is in them."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(name for name in found if name.split(".")[0] == PACKAGE)


def closure(*modules: str, without: tuple[str, ...] = ()) -> list[str]:
    """Return the files that some modules need, themselves included, as sorted paths from the root.

    Files whose paths begin with one of ``without`` are left out, and so are files that only they
    need.
    """
    files: set[str] = set()
    waiting = [*modules]
    while waiting:
        path = file_of(waiting.pop())
        assert path is not None
        name = path.relative_to(ROOT).as_posix()
        if name in files or name.startswith(without):
            continue
        files |= {name, *STARTED_BY.get(name, [])}
        waiting += imports_of(path)
    return sorted(files)

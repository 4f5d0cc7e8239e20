"""Compute the hash of the code of which a stage consists.

DVC compares the hash in place of file lists, and code that resumes a killed run compares it too.
The hash is computed from the syntax trees of all modules that the stage imports, without
docstrings. Comments, docstrings and line breaks therefore do not change it. It is the same in all
supported versions of Python.
"""

import ast
import hashlib
from functools import cache
from pathlib import Path

from echodistill.core.errors import UserError
from echodistill.import_graph import PACKAGE, ROOT, closure, file_of, syntax_tree

FOLDER = Path("build/code")
"""Folder to which the stage ``code`` writes the hash of every stage."""
STAGES, METHODS = f"{PACKAGE}.stages", f"{PACKAGE}.methods"
ACCELERATORS = f"{PACKAGE}.training.accelerators"
NO_EFFECT = {
    "echodistill/import_graph.py": "finds the files that are hashed",
    "echodistill/code_hash.py": "hashes them",
    "echodistill/core/errors.py": "names a fault: the stage that meets one writes nothing",
    "echodistill/core/extras.py": "states which package is missing",
    "echodistill/params/whole.py": "refuses bad parameters; a stage's own sections are hashed",
    "echodistill/params/faults.py": "states what is wrong with a parameter",
    "echodistill/params/methods.py": "refuses bad settings; DVC compares the chosen ones",
    "echodistill/accelerator_settings.py": "states what DVC compares of an accelerator",
    "echodistill/params/accelerators.py": "refuses bad settings; DVC compares the chosen ones",
    "echodistill/core/atomic.py": "writes the bytes that it is given, or raises",
    "echodistill/core/lifetime.py": "ends a process with its parent",
    "echodistill/run_lock.py": "keeps two runs from the same folder",
    "echodistill/stage_inputs.py": "compares inputs at the end with those at the start, or raises",
    "echodistill/core/progress.py": "draws progress bars and yields items unchanged",
    "echodistill/training/bar.py": "draws the progress bar of a training",
    "echodistill/core/terminal.py": "prepares standard output",
    "echodistill/storage/": "moves bytes that are verified by their hash on arrival",
    "echodistill/training/checkpoint_uploader.py": "sends copies of checkpoints",
    "echodistill/tracking/client.py": "reports figures to MLflow",
    "echodistill/tracking/local_store.py": "finds MLflow's database",
    "echodistill/revision.py": "records in MLflow which commit ran",
}
"""Files or folders of modules that cannot change a byte of a stage's outputs, with the reason."""


def stage_modules() -> list[str]:
    """Return the names of the modules that are stages of a graph, without ``code``."""
    run = 'if __name__ == "__main__":'
    paths = sorted((ROOT / PACKAGE / "stages").glob("*.py"))
    return [p.stem for p in paths if p.stem != "code" and run in p.read_text(encoding="utf-8")]


def code_hash(*modules: str) -> str:
    """Return the SHA-256 (hex) of the code of ``modules`` that has an effect on outputs."""
    digest = hashlib.sha256()
    for name in sorted({name for module in modules for name in files_with_effect(module)}):
        if sha256 := file_hash(ROOT / name):
            digest.update(f"{name}\0{sha256}\n".encode())
    return digest.hexdigest()


def files_with_effect(module: str) -> list[str]:
    """Return the files from which a module's hash is computed.

    They are all files that ``module`` imports. For a stage, they also are the modules of the
    sections of ``params.yaml`` that it gets, and the reader of that file.
    """
    sections = {section.partition(".")[0] for section in sections_of(module)}
    values = [f"{PACKAGE}.params.{section}" for section in sorted(sections - {"seed"})]
    values += [f"{PACKAGE}.core.yaml12"] if sections else []
    return closure(module, *values, without=tuple(NO_EFFECT))


def sections_of(module: str) -> tuple[str, ...]:
    """Return the ``sections`` that a module passes to ``run_stage``; empty where it is not a
    stage.
    """
    path = file_of(module)
    for node in ast.walk(syntax_tree(path)) if path else ():
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "run_stage":
            given = {keyword.arg: keyword.value for keyword in node.keywords}
            return tuple(ast.literal_eval(given["sections"]))
    return ()


def file_hash(path: Path) -> str:
    """Return the SHA-256 (hex) of a file's code; empty where it has only a docstring."""
    return _hash_of(syntax_tree(path))


@cache  # A tree is parsed once for each state of its file.
def _hash_of(tree: ast.Module) -> str:
    code = normalised(tree)
    return hashlib.sha256(code.encode()).hexdigest() if code else ""


def normalised(tree: ast.Module) -> str:
    """Return the syntax tree as text, without docstrings; empty where it has nothing else."""
    return "\n".join(_text(each) for each in tree.body if not _is_docstring(each))


def _text(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_text(each) for each in value if not _is_docstring(each))}]"
    if not isinstance(value, ast.AST):
        return f"{type(value).__name__} {value!a}"
    # Fields without a value differ between versions of Python, as does the prefix of a text.
    fields = [(name, each) for name, each in ast.iter_fields(value) if name != "kind"]
    shown = (f"{name}={_text(each)}" for name, each in fields if each is not None and each != [])
    return f"{type(value).__name__}({', '.join(shown)})"


def _is_docstring(node: object) -> bool:
    """Return whether a node is a text as a statement: the docstring of a module, class, function or
    name.
    """
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def hash_file_of(module: str) -> Path:
    """Return the path of the file with the hash of a stage's module or a method's, which the stage
    ``code`` writes.
    """
    package, name = module.rsplit(".", 1)
    return FOLDER / ("methods" if package == METHODS else "") / f"{name}.sha256"


def check_fresh(*modules: str) -> None:
    """Raise ``UserError`` where the hash that the stage ``code`` wrote for a module is outdated.

    DVC would record the output under the outdated hash. A module without such a file belongs to no
    graph.
    """
    for module in modules:
        file = hash_file_of(module)
        if file.is_file():  # A module of no graph has no such file, and needs no hash.
            check_hash_file(file, code_hash(module))


def check_hash_file(file: Path, text: str) -> None:
    """Raise ``UserError`` where the file that the stage ``code`` wrote has another content than
    ``text``.
    """
    if file.is_file() and file.read_text(encoding="utf-8").strip() != text:
        raise UserError(
            f"{file} is not the hash of the code as it is now: run `dvc repro code`, and then this"
            " stage again"
        )

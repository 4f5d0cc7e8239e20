"""Read what each key of ``params.yaml`` means: the docstrings below the fields of the schema."""

import ast
import inspect
import textwrap

from pydantic import BaseModel


def meanings_of(section: type[BaseModel]) -> dict[str, str]:
    """Return the docstring below each field of ``section``, by name, as one line of Markdown."""
    found: dict[str, str] = {}
    for part in reversed(section.__mro__):
        if issubclass(part, BaseModel) and part is not BaseModel:
            found |= _docstrings(part)
    return found


def _docstrings(part: type[BaseModel]) -> dict[str, str]:
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(part))).body
    assert isinstance(tree, ast.ClassDef)
    found = {}
    for node, after in zip(tree.body, tree.body[1:], strict=False):
        if not (isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)):
            continue
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            found[node.target.id] = one_line(str(after.value.value))
    return found


def one_line(docstring: str) -> str:
    """Return a docstring as one line of Markdown."""
    return " ".join(docstring.replace("``", "`").replace("`None`", "`null`").split())

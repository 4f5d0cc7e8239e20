"""Write what DVC cannot see into every ``dvc.yaml``: the modules each stage is made of.
``make deps`` runs it.

A stage's ``deps`` are one list over several lines, its data first; the modules behind it are
written anew, all else stays as it is.
"""

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from textwrap import TextWrapper

import yaml

from echodistill.atomic import atomic_path
from echodistill.errors import UserError
from echodistill.import_graph import ROOT, closure

COMMAND = re.compile(r"python -m (?P<module>echodistill\.stages\.\w+)")
DEPS = re.compile(r"^(?P<indent> +)deps:\n +\[(?P<items>.*?)\]\n", re.MULTILINE | re.DOTALL)
WIDTH = 100


def with_module_lists(text: str) -> str:
    """The text of a ``dvc.yaml`` with the modules of each stage as its imports have them now.

    Raises ``UserError`` for a stage whose list cannot be found.
    """
    parts, end = [], 0
    if (written := len(re.findall(r"^ +deps:", text, re.MULTILINE))) != (
        found := len(DEPS.findall(text))
    ):
        raise UserError(
            f"{written - found} of {written} stages have `deps:` without a list in brackets on the"
            " next line: write it so"
        )
    for deps in DEPS.finditer(text):
        module = list(COMMAND.finditer(text, end, deps.start()))[-1]["module"]
        data = [item for item in yaml.safe_load(f"[{deps['items']}]") if not item.endswith(".py")]
        indent = deps["indent"] + "  "
        blocks = [
            _wrapped([f'"{item}"' if "$" in item else item for item in data], indent),
            _wrapped(closure(module), indent),
        ]
        inner = ",\n".join(block for block in blocks if block).strip()
        parts += [text[end : deps.start()], f"{deps['indent']}deps:\n{indent}[{inner}]\n"]
        end = deps.end()
    return "".join([*parts, text[end:]])


def _wrapped(items: Sequence[str], indent: str) -> str:
    indent += " "  # for the bracket before the first
    wrapper = TextWrapper(
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return wrapper.fill(", ".join(items))


def _rewrite(path: Path) -> None:
    before = path.read_text(encoding="utf-8")
    if (after := with_module_lists(before)) != before:
        with atomic_path(path) as temporary:
            temporary.write_text(after, encoding="utf-8")
        print(f"{path.relative_to(ROOT)} written")


if __name__ == "__main__":
    for name in ("dvc.yaml", "comparison/dvc.yaml", "evaluation/dvc.yaml"):
        try:
            _rewrite(ROOT / name)
        except UserError as error:
            sys.exit(f"error: {name}: {error}")

"""Parameters overridden for one run: ``params.yaml`` is changed for its time only and put back byte for byte."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from echodistill.atomic import atomic_path
from echodistill.errors import UserError
from echodistill.params import validate_params

SAVED = Path(".echodistill/params.yaml.saved")


def apply_overrides(raw: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """``raw`` with each ``section.key=value`` set; values are YAML. Raises ``UserError`` for an unknown key or no ``=``."""
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise UserError(f"-S {override!r}: give key=value, e.g. -S train.method=grpo")
        *outer, last = key.strip().split(".")
        node: Any = raw
        for part in outer:
            node = node.get(part) if isinstance(node, dict) else None
        if not isinstance(node, dict) or last not in node:
            raise UserError(f"-S {override}: params.yaml has no key {key.strip()!r}")
        try:
            node[last] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise UserError(f"-S {override}: the value is not valid YAML") from error
    return raw


def restore(params: Path) -> bool:
    """Put back what a killed run left changed. Says whether there was anything."""
    if not SAVED.exists():
        return False
    _write(params, SAVED.read_bytes())
    SAVED.unlink()
    return True


@contextmanager
def overridden(params: Path, overrides: Sequence[str]) -> Iterator[None]:
    """Change ``params`` while the block runs. All overrides are validated before anything is written."""
    if not overrides:
        yield
        return
    original = params.read_bytes()
    changed = apply_overrides(yaml.safe_load(original), overrides)
    validate_params(changed, "params.yaml with -S")
    _write(SAVED, original)
    _write(params, yaml.safe_dump(changed, sort_keys=False).encode())
    try:
        yield
    finally:
        restore(params)


def _write(path: Path, content: bytes) -> None:
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)

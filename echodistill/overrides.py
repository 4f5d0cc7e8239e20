"""Override parameters for one run: ``params.yaml`` is changed during the run and then restored byte
for byte.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from echodistill.core.atomic import atomic_path
from echodistill.core.errors import UserError
from echodistill.core.paths import check_hashable
from echodistill.core.yaml12 import dump_yaml, load_yaml
from echodistill.evaluating import NANO
from echodistill.models.names import name_fault
from echodistill.params.faults import did_you_mean, holds_text, keys_of
from echodistill.params.whole import Params, load_params, validate_params

SAVED = Path(".echodistill/params.yaml.saved")
OVERRIDDEN = Path(".echodistill/params.yaml.overridden")
EDITED = Path(".echodistill/params.yaml.before-run")
QUOTES = ("'", '"')
NOTHING = ("", "~", "null", "Null", "NULL")
"""Texts by which YAML writes that there is no value."""
BASE_OUTPUT = Path("models/base")
"""Output of the stage ``base``."""


def applied(path: Path, overrides: Sequence[str]) -> Params:
    """Return the parameters of the file ``path`` with ``overrides``, without changing the file.

    Raise ``UserError`` where the file or an override is not valid.
    """
    load_params(path)
    return validate_params(
        apply_overrides(load_yaml(path.read_text(encoding="utf-8")), overrides),
        str(path),
        overrides,
    )


def check_inputs(params: Params) -> None:
    """Raise ``UserError`` where an input folder of the graph is missing or contains what DVC cannot
    hash.

    DVC's message would be only a path, or DVC would wait without end. Raise it also where the base
    would be made from itself.
    """
    corpus, mixes = params.corpus, params.mixes
    for key, folder in (
        ("corpus.path", corpus.path),
        ("corpus.test.path", corpus.test.path),
        ("mixes.recordings", mixes.recordings),
    ):
        if not Path(folder).is_dir():
            raise UserError(
                f"{key}: there is no folder {folder}: name the one that holds the recordings, or"
                " any where none are needed"
            )
        check_hashable(key, Path(folder))
    if Path(params.base.model).resolve() == BASE_OUTPUT.resolve():
        raise UserError(
            f"base.model: {params.base.model} is where the pipeline puts the base, so it cannot be"
            f" made from itself: copy it, e.g. `cp -r {BASE_OUTPUT} models/mine`, and set"
            " base.model=models/mine"
        )
    if fault := name_fault(params.base.model, (NANO,)):
        raise UserError(f"base.model: {fault}")


def apply_overrides(raw: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Set each ``section.key=value`` in ``raw``, and return ``raw``.

    The value of a key that has a text is taken as it is written, with or without quotes; all others
    are YAML. Raise ``UserError`` for an unknown key, a missing ``=``, or a value that is not valid
    YAML.
    """
    for override in overrides:
        key, equals, text = override.partition("=")
        key = key.strip()
        if not equals:
            raise UserError(f"-S {override!r}: give key=value, e.g. -S train.method=grpo")
        *outer, last = key.split(".")
        node: Any = raw
        for part in outer:
            node = node.get(part) if isinstance(node, dict) else None
        if not isinstance(node, dict) or last not in node:
            raise UserError(
                f"-S {override}: params.yaml has no key"
                f" {key!r}{did_you_mean(key, list(keys_of(Params)))}"
            )
        try:
            node[last] = _value(text, key)
        except yaml.YAMLError as error:
            raise UserError(
                f"-S {override}: the value is not valid YAML: put texts within it in quotes"
            ) from error
    return raw


def _value(text: str, key: str) -> Any:
    """Return the value of ``key`` that ``text`` contains.

    As YAML a pattern such as ``*/x.csv`` would be an error, and ``a #b`` would be cut off.
    """
    text = text.strip()
    if not holds_text(Params, key) or text in NOTHING or text[0] in QUOTES:
        return load_yaml(text)
    return text


def restore(params: Path) -> str | None:
    """Restore parameters that a killed run left changed.

    Return a sentence about it, or ``None`` where nothing was left.
    """
    if not SAVED.exists():
        return None
    return (
        f"{params} was left changed by a killed run: restored"
        if _restore_original(params)
        else _edited_notice(params)
    )


def _restore_original(params: Path) -> bool:
    """Restore the original, unless somebody has edited the file since the run changed it.

    Return whether it was restored.
    """
    known = [path.read_bytes() for path in (SAVED, OVERRIDDEN) if path.is_file()]
    unedited = not params.is_file() or params.read_bytes() in known
    if unedited:
        _write(params, SAVED.read_bytes())
        SAVED.unlink()
    else:
        os.replace(SAVED, EDITED)
    return unedited


def _edited_notice(params: Path) -> str:
    return (
        f"{params} was edited during a run with -S and is left as it is; its content before the run"
        f" is in {EDITED}"
    )


def own_params(repository: Path) -> str:
    """Return the text of ``params.yaml`` without the changes of a running or killed run with
    ``-S``.
    """
    params, saved, overridden = (repository / name for name in ("params.yaml", SAVED, OVERRIDDEN))
    unedited = (
        saved.is_file() and overridden.is_file() and params.read_bytes() == overridden.read_bytes()
    )
    return (saved if unedited else params).read_text(encoding="utf-8")


@contextmanager
def overridden(params: Path, overrides: Sequence[str]) -> Iterator[None]:
    """Change ``params`` while the block runs.

    All overrides are validated before anything is written.
    """
    if not overrides:
        yield
        return
    original = params.read_bytes()
    changed = apply_overrides(load_yaml(original), overrides)
    validate_params(changed, str(params), overrides)
    text = dump_yaml(changed).encode()
    _write(OVERRIDDEN, text)
    _write(SAVED, original)
    _write(params, text)
    try:
        yield
    finally:
        if not _restore_original(params):
            print(_edited_notice(params))


def _write(path: Path, content: bytes) -> None:
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)

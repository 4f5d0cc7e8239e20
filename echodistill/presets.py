"""Presets: named lists of settings in ``presets/NAME.yaml`` that are laid over ``params.yaml`` as
if each were given with ``-S``.

A file maps dotted keys of ``params.yaml`` to values; sections may be nested as well. The comment in
its first line says what it is for.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from echodistill.core.errors import UserError
from echodistill.core.yaml12 import load_yaml
from echodistill.params.faults import did_you_mean, keys_of
from echodistill.params.whole import Params

FOLDER = Path("presets")
"""Folder of the presets below the repository's root, where the commands run."""
PACKAGED = Path(__file__).parent / "params" / FOLDER
"""Copy of the folder that comes with the package."""


def preset_names(folder: Path = FOLDER) -> list[str]:
    """Return the names of the presets in ``folder``, sorted."""
    return sorted(path.stem for path in folder.glob("*.yaml"))


def preset_overrides(names: Sequence[str], folder: Path = FOLDER) -> list[str]:
    """Return the settings of the presets ``names``, in their order, as texts for ``-S``.

    Raise ``UserError`` for an unknown preset, and for a file that is not one.
    """
    return [f"{key}={_text(value)}" for name in names for key, value in preset(name, folder)]


def preset(name: str, folder: Path = FOLDER) -> list[tuple[str, Any]]:
    """Return the dotted keys of a preset with their values.

    Raise ``UserError`` where there is no such preset, or its file is not valid.
    """
    known = preset_names(folder)
    path = folder / f"{name}.yaml"
    if name not in known:
        listed = f"There are {', '.join(known)}" if known else f"{folder} has none"
        raise UserError(f"-P {name}: there is no {path}{did_you_mean(name, known) or '.'} {listed}")
    try:
        content = load_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict) or not content:
        raise UserError(f"{path}: write one setting a line, e.g. train.method: grpo")
    settings = list(_flat(content, ""))
    keys = list(keys_of(Params))
    for key, _ in settings:
        if key not in keys:
            raise UserError(f"{path}: params.yaml has no key {key!r}{did_you_mean(key, keys)}")
    return settings


def preset_line(name: str, folder: Path = FOLDER) -> str:
    """Return the comment in the first line of a preset, or an empty text where it has none."""
    first = (folder / f"{name}.yaml").read_text(encoding="utf-8").partition("\n")[0]
    return first.removeprefix("#").strip() if first.startswith("#") else ""


def _flat(section: dict[Any, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    """Yield the values below ``section`` with their dotted keys."""
    for name, value in section.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _text(value: Any) -> str:
    """Return a value as text that ``-S`` reads as the same value."""
    return json.dumps(value, ensure_ascii=False, default=str)

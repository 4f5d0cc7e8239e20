"""How a stage starts: paths from the command line, its own sections of ``params.yaml``, one line for a user's fault."""

import errno
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from echodistill.atomic import write_fault
from echodistill.errors import UserError
from echodistill.params import Params, load_params

PARAMS_FILE = Path("params.yaml")
CURE = ". Free space or choose a writable place"
PLACE_FAULTS = (errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EDQUOT)


def only(params: Params, sections: Sequence[str]) -> Params:
    """A view that holds nothing but ``sections`` (``train``, ``mixes.kinds``): a stage that reads what DVC does not watch for it
    fails at once."""
    view = SimpleNamespace()
    for section in sections:
        outer, _, key = section.partition(".")
        value = getattr(params, outer)
        if not key:
            setattr(view, outer, value)
            continue
        if not hasattr(view, outer):
            setattr(view, outer, SimpleNamespace())
        setattr(getattr(view, outer), key, getattr(value, key))
    return cast(Params, view)


def run_stage(
    stage: Callable[..., None],
    sections: Sequence[str],
    convert: Callable[[list[str]], list[Any]] | None = None,
    on_workers: bool = False,
) -> None:
    """Run ``stage(params, *paths)`` with the command line's paths. Exits with status 1 and one line on ``UserError``.

    ``on_workers``: the stage also takes ``address`` (``workers.address``). That is no section, since DVC must not watch it: where
    work is computed changes no byte.
    """
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    arguments = sys.argv[1:]
    try:
        values = convert(arguments) if convert else [Path(argument) for argument in arguments]
        params = load_params(PARAMS_FILE)
        stage(only(params, sections), *values, **({"address": params.workers.address} if on_workers else {}))
    except UserError as error:
        sys.exit(f"error: {error}")
    except Exception as error:
        fault = write_fault(error)
        if fault is None or (isinstance(error, OSError) and error.filename is None and error.errno is None):
            raise
        at_place = not isinstance(error, OSError) or error.errno in PLACE_FAULTS
        sys.exit(f"error: {getattr(error, 'filename', None) or 'a file'}: {fault}{CURE if at_place else ''}")

"""How a stage starts: arguments from the command line, its own sections of ``params.yaml``, one
line for a user's fault.
"""

import errno
import inspect
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal, cast, get_args, get_origin

from echodistill import PARENT_AT_START
from echodistill.code_hash import check_fresh
from echodistill.core.atomic import write_fault
from echodistill.core.environment import device_batch, forget_job_manager
from echodistill.core.errors import UserError
from echodistill.core.extras import missing_extra_named
from echodistill.core.lifetime import end_with_parent
from echodistill.core.terminal import accept_any_text, reader_may_leave
from echodistill.params.whole import Params, load_params
from echodistill.run_lock import at_work
from echodistill.stage_inputs import StageInputs

PARAMS_FILE = Path("params.yaml")
CURE = ". Free space or choose a writable place"
PLACE_FAULTS = (errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EDQUOT)


def only(params: Params, sections: Sequence[str]) -> Params:
    """A view that holds nothing but ``sections`` (``train``, ``mixes.kinds``): a stage that reads
    what DVC does not watch for it fails at once.
    """
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


def arguments_of(stage: Callable[..., None], given: Sequence[str]) -> list[Any]:
    """The command line's arguments as the signature of ``stage`` has them behind ``params``: paths,
    whole numbers, one of some names.

    Raises ``UserError`` with the usage.
    """
    parameters = [
        each
        for each in list(inspect.signature(stage).parameters.values())[1:]
        if each.default is inspect.Parameter.empty
    ]
    many = bool(parameters) and parameters[-1].kind is inspect.Parameter.VAR_POSITIONAL
    usage = f"usage: {stage.__name__} {' '.join(map(_shown, parameters))}"
    if len(given) < len(parameters) or (len(given) > len(parameters) and not many):
        raise UserError(usage)
    each = [*parameters, *[parameters[-1]] * (len(given) - len(parameters))]
    try:
        return [
            _converted(parameter.annotation, text)
            for parameter, text in zip(each, given, strict=True)
        ]
    except ValueError as error:
        raise UserError(f"{error}. {usage}") from error


def _names(annotation: Any) -> tuple[str, ...]:
    """Those that a ``Literal``, or a union of some, allows."""
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    return tuple(name for part in get_args(annotation) for name in _names(part))


def _shown(parameter: inspect.Parameter) -> str:
    name = "|".join(_names(parameter.annotation)) or parameter.name.upper()
    return f"{name} ..." if parameter.kind is inspect.Parameter.VAR_POSITIONAL else name


def _converted(annotation: Any, text: str) -> Any:
    """Raises ``ValueError``."""
    names = _names(annotation)
    if not names:
        return annotation(text)
    if text not in names:
        raise ValueError(f"{text!r} is none of them")
    return text


def _main_module() -> str:
    """Return the name of the module that was started with ``python -m``; empty for other code."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return spec.name if spec else ""


def run_stage(
    stage: Callable[..., None],
    sections: Sequence[str],
    on_workers: bool = False,
    reads_folders: bool = True,
    noted: Sequence[str] = (),
) -> None:
    """Run ``stage(params, *arguments)`` with the command line's arguments. Exits with status 1 and
    one line on ``UserError``, and also when what it ran with has changed at its end, since DVC
    would then record it under what is there now.

    ``on_workers``: the stage also takes ``address`` (``workers.address``). That is no section,
    since DVC must not watch it: where work is computed changes no byte. ``reads_folders``: it reads
    the folders of recordings that its parameters name. ``noted``: further sections that it is
    given, of which DVC watches what the stage ``code`` notes instead.
    """
    # a stage without its DVC would write to a place that another DVC may work on
    if "DVC_STAGE" in os.environ:
        end_with_parent(PARENT_AT_START)
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    accept_any_text()
    forget_job_manager()
    given = (*sections, *noted)
    try:
        device_batch()  # before any work
        values = arguments_of(stage, sys.argv[1:])
        with at_work(), reader_may_leave(), missing_extra_named():
            if module := _main_module():
                check_fresh(module)
            inputs = StageInputs(partial(load_params, PARAMS_FILE), given, reads_folders)
            params = inputs.params
            stage(
                only(params, given),
                *values,
                **({"address": params.workers.address} if on_workers else {}),
            )
            inputs.check()
    except UserError as error:
        sys.exit(f"error: {error}")
    except Exception as error:
        fault = write_fault(error)
        if fault is None or (
            isinstance(error, OSError) and error.filename is None and error.errno is None
        ):
            raise
        at_place = not isinstance(error, OSError) or error.errno in PLACE_FAULTS
        sys.exit(
            f"error: {getattr(error, 'filename', None) or 'a file'}:"
            f" {fault}{CURE if at_place else ''}"
        )

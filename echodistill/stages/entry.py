"""Start a stage: parse its command line, give it its sections of ``params.yaml``, and print one
line for a user's fault.
"""

import errno
import gc
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
from echodistill.core.environment import clear_job_manager_variables, device_batch
from echodistill.core.errors import UserError
from echodistill.core.extras import missing_extra_named
from echodistill.core.lifetime import end_with_parent
from echodistill.core.terminal import accept_any_text, exit_on_broken_pipe
from echodistill.params.whole import Params, load_params
from echodistill.run_lock import exclude_runs
from echodistill.stage_inputs import StageInputs

PARAMS_FILE = Path("params.yaml")
CURE = ". Free space or choose a writable place"
STORAGE_ERRORS = (errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EDQUOT)


def params_view(params: Params, sections: Sequence[str]) -> Params:
    """Return a view of ``params`` that has only ``sections`` (``train``, ``mixes.kinds``), so that
    a stage fails at once if it reads a section that DVC does not watch for it.
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
    """Return the command line's arguments converted to the types in the signature of ``stage``
    after ``params``: paths, integers, names of a ``Literal``.

    Raise ``UserError`` with the usage if they do not fit.
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
    """Return the names that a ``Literal``, or a union of several, allows."""
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    return tuple(name for part in get_args(annotation) for name in _names(part))


def _shown(parameter: inspect.Parameter) -> str:
    name = "|".join(_names(parameter.annotation)) or parameter.name.upper()
    return f"{name} ..." if parameter.kind is inspect.Parameter.VAR_POSITIONAL else name


def _converted(annotation: Any, text: str) -> Any:
    """Return ``text`` converted to ``annotation``. Raise ``ValueError`` if that is impossible."""
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
    """Run ``stage(params, *arguments)`` with the command line's arguments. Exit with status 1 and
    one line on ``UserError``, and also if the stage's inputs have changed when it ends, since DVC
    would then record the result under the new inputs.

    ``on_workers``: the stage also takes ``address`` (``workers.address``), which is no section,
    since DVC must not watch it: the place of computation changes no byte. ``reads_folders``: the
    stage reads the folders of recordings that its parameters name. ``noted``: further sections that
    the stage is given, for which DVC watches the notes of stage ``code`` instead.
    """
    gc.freeze()  # what was loaded so far is not searched for garbage
    gc.enable()
    # a stage whose DVC process has ended would write to a place that another DVC process may use
    if "DVC_STAGE" in os.environ:
        end_with_parent(PARENT_AT_START)
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    accept_any_text()
    clear_job_manager_variables()
    given = (*sections, *noted)
    try:
        device_batch()  # the setting is checked before any work
        values = arguments_of(stage, sys.argv[1:])
        with exclude_runs(), exit_on_broken_pipe(), missing_extra_named():
            if module := _main_module():
                check_fresh(module)
            inputs = StageInputs(partial(load_params, PARAMS_FILE), given, reads_folders)
            params = inputs.params
            stage(
                params_view(params, given),
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
        at_place = not isinstance(error, OSError) or error.errno in STORAGE_ERRORS
        sys.exit(
            f"error: {getattr(error, 'filename', None) or 'a file'}:"
            f" {fault}{CURE if at_place else ''}"
        )

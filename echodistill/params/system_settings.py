"""Apply the changes that a system of a comparison makes to ``params.yaml``."""

from collections.abc import Mapping
from typing import Any, cast, get_args

from pydantic import ValidationError

from echodistill.core.similar import meant
from echodistill.params.faults import describe, keys_of
from echodistill.params.methods import METHODS, MethodSettings
from echodistill.params.references import ViewName
from echodistill.params.train import TrainParams

VIEW, TRAIN = "references.view", "train."


def view_of(changes: Mapping[str, Any]) -> ViewName:
    """Return the teacher's view under ``changes``: the one that they name, or else their method's.

    Raise ``ValueError`` for an unknown view, and for one that the method cannot have.
    """
    method = _method_of(changes)
    view = changes.get(VIEW, method.view)
    if view not in get_args(ViewName):
        views = get_args(ViewName)
        raise ValueError(f"{VIEW}: {view!r} is none of {', '.join(views)}{meant(str(view), views)}")
    if fault := view_fault(method, view):
        raise ValueError(f"{VIEW}: {fault}")
    return cast(ViewName, view)


def has_own_references(changes: Mapping[str, Any]) -> bool:
    """Return whether a system with ``changes`` needs references of its own: it names a view, or its
    method has another view than ``clean``.
    """
    return VIEW in changes or _method_of(changes).view != "clean"


def _method_of(changes: Mapping[str, Any]) -> type[MethodSettings]:
    return METHODS.get(str(changes.get("train.method")), MethodSettings)


def view_fault(method: type[MethodSettings], view: ViewName) -> str:
    """Return why a method cannot have a teacher with ``view``, or an empty text where it can."""
    if method.view in ("clean", view):
        return ""
    return f"the method ({method.label}) needs the view {method.view}: give it that one"


def changed_train(train: TrainParams, changes: Mapping[str, Any]) -> TrainParams:
    """Return the section ``train`` with ``changes``, which are values by dotted key of
    ``params.yaml``.

    Raise ``ValueError`` for an unknown key or an invalid value.
    """
    raw = train.model_dump()
    for key, value in changes.items():
        if key != VIEW:
            _put(raw, key, value)
    try:
        return TrainParams.model_validate(raw)
    except ValidationError as error:
        known = [TRAIN + name for name in keys_of(TrainParams)]
        faults = [fault | {"loc": ("train", *fault["loc"])} for fault in error.errors()]
        raise ValueError(describe(faults, known)) from error


def _put(raw: dict[str, Any], key: str, value: object) -> None:
    """Set ``value`` in the section ``train`` (``raw``) under its dotted key.

    Raise ``ValueError`` for a key that the section does not have.
    """
    *outer, last = key.split(".")
    if len(outer) == 0 or outer[0] != "train":
        raise ValueError(f"{key}: a system changes keys of the section train, or {VIEW}")
    node = raw
    for part in outer[1:]:
        node = node.get(part, {})
        if not isinstance(node, dict):
            raise ValueError(f"{key}: unknown key")
    if last not in node:
        raise ValueError(f"{key}: unknown key")
    node[last] = value

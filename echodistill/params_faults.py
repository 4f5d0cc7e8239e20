"""Faults of ``params.yaml`` in words: which key, what is wrong with it, and what stands there."""

from functools import reduce
from operator import getitem

from pydantic_core import ErrorDetails


class BadKey(ValueError):
    """Report a fault that shows only beside other keys of the section; ``key`` is the one to name."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


def describe(fault: ErrorDetails) -> str:
    """Return one of pydantic's faults as ``mixes.unseen: ['hum'] are not in kinds (got ...)``."""
    key, given = fault["loc"], fault["input"]
    if isinstance(cause := fault.get("ctx", {}).get("error"), BadKey):
        key, given = (*key, cause.key), reduce(getitem, cause.key.split("."), given)
    path = ".".join(str(part) for part in key) or "(top level)"
    if fault["type"] == "extra_forbidden":
        return f"{path}: unknown key"
    message = f"{path}: {fault['msg'].removeprefix('Value error, ')}"
    return message if fault["type"] == "missing" else f"{message} (got {given!r:.60})"

"""Find a method by its name."""

from importlib import import_module

from echodistill.methods.base import Method
from echodistill.params.train import TrainParams

PACKAGE = "echodistill.methods"


def module_of(method: str) -> str:
    """Return the name of the module that holds a method of ``params.methods.METHODS``."""
    return f"{PACKAGE}.{method}"


def class_of(method: str) -> type[Method]:
    """Return the class of a method of ``params.methods.METHODS``.

    The module is imported by its name, so that the code hash of a training covers the file of the
    chosen method and of no other.
    """
    found: type[Method] = import_module(module_of(method)).METHOD
    return found


def open_method(settings: TrainParams) -> Method:
    """Return the method that the section ``train`` chooses, with its settings."""
    opened: Method = class_of(settings.method)(settings.method_settings)  # type: ignore[call-arg]
    return opened

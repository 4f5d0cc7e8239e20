"""Make ``import torchaudio`` work beside a CPU build of torch.

torchaudio's wheels are CUDA builds: with CPU torch their extension cannot load and the import
raises ``OSError``. transformers and peft import torchaudio whenever it is installed, so they would
fail too. The pure-torch parts of torchaudio need no extension. Import this module before
transformers, peft or trl.
"""

import sys
from types import ModuleType


def _missing_align(*_args: object, **_kwargs: object) -> None:
    raise RuntimeError(
        "torchaudio's forced alignment needs its compiled extension, which this torch build cannot"
        " load"
    )


def _import_torchaudio() -> None:
    try:
        import torchaudio
    except OSError:
        for name in [name for name in sys.modules if name.split(".")[0] == "torchaudio"]:
            del sys.modules[name]
        stub = ModuleType("torchaudio._extension")
        stub._IS_TORCHAUDIO_EXT_AVAILABLE = False  # type: ignore[attr-defined]
        stub._IS_ALIGN_AVAILABLE = False  # type: ignore[attr-defined]
        stub.fail_if_no_align = lambda function: _missing_align  # type: ignore[attr-defined]
        sys.modules["torchaudio._extension"] = stub
        import torchaudio  # noqa: F401
    except ModuleNotFoundError:
        pass  # no library imports torchaudio if it is not installed


_import_torchaudio()

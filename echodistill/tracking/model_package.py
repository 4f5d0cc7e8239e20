"""Write a model as MLflow stores and serves it: code, weights, requirements and evaluation."""

import shutil
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from echodistill.run_reports import Reports

REQUIREMENTS = (
    "mlflow",
    "numpy",
    "pandas",
    "pydantic",
    "pyarrow",
    "safetensors",
    "soundfile",
    "soxr",
    "tokenizers",
    "torch",
    "transformers",
)
ARTIFACTS = "artifacts"
"""Name of the folder for artifacts in MLflow's format."""


def save_model(folder: Path, artifacts: Mapping[str, Path], description: Any = None) -> None:
    """Write the model in MLflow's format: code, weights, requirements, signature and an example."""
    import base64

    import mlflow.pyfunc
    import numpy as np
    import pandas as pd

    import echodistill
    from echodistill.audio.stored import encode_flac

    package = Path(echodistill.__file__).parent
    needed = [*REQUIREMENTS, *(["peft"] if "base" in artifacts else [])]
    silence = base64.b64encode(encode_flac(np.zeros(8_000, dtype=np.float32))).decode()
    example = pd.DataFrame(
        {"audio": [silence], "question": ["Which word is spoken?"], "choices": [["yes", "no"]]}
    )
    mlflow.pyfunc.save_model(
        folder,
        mlflow_model=description,
        python_model=str(package / "serving/served_model.py"),
        artifacts={name: str(path) for name, path in artifacts.items()},
        code_paths=[str(package)],
        # A local build ("+cpu") is not on the package index.
        pip_requirements=[f"{name}=={version(name).partition('+')[0]}" for name in needed],
        signature=_signature(),
        input_example=example,
    )


def _signature() -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import AnyType

    return ModelSignature(
        inputs=Schema(
            [
                ColSpec("string", "audio"),
                ColSpec("string", "question"),
                ColSpec(AnyType(), "choices", required=False),
            ]
        ),
        outputs=Schema(
            [ColSpec("string", "answer", required=False), ColSpec("string", "response")]
        ),
        params=ParamSchema(
            [ParamSpec("max_new_tokens", "integer", None), ParamSpec("style", "string", None)]
        ),
    )


def save_evaluation(folder: Path, student: str, reports: Reports) -> None:
    """Copy the model card to where hubs look for it, with the weights of ``student``, and all
    answers into the model's folder.
    """
    card = folder / ARTIFACTS / student / "README.md"
    card.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(reports.card, card)
    for path in reports.answers:
        shutil.copyfile(path, folder / ARTIFACTS / path.name)

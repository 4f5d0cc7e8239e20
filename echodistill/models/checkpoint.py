"""Open the pipeline's models: a base (files, or a pointer to them) and a student (full weights, or
an adapter).

Each model is first compared with the checksums in its folder. That reads all files once: 15 GB for
a model of 7 billion parameters in bfloat16, which takes some ten seconds.
"""

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from echodistill.core.checksums import sha256_of, shown, verify_checksums
from echodistill.core.errors import UserError
from echodistill.models.audio_llm import AudioLLM
from echodistill.models.faults import LoadingInfo, file_fault, first_line, key_fault, number_fault
from echodistill.models.layout import (
    BASE_REVISION,
    POINTER,
    RUN,
    STUDENT_CURE,
    changed_files,
    file_hashes,
    files_read,
    read_run,
    revision_of,
)
from echodistill.models.loading import load, local_folder
from echodistill.models.names import base_missing
from echodistill.models.precision import WeightsDtype

ADAPTER = "adapter_model.safetensors"
BASE_CURE = "restore it, or run `dvc repro --force base`, then `echodistill run`"


def open_base(folder: Path, device: str = "auto", dtype: WeightsDtype | None = None) -> AudioLLM:
    """Return the base model: the one that ``pointer.json`` names, in the recorded revision, or the
    one in ``folder`` itself.

    ``dtype`` is as in ``load``. Raise ``UserError`` if there is no base, or if any of its files has
    changed since stage ``base``, since the references would then be of another model.
    """
    if not folder.is_dir():
        raise UserError(base_missing(folder))
    verify_checksums(folder, BASE_CURE, required=False)
    if not (folder / POINTER).is_file():
        return load(str(folder), device, dtype=dtype)
    target = _read_pointer(folder / POINTER)
    if Path(target.model).is_dir():
        if changed := changed_files(target.files, file_hashes(Path(target.model))):
            raise UserError(
                f"the model in {target.model} has changed since stage base ({shown(changed)}):"
                f" {BASE_CURE}"
            )
        return load(target.model, device, target.trust_remote_code, dtype=dtype)
    llm = load(target.model, device, target.trust_remote_code, target.revision, dtype)
    _verify_cached(target.model, target.revision, target.files)
    return llm


@dataclass(frozen=True)
class _Pointer:
    """The recorded identity of a base that was not made here (``stages.base``)."""

    model: str
    trust_remote_code: bool
    revision: str
    files: Mapping[str, str]


def _read_pointer(path: Path) -> _Pointer:
    """Return the content of ``pointer.json``. Raise ``UserError`` if it is damaged."""
    try:
        match json.loads(path.read_bytes()):
            case {
                "model": str(model),
                "trust_remote_code": bool(trust),
                "revision": str(revision),
                "files": dict(files),
            }:
                return _Pointer(model, trust, revision, files)
        raise ValueError("it names no model, revision and files")
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}): {BASE_CURE}") from error


def base_revision(folder: Path) -> str:
    """Return the identity of a base: the revision of the model that is pointed to, or a hash of the
    files that loading reads.
    """
    pointer = folder / POINTER
    return (
        _read_pointer(pointer).revision if pointer.is_file() else revision_of(file_hashes(folder))
    )


def _verify_cached(name: str, revision: str, recorded: Mapping[str, str]) -> None:
    """Raise ``UserError`` if the hub's cache holds other bytes than those that stage ``base`` used.

    Absent files are ignored, since the version of transformers decides which files are fetched.
    """
    folder = local_folder(name, revision)
    here = (
        {file: folder / file for file in recorded if (folder / file).is_file()}
        if folder is not None
        else {}
    )
    if changed := [file for file, path in here.items() if sha256_of(path) != recorded[file]]:
        raise UserError(
            f"the files of {name} in {folder} are damaged ({shown(changed)}): delete this folder,"
            " it is fetched again"
        )


def load_base_or_student(model: Path, base: Path) -> AudioLLM:
    """Return the base itself if ``model`` is its folder, else the student in ``model``."""
    return open_base(base) if model == base else open_model(model, base)


def open_model(
    student: Path, base: Path | None, device: str = "auto", dtype: WeightsDtype | None = None
) -> AudioLLM:
    """Return a trained student; ``dtype`` is as in ``load``. A LoRA student needs its ``base``
    folder.

    An adapter is merged into a float32 base. With weights in bfloat16 it is kept separate, as in
    training: merging would lose most of an update in rounding. Raise ``UserError`` if the student
    is not whole, or has changed since it was written.
    """
    run = read_run(student)
    verify_checksums(student, STUDENT_CURE, required=False)
    weights = run.get("weights")
    if weights not in ("full", "lora"):
        raise UserError(
            f"{student / RUN} is none that a training wrote (weights: {weights!r}): {STUDENT_CURE}"
        )
    if weights == "full":
        return load(str(student), device, dtype=dtype)
    if base is None:
        raise UserError(f"{student} is a LoRA adapter: its base model's folder must be given too")
    trained_from = run.get(BASE_REVISION)
    if trained_from is not None and trained_from != base_revision(base):
        raise UserError(
            f"{student} is a LoRA adapter of another base than the one in {base} (it was trained"
            f" from revision {str(trained_from)[:12]}): give that base, or train it from this one"
            " with `echodistill run`"
        )
    llm = open_base(base, device, dtype)
    whole = llm.model.dtype == torch.float32
    adapted = _with_adapter(llm.model, student)
    return replace(
        llm, model=(adapted.merge_and_unload() if whole else adapted.get_base_model()).eval()
    )


def _with_adapter(model: Any, student: Path) -> Any:
    """Return ``model`` with the adapter of ``student`` around it. Raise ``UserError`` if the two do
    not fit.
    """
    import echodistill.models.torchaudio_guard  # noqa: F401

    from peft import PeftModel, get_peft_model_state_dict
    from safetensors import safe_open

    path = student / ADAPTER
    if not path.is_file():
        raise UserError(f"{path} is missing: {student} is no whole adapter")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # missing tensors are raised below
            adapted = PeftModel.from_pretrained(model, str(student), ignore_mismatched_sizes=True)
        with safe_open(path, "pt") as file:
            found = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except Exception as error:  # the errors of peft, safetensors and json share no class
        raise UserError(
            f"{student} cannot be loaded: {file_fault(files_read(student)) or first_line(error)}"
        ) from error
    tensors = get_peft_model_state_dict(adapted, save_embedding_layers=False)
    # beside the adapter's own tensors the file has the layers of the vocabulary if the adapter
    # changes one, since peft saves these too
    known = {name: tuple(tensor.shape) for name, tensor in (adapted.state_dict() | tensors).items()}
    info = LoadingInfo(
        missing_keys=tensors.keys() - found.keys(),
        unexpected_keys=found.keys() - known.keys(),
        mismatched_keys={
            (name, shape, known[name])
            for name, shape in found.items()
            if name in known and known[name] != shape
        },
    )
    if fault := key_fault(info) or number_fault(tensors, may_be_zero=True):
        raise UserError(f"{student} cannot be used: {fault}")
    return adapted

"""Open the models the pipeline keeps: a base (files, or a pointer to them) and a student (full weights, or an adapter)."""

import json
from dataclasses import replace
from pathlib import Path

import torch

from echodistill.errors import UserError
from echodistill.models.audio_llm import AudioLLM, load
from echodistill.models.layout import POINTER, RUN, changed_files, file_hashes
from echodistill.models.precision import WeightsDtype

SHOWN_FILES = 5


def open_base(folder: Path, device: str = "auto", dtype: WeightsDtype | None = None) -> AudioLLM:
    """Return the base model: what ``pointer.json`` names, in the revision it was then, or the files beside it.

    ``dtype`` as in ``load``. Raises ``UserError`` when there is no base, or when any file of a local model that loading reads has
    changed since stage ``base``: its references would no longer be its own.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is missing: make it with `echodistill run base`")
    pointer = folder / POINTER
    if not pointer.is_file():
        return load(str(folder), device, dtype=dtype)
    target = json.loads(pointer.read_text(encoding="utf-8"))
    name, trust = target["model"], target["trust_remote_code"]
    if not Path(name).is_dir():
        return load(name, device, trust, target["revision"], dtype)
    if changed := changed_files(target["files"], file_hashes(Path(name))):
        shown = ", ".join(changed[:SHOWN_FILES]) + (f" and {len(changed) - SHOWN_FILES} more" * (len(changed) > SHOWN_FILES))
        cure = "restore it, or run `dvc repro --force base`, then `echodistill run`"
        raise UserError(f"the model in {name} has changed since stage base ({shown}): {cure}")
    return load(name, device, trust, dtype=dtype)


def open_either(model: Path, base: Path) -> AudioLLM:
    """The base itself where ``model`` is its folder, else the student there."""
    return open_base(base) if model == base else open_model(model, base)


def open_model(student: Path, base: Path | None, device: str = "auto", dtype: WeightsDtype | None = None) -> AudioLLM:
    """Return a trained student; ``dtype`` as in ``load``. A LoRA student needs its ``base`` folder.

    An adapter is merged into a float32 base. Beside weights in bfloat16 it stays as it is, as in training: merged, most of an update
    would be lost in rounding.
    """
    run = student / RUN
    if not run.is_file():
        raise UserError(f"{student} holds no trained model ({RUN} is missing): make one with `echodistill run train`")
    if json.loads(run.read_text(encoding="utf-8"))["weights"] == "full":
        return load(str(student), device, dtype=dtype)
    if base is None:
        raise UserError(f"{student} is a LoRA adapter: its base model's folder must be given too")
    import echodistill.models.torchaudio_guard  # noqa: F401

    from peft import PeftModel

    llm = open_base(base, device, dtype)
    whole = llm.model.dtype == torch.float32
    adapted = PeftModel.from_pretrained(llm.model, str(student))
    return replace(llm, model=(adapted.merge_and_unload() if whole else adapted.get_base_model()).eval())

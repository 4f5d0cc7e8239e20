"""Open the models the pipeline keeps: a base (files, or a pointer to them) and a student (full weights, or an adapter)."""

import json
from pathlib import Path

from echodistill.errors import UserError
from echodistill.models.audio_llm import AudioLLM, load, wrap
from echodistill.models.layout import POINTER, RUN


def open_base(folder: Path, device: str = "auto") -> AudioLLM:
    """The base model: what ``pointer.json`` names, or the files beside it."""
    pointer = folder / POINTER
    if not pointer.is_file():
        return load(str(folder), device)
    target = json.loads(pointer.read_text(encoding="utf-8"))
    return load(target["model"], device, target["trust_remote_code"])


def open_model(student: Path, base: Path | None, device: str = "auto") -> AudioLLM:
    """A trained student. A LoRA student needs its ``base`` folder; its adapter is merged, since nothing is added at inference."""
    run = student / RUN
    if not run.is_file():
        raise UserError(f"{student} holds no trained model ({RUN} is missing): make one with `echodistill run train`")
    if json.loads(run.read_text(encoding="utf-8"))["weights"] == "full":
        return load(str(student), device)
    if base is None:
        raise UserError(f"{student} is a LoRA adapter: its base model's folder must be given too")
    import echodistill.models.torchaudio_guard  # noqa: F401

    from peft import PeftModel

    llm = open_base(base, device)
    merged = PeftModel.from_pretrained(llm.model, str(student)).merge_and_unload()
    return wrap(merged.eval(), llm.processor)

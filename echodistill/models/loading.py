"""Load an audio language model from a folder or the hub, and reject one that is not whole."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import echodistill.models.torchaudio_guard  # noqa: F401

from transformers import AutoConfig, logging
from transformers.utils import cached_file

from echodistill.core.errors import UserError
from echodistill.models.audio_llm import AudioLLM, wrap
from echodistill.models.base import AudioFamily
from echodistill.models.families.registry import FAMILIES
from echodistill.models.faults import (
    LoadingInfo,
    file_fault,
    first_line,
    key_fault,
    number_fault,
    type_fault,
)
from echodistill.models.layout import WEIGHTS, files_read
from echodistill.models.names import name_fault
from echodistill.models.precision import WeightsDtype, chosen_device, inference_dtype
from echodistill.models.tokens import check_template

IGNORED = ("generation_config.json", "chat_template.jinja")
"""Files that transformers ignores if they are damaged: responses would then end elsewhere, or
prompts differ.
"""


def load(
    name: str,
    device: str = "auto",
    trust_remote_code: bool = False,
    revision: str | None = None,
    dtype: WeightsDtype | None = None,
) -> AudioLLM:
    """Return the model of a local folder or hub id (at the commit ``revision``), from safetensors
    only.

    ``dtype`` is the format of the weights in memory; ``None`` means the one for answering questions
    (``inference_dtype``). Raise ``UserError`` if the model cannot be found, is of an unsupported
    family, has no safetensors weights, or is not whole: a key is missing, unknown or of another
    shape, a number is NaN or infinite, or a file is not of its named format.
    """
    if fault := name_fault(name, ()):
        raise UserError(f"model {name} cannot be loaded: {fault}")
    # loading takes a moment, and the bar would only interrupt a stage's own output
    logging.disable_progress_bar()
    target = chosen_device(device)
    dtype = inference_dtype(target) if dtype is None else dtype
    try:
        family, model, info = _read(name, trust_remote_code, revision, dtype)
    except UserError:
        raise
    except (
        Exception
    ) as error:  # the errors of transformers, tokenizers, safetensors and json share no class
        folder = local_folder(name, revision)
        reason = file_fault(files_read(folder)) if folder is not None else ""
        reason = reason or f"{first_line(error)}. Give a local folder with safetensors or a hub id"
        raise UserError(f"model {name} cannot be loaded: {reason}") from error
    if fault := _loaded_fault(name, revision, model.to(target).eval(), info):
        raise UserError(f"model {name} cannot be used: {fault}")
    if fault := family.fit_fault(model.config):
        raise UserError(
            f"model {name} cannot be used: its files do not belong together: {fault}: give all"
            " files of one model"
        )
    try:
        check_template(family)
        return wrap(model, family)
    except UserError as error:
        raise UserError(f"model {name} cannot be used: {error}") from error


def _read(
    name: str, trust_remote_code: bool, revision: str | None, dtype: WeightsDtype
) -> tuple[AudioFamily, Any, LoadingInfo]:
    """Return the family with its processor, the model, and transformers' report on its keys."""
    config = AutoConfig.from_pretrained(
        name, trust_remote_code=trust_remote_code, revision=revision
    )
    if config.model_type not in FAMILIES:
        known = ", ".join(sorted(FAMILIES))
        raise UserError(
            f"model {name}: family {config.model_type!r} is not supported yet; supported: {known}"
        )
    family = FAMILIES[config.model_type].load(name, trust_remote_code, revision)
    with _without_report():
        model, info = family.model_class.from_pretrained(
            name,
            use_safetensors=True,
            dtype=dtype,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            trust_remote_code=trust_remote_code,
            revision=revision,
        )
    return family, model, info


def local_folder(name: str, revision: str | None) -> Path | None:
    """Return the local folder of a model's files: its own, or that in the hub's cache; ``None`` if
    there is none.
    """
    try:
        found = cached_file(name, "config.json", revision=revision, local_files_only=True)
    except OSError:  # an OSError is also raised if no model has this name
        return None
    return Path(found).parent if found else None


@contextmanager
def _without_report() -> Iterator[None]:
    """Keep transformers from printing its loading report: faults in it are raised as one line."""
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _loaded_fault(name: str, revision: str | None, model: Any, info: LoadingInfo) -> str:
    """Return the fault of a model that transformers loaded without an error; empty if there is
    none.
    """
    folder = local_folder(name, revision)
    ignored = (
        [folder / file for file in IGNORED if (folder / file).is_file()]
        if folder is not None
        else []
    )
    weights = sorted(folder.glob(WEIGHTS)) if folder is not None else []
    return (
        key_fault(info)
        or type_fault(weights)
        or number_fault(dict(model.named_parameters()))
        or file_fault(ignored)
    )

"""Hold a language model without audio that is a teacher of an audio language model.

It may have another number of layers, another width and another padding of the vocabulary than its
student. Its tokens must be the student's.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import echodistill.models.torchaudio_guard  # noqa: F401

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from echodistill.core.checksums import shown
from echodistill.core.counted import counted
from echodistill.core.errors import UserError
from echodistill.models.audio_llm import AudioLLM, end_ids
from echodistill.models.base import PromptBatch, joined, tokens_of
from echodistill.models.faults import first_line
from echodistill.models.layout import POINTER, changed_files, file_hashes
from echodistill.models.precision import inference_dtype

FOLDER = "text-teacher"
"""Name of the teacher's folder within the base's."""
NO_TOKEN = -1


@dataclass(frozen=True)
class TextLLM:
    """A causal language model with the tokenizer of its prompts; a ``scoring.ScoredFamily``."""

    model: Any
    """``PreTrainedModel`` with a language model's head."""
    tokenizer: Any
    """Tokenizer of transformers, with a chat template."""
    never_sample: list[int]
    """Ids of the student's tokens that no response may have, as far as this model has them."""
    audio_token_id: int = NO_TOKEN
    """No prompt has an audio token."""

    def encode(self, texts: Sequence[str]) -> PromptBatch:
        """Return the texts as turns of a chat, encoded on the CPU."""
        chats = [
            self.tokenizer.apply_chat_template(
                [{"role": "user", "content": text}], add_generation_prompt=True, tokenize=False
            )
            for text in texts
        ]
        return PromptBatch(*tokens_of(self.tokenizer, chats), {})

    def forward_inputs(
        self, batch: PromptBatch, response_ids: torch.Tensor, response_mask: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Return the arguments of the model's forward pass for prompts followed by responses."""
        return joined(batch, response_ids, response_mask)

    @torch.inference_mode()
    def answers(self, texts: Sequence[str], max_new_tokens: int) -> list[str]:
        """Return the greedy answers to texts."""
        batch = self.encode(texts).to(self.model.device)
        output = self.model.generate(
            input_ids=batch.input_ids,
            attention_mask=batch.attention_mask,
            max_new_tokens=max_new_tokens,
            do_sample=False,
            suppress_tokens=self.never_sample or None,
            pad_token_id=self.tokenizer.pad_token_id,
            eos_token_id=self.tokenizer.eos_token_id,
        )
        responses = output[:, batch.input_ids.shape[1] :]
        texts = self.tokenizer.batch_decode(responses, skip_special_tokens=True)
        return [text.strip() for text in texts]

    def save(self, folder: Path) -> None:
        """Write the weights as safetensors, the configuration and the tokenizer."""
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)


def text_llm(model: Any, tokenizer: Any, student: AudioLLM, name: str) -> TextLLM:
    """Return a model in memory as the teacher of ``student``.

    Raise ``UserError`` where its tokens are others than the student's; ``name`` names it there.
    """
    size = model.get_output_embeddings().weight.shape[0]
    if fault := _token_fault(tokenizer, student, size):
        raise UserError(
            f"base.text_teacher: {name} has other tokens than the base ({fault}): take a text model"
            " of the family that the base was made from"
        )
    return TextLLM(model, tokenizer, [token for token in student.never_sample if token < size])


def _token_fault(tokenizer: Any, student: AudioLLM, size: int) -> str:
    """Return how the tokens of a teacher differ from those that a response of ``student`` may have;
    empty where they do not.

    Only added tokens that end no response may differ: an audio model has tokens of its own there.
    """
    if tokenizer.chat_template is None:
        return "its tokenizer has no chat template"
    own, others = student.tokenizer.get_vocab(), tokenizer.get_vocab()
    added = set(student.tokenizer.get_added_vocab())
    ends = set(student.tokenizer.convert_ids_to_tokens(end_ids(student)))
    wanted = {token: index for token, index in own.items() if token not in added or token in ends}
    different = [token for token, index in wanted.items() if others.get(token) != index]
    if different:
        return f"{counted(len(different), 'token')}, {min(different)!r} for one"
    outside = [token for token, index in wanted.items() if index >= size]
    return f"its head lacks {counted(len(outside), 'token')}" if outside else ""


def check_folder(folder: Path) -> None:
    """Raise ``UserError`` where a text model's folder is missing."""
    if not folder.is_dir():
        raise UserError(f"base.text_teacher: {folder} is no folder: give that of a text model")


def load_text_llm(folder: Path, student: AudioLLM) -> TextLLM:
    """Return the text model in ``folder`` as the teacher of ``student``, from safetensors only, on
    the student's device.

    Raise ``UserError`` where it cannot be read or does not fit.
    """
    check_folder(folder)
    try:
        model = AutoModelForCausalLM.from_pretrained(
            folder,
            use_safetensors=True,
            dtype=inference_dtype(student.device),
            local_files_only=True,
        )
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # transformers, tokenizers and safetensors share no error
        raise UserError(
            f"base.text_teacher: the model in {folder} cannot be loaded: {first_line(error)}"
        ) from error
    frozen = model.to(student.device).eval().requires_grad_(False)
    return text_llm(frozen, tokenizer, student, str(folder))


def open_text_llm(base: Path, student: AudioLLM) -> TextLLM:
    """Return the text teacher that stage ``base`` made or recorded in the folder ``base``.

    Raise ``UserError`` where there is none, or where a recorded model has changed.
    """
    folder = base / FOLDER
    if not folder.is_dir():
        raise UserError(
            f"{base} has no text teacher, which the method needs: set base.text_teacher and run"
            " `echodistill run base`"
        )
    if not (folder / POINTER).is_file():
        return load_text_llm(folder, student)
    pointer = json.loads((folder / POINTER).read_text(encoding="utf-8"))
    target = Path(pointer["model"])
    if changed := changed_files(pointer["files"], file_hashes(target)):
        raise UserError(
            f"the text teacher in {target} has changed since stage base ({shown(changed)}): restore"
            " it, or run `dvc repro --force base`"
        )
    return load_text_llm(target, student)

"""The one seam to transformers: load an audio language model, encode a clip and a question,
generate, score.

Shapes: B rows, P prompt tokens (left-padded), T response tokens (right-padded), V vocabulary, M mel
bins, F mel frames.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import echodistill.models.torchaudio_guard  # noqa: F401

import torch
from transformers import (
    AutoConfig,
    AutoModelForMultimodalLM,
    AutoProcessor,
    GenerationConfig,
    logging,
)
from transformers.utils import cached_file

from echodistill.audio.levels import Waveform
from echodistill.errors import UserError
from echodistill.models import qwen2_audio
from echodistill.models.faults import (
    LoadingInfo,
    file_fault,
    first_line,
    key_fault,
    number_fault,
    type_fault,
)
from echodistill.models.layout import WEIGHTS, files_read
from echodistill.models.precision import WeightsDtype, chosen_device, inference_dtype
from echodistill.models.prompts import question_text
from echodistill.models.response_limit import check_context
from echodistill.models.shared_audio import share_encodings
from echodistill.models.tokens import check_template, complete_tokens

FAMILIES = {"qwen2_audio": qwen2_audio}
IGNORED = ("generation_config.json", "chat_template.jinja")
"""Files that transformers goes on without where they are damaged: a response would end elsewhere, a
prompt look different.
"""


@dataclass(frozen=True)
class Prompt:
    """What a model is asked: a clip (samples,) at 16 kHz, a question and its choices. Without a
    clip, as a control, the text alone.
    """

    waveform: Waveform | None
    question: str
    choices: Sequence[str]


@dataclass(frozen=True)
class PromptBatch:
    """Encoded prompts."""

    input_ids: torch.Tensor
    """(B, P) int64, left-padded, audio placeholders expanded."""
    attention_mask: torch.Tensor
    """(B, P) int64."""
    features: dict[str, torch.Tensor]
    """What the audio encoder takes, e.g. ``input_features`` (B, M, F); dim 0 is B everywhere."""

    def to(self, device: torch.device) -> "PromptBatch":
        moved = {name: tensor.to(device) for name, tensor in self.features.items()}
        return PromptBatch(self.input_ids.to(device), self.attention_mask.to(device), moved)

    def repeat(self, times: int) -> "PromptBatch":
        """Each row ``times`` times in a row: the prompts of a group of rollouts."""
        repeated = {
            name: tensor.repeat_interleave(times, dim=0) for name, tensor in self.features.items()
        }
        ids, mask = (
            tensor.repeat_interleave(times, dim=0)
            for tensor in (self.input_ids, self.attention_mask)
        )
        return PromptBatch(ids, mask, repeated)

    def take(self, rows: torch.Tensor) -> "PromptBatch":
        """Return the rows chosen by a mask (B,) bool or by their numbers (N,) int64."""
        chosen = {name: tensor[rows] for name, tensor in self.features.items()}
        return PromptBatch(self.input_ids[rows], self.attention_mask[rows], chosen)


@dataclass(frozen=True)
class AudioLLM:
    """A model with its processor."""

    model: Any
    processor: Any
    family: Any
    """The module that knows this architecture's audio input."""
    published_generation: GenerationConfig
    """The checkpoint's own generation config. Nothing here generates with it; ``save`` writes it
    back.
    """

    @property
    def tokenizer(self) -> Any:
        return self.processor.tokenizer

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def never_sample(self) -> list[int]:
        """Ids of tokens that no response may hold."""
        ids: list[int] = self.family.never_sample(self.processor)
        return ids

    def save(self, folder: Path) -> None:
        """Write weights as safetensors, processor, config, and the checkpoint's own generation
        config.
        """
        self.model.save_pretrained(folder)
        self.processor.save_pretrained(folder)
        self.save_generation_config(folder)

    def save_generation_config(self, folder: Path) -> None:
        """Write the checkpoint's own generation config, valid or not: many published ones would not
        pass ``save_pretrained``.
        """
        self.published_generation.to_json_file(folder / "generation_config.json")


def load(
    name: str,
    device: str = "auto",
    trust_remote_code: bool = False,
    revision: str | None = None,
    dtype: WeightsDtype | None = None,
) -> AudioLLM:
    """Load a local folder or hub id (at the commit ``revision``), safetensors only.

    ``dtype`` is the format of the weights in memory, ``None`` the one for answering questions
    (``inference_dtype``). Raises ``UserError`` when it cannot be found, is of a family not
    supported, has no safetensors weights, or is not whole: a key that is missing, of another shape
    or not the model's own, a number that is none, a file that is not what its name says.
    """
    options = {"trust_remote_code": trust_remote_code, "revision": revision}
    # weights load in a moment; the bar would only break up a stage's own output
    logging.disable_progress_bar()
    target = chosen_device(device)
    dtype = inference_dtype(target) if dtype is None else dtype
    try:
        config = AutoConfig.from_pretrained(name, **options)
        if config.model_type not in FAMILIES:
            known = ", ".join(sorted(FAMILIES))
            raise UserError(
                f"model {name}: family {config.model_type!r} is not supported yet; supported:"
                f" {known}"
            )
        processor = AutoProcessor.from_pretrained(name, **options)
        with _without_report():
            model, info = AutoModelForMultimodalLM.from_pretrained(
                name,
                use_safetensors=True,
                dtype=dtype,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
                **options,
            )
    except UserError:
        raise
    except (
        Exception
    ) as error:  # transformers, tokenizers, safetensors and json have no error in common
        folder = local_folder(name, revision)
        reason = file_fault(files_read(folder)) if folder is not None else ""
        reason = reason or f"{first_line(error)}. Give a local folder with safetensors or a hub id"
        raise UserError(f"model {name} cannot be loaded: {reason}") from error
    if fault := _loaded_fault(name, revision, model.to(target).eval(), info):
        raise UserError(f"model {name} cannot be used: {fault}")
    family = FAMILIES[config.model_type]
    if fault := family.fit_fault(config, processor):
        raise UserError(
            f"model {name} cannot be used: its files do not belong together: {fault}: give all"
            " files of one model"
        )
    try:
        check_template(family, processor)
        return wrap(model, processor)
    except UserError as error:
        raise UserError(f"model {name} cannot be used: {error}") from error


def local_folder(name: str, revision: str | None) -> Path | None:
    """Return the folder of a model's files on this machine: its own, or that of the hub's cache;
    ``None`` where there is none.
    """
    try:
        found = cached_file(name, "config.json", revision=revision, local_files_only=True)
    except OSError:  # also where there is no such name
        return None
    return Path(found).parent if found else None


@contextmanager
def _without_report() -> Iterator[None]:
    """Keep transformers from printing a table of what it has found: what is wrong there is raised
    as one line.
    """
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _loaded_fault(name: str, revision: str | None, model: Any, info: LoadingInfo) -> str:
    """Return what is wrong with a model that transformers has loaded all the same."""
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


def wrap(model: Any, processor: Any) -> AudioLLM:
    """Return an ``AudioLLM`` of a model already in memory.

    The model generates with a neutral config from now on: a checkpoint's own
    (``repetition_penalty``, ``top_k``, ``min_length``, ...) would change greedy answers and make
    samples disagree with the log-probabilities that are computed for them. Raises ``UserError``
    when no token is known that ends a response.
    """
    family = FAMILIES[model.config.model_type]
    published = model.generation_config
    complete_tokens(processor.tokenizer, published, model.config.get_text_config().vocab_size)
    model.generation_config = neutral_generation(published)
    # TRL asks for this id and then never lets the policy sample an audio placeholder
    model.config.image_token_id = family.audio_token_id(processor)
    share_encodings(family.encoder(model))
    return AudioLLM(model=model, processor=processor, family=family, published_generation=published)


def neutral_generation(published: GenerationConfig) -> GenerationConfig:
    """Return a generation config that keeps the special token ids of ``published`` and nothing else
    of it.
    """
    return GenerationConfig(
        bos_token_id=published.bos_token_id,
        eos_token_id=published.eos_token_id,
        pad_token_id=published.pad_token_id,
    )


def encode(llm: AudioLLM, prompts: Sequence[Prompt]) -> PromptBatch:
    """Encode clips and questions (on the CPU); all prompts of a batch have a clip or none has.

    Raises ``UserError`` for a clip longer than the model's window.
    """
    waveforms = [prompt.waveform for prompt in prompts if prompt.waveform is not None]
    if len(waveforms) not in (0, len(prompts)):
        raise ValueError("a batch of prompts with and without a clip")
    features, audio_tokens = (
        llm.family.encode_audio(llm.processor, waveforms) if waveforms else ({}, [0] * len(prompts))
    )
    texts = [
        llm.family.render(llm.processor, question_text(prompt.question, prompt.choices), count)
        for prompt, count in zip(prompts, audio_tokens, strict=True)
    ]
    rows = [llm.tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    input_ids, attention_mask = pad_rows(rows, llm.tokenizer.pad_token_id, left=True)
    return PromptBatch(input_ids, attention_mask, features)


def pad_rows(
    rows: Sequence[Sequence[int]], pad_id: int, left: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Token rows as (B, longest) int64 with their mask, padded left or right."""
    width = max(len(row) for row in rows)
    ids = torch.full((len(rows), width), pad_id, dtype=torch.int64)
    mask = torch.zeros((len(rows), width), dtype=torch.int64)
    for index, row in enumerate(rows):
        place = slice(width - len(row), width) if left else slice(0, len(row))
        ids[index, place] = torch.tensor(row, dtype=torch.int64)
        mask[index, place] = 1
    return ids, mask


def end_ids(llm: AudioLLM) -> list[int]:
    """Tokens that end a response."""
    configured = llm.model.generation_config.eos_token_id
    ids = configured if isinstance(configured, list) else [configured]
    return sorted({*[i for i in ids if i is not None], llm.tokenizer.eos_token_id})


def greedy(llm: AudioLLM, max_new_tokens: int) -> dict[str, Any]:
    """Return the arguments of ``generate`` for greedy decoding without any of the audio tokens."""
    return {
        "max_new_tokens": max_new_tokens,
        "do_sample": False,
        "suppress_tokens": llm.never_sample,
        "pad_token_id": llm.tokenizer.pad_token_id,
        "eos_token_id": end_ids(llm),
    }


@torch.inference_mode()
def generate(llm: AudioLLM, batch: PromptBatch, max_new_tokens: int) -> list[list[int]]:
    """Return greedy responses as token ids, end-of-turn token included. The policy can never emit
    an audio token.
    """
    check_context(llm.model, batch.input_ids.shape[1], max_new_tokens)
    batch = batch.to(llm.device)
    output = llm.model.generate(
        input_ids=batch.input_ids,
        attention_mask=batch.attention_mask,
        **batch.features,
        **greedy(llm, max_new_tokens),
    )
    return up_to_end(llm, output[:, batch.input_ids.shape[1] :])


def up_to_end(llm: AudioLLM, responses: torch.Tensor) -> list[list[int]]:
    """Cut each row of generated ids (B, T) behind its first end token."""
    ends = set(end_ids(llm))
    rows = []
    for row in responses.tolist():
        stop = next((index + 1 for index, token in enumerate(row) if token in ends), len(row))
        rows.append(row[:stop])
    return rows


def decode(llm: AudioLLM, token_ids: Sequence[int]) -> str:
    return llm.tokenizer.decode(list(token_ids), skip_special_tokens=True).strip()


def score(
    model: Any,
    batch: PromptBatch,
    response_ids: torch.Tensor,
    response_mask: torch.Tensor,
    never_sample: Sequence[int],
) -> torch.Tensor:
    """Return teacher-forced logits (B, T, V) float32: position t predicts response token t, given
    the batch's audio.

    ``response_ids`` and ``response_mask`` are (B, T) int64. The logits of ``never_sample`` are
    ``-inf``, so that probabilities are those that responses are drawn with. The model's own forward
    is called, so adapters, DDP and autocast apply.
    """
    mask = torch.cat([batch.attention_mask, response_mask], dim=1)
    output = model(
        input_ids=torch.cat([batch.input_ids, response_ids], dim=1),
        attention_mask=mask,
        position_ids=(mask.cumsum(dim=1) - 1).clamp(min=0),
        use_cache=False,
        **batch.features,
    )
    width = response_ids.shape[1]
    return without(output.logits[:, -width - 1 : -1].float(), never_sample)


def without(logits: torch.Tensor, token_ids: Sequence[int]) -> torch.Tensor:
    """Return ``logits`` (..., V) with those of ``token_ids`` at ``-inf``."""
    forbidden = torch.zeros(logits.shape[-1], dtype=torch.bool, device=logits.device)
    forbidden[list(token_ids)] = True
    return logits.masked_fill(forbidden, -torch.inf)

"""Pre-train a ``nano`` model from random weights on training clips with mild noise.

Noise-robust methods need a base that was trained in noise: any other leaves them nothing to
improve. The noise is coloured noise, which is none of the kinds of ``mixes.kinds``. Each of these
is then equally new to the base, whichever are held out of a later training.

Towards the end, noise alone replaces the clip in a share of the examples. Nothing can be understood
in these, so the model learns to choose among the offered choices instead of naming a similar word
that was not offered. A later method's gain is then more understanding rather than better format.

A share of the batches may give the transcript as text in place of the clip, so that the model can
be a teacher whose view is the transcript. A batch has one of the two, because an encoded batch has
audio in all rows or in none.

An auxiliary CTC loss on the encoder (words of the transcript), for clips whose transcript is known,
shortens the first plateau. Its head is discarded after pre-training.
"""

import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import echodistill.models.torchaudio_guard  # noqa: F401

import numpy as np
import torch
from transformers import Trainer, TrainerCallback, TrainingArguments

from echodistill.audio.levels import SAMPLE_RATE, Waveform, fit_length, power
from echodistill.audio.noises import coloured
from echodistill.core.records import Question
from echodistill.core.seeds import rng
from echodistill.data.store import Corpus
from echodistill.methods.supervised import cross_entropy
from echodistill.models.audio_llm import AudioLLM, encode
from echodistill.models.base import Prompt, PromptBatch, pad_rows, prompt_about_text, prompt_of
from echodistill.models.prompts import gold_response, worked_response
from echodistill.models.scoring import score
from echodistill.params.base import NanoParams, TextNanoParams
from echodistill.training.bar import remove_printer
from echodistill.training.checkpoints import CompleteCheckpoints, ExactWeights, train_to_end

LOGGED_EVERY = 10  # Number of steps between two log lines.
BANK_SIZE, BANK_S = 128, 3.0  # Number of noises made in advance, and their length in seconds.
# Share of the examples after which noise alone may occur. Before the model has learned to recognise
# words, noise alone would only slow it down.
NOISE_ONLY_FROM = 0.6
SLOPE_DB = (-6.0, 0.0)  # Slope of the noises' power in dB per octave, from brown to white noise.
# Range of the random gain in dB, which keeps the model from relying on loudness.
LEVEL_DB = (-6.0, 3.0)


@dataclass(frozen=True)
class Example:
    """One pre-training example."""

    prompt: Prompt
    question: Question
    audible: bool
    """Whether the prompt's audio contains the clip, and not noise alone."""


class PretrainExamples(torch.utils.data.Dataset[int]):
    """A data set whose example ``i`` is a question and a noise drawn from a stream that ``i``
    seeds.

    The order of access and a resume therefore change nothing.
    """

    def __init__(self, corpus: Corpus, settings: NanoParams, seed: int) -> None:
        self._corpus, self._settings, self._seed = corpus, settings, seed
        self._first_noise_only = round(NOISE_ONLY_FROM * len(self))
        self._questions = corpus.questions_of(corpus.pretraining_split)
        self._described = [each for each in self._questions if corpus.text_of(each.clip_id)]
        self._bank = [_bank_noise(seed, number) for number in range(BANK_SIZE)]

    def __len__(self) -> int:
        return self._settings.steps * self._settings.batch

    def __getitem__(self, number: int) -> int:
        return number

    def example(self, number: int) -> Example:
        """Return example ``number``."""
        if self._described and self._has_text(number // self._settings.batch):
            return self._text_example(number)
        stream = rng(self._seed, "pretrain", number)
        question = self._questions[stream.integers(len(self._questions))]
        clean = self._corpus.waveform(question.clip_id)
        noise = fit_length(
            self._bank[stream.integers(len(self._bank))],
            len(clean),
            int(stream.integers(0, int(BANK_S * SAMPLE_RATE))),
        )
        snr_db = stream.uniform(self._settings.min_snr_db, self._settings.max_snr_db)
        audible = number < self._first_noise_only or bool(
            stream.random() >= self._settings.noise_only_share
        )
        gain = 10.0 ** (stream.uniform(*LEVEL_DB) / 20.0)
        level = np.sqrt(power(clean))
        noisy = clean + level * 10.0 ** (-snr_db / 20.0) * noise if audible else level * noise
        return Example(
            prompt_of(question, (gain * noisy).astype(np.float32)),
            question,
            audible,
        )

    def _has_text(self, batch: int) -> bool:
        """Return whether the prompts of a batch have the transcript in place of the clip."""
        share = self._settings.transcript_share
        return bool(rng(self._seed, "pretrain", "written", batch).random() < share)

    def _text_example(self, number: int) -> Example:
        stream = rng(self._seed, "pretrain", "written example", number)
        question = self._described[stream.integers(len(self._described))]
        prompt = prompt_about_text(question, self._corpus.text_of(question.clip_id))
        return Example(prompt, question, audible=False)


def target_of(question: Question) -> str:
    """Return the response that pre-training teaches: where a chain is asked for, the worked
    solution with the answer, if it is known.
    """
    if question.style == "chain" and question.solution:
        return worked_response(question.solution, question.answer)
    return gold_response(question.answer, question.style)


def _bank_noise(seed: int, number: int) -> Waveform:
    """Return one noise of the bank at unit power, float32, shape (samples,)."""
    stream = rng(seed, "pretrain", "coloured", number)
    noise = coloured(stream, int(BANK_S * SAMPLE_RATE), float(stream.uniform(*SLOPE_DB)))
    return (noise / np.sqrt(power(noise))).astype(np.float32)


def words_of(transcript: str) -> list[str]:
    """Return the spoken words of a transcript in lower case, without punctuation."""
    bare = (word.strip(string.punctuation) for word in transcript.casefold().split())
    return [word for word in bare if word]


class _WordCtc(torch.nn.Module):
    """A linear head from encoder frames to words of the transcripts. It is discarded after
    pre-training.
    """

    def __init__(self, width: int, transcripts: Sequence[str]) -> None:
        super().__init__()
        words = sorted({word for text in transcripts for word in words_of(text)})
        self._number = {word: index for index, word in enumerate(words, start=1)}
        self.head = torch.nn.Linear(width, len(words) + 1)

    def loss(
        self, frames: torch.Tensor, lengths: torch.Tensor, transcripts: Sequence[str]
    ) -> torch.Tensor:
        """Return the CTC loss in nats per word.

        ``frames`` is (B, F, width); ``lengths`` (B,) is the number of frames of each clip.
        """
        log_probs = self.head(frames.float()).log_softmax(dim=-1).transpose(0, 1)
        rows = [[self._number[word] for word in words_of(text)] for text in transcripts]
        targets = torch.tensor([number for row in rows for number in row], device=frames.device)
        counts = torch.tensor([len(row) for row in rows], device=frames.device)
        return torch.nn.functional.ctc_loss(log_probs, targets, lengths, counts, zero_infinity=True)


class _Pretrainer(ExactWeights, Trainer):
    """A trainer with cross-entropy on the gold answer, plus CTC on clips whose transcript is
    known.
    """

    def __init__(
        self, llm: AudioLLM, data: PretrainExamples, corpus: Corpus, weight: float, **options: Any
    ) -> None:
        self._llm, self._data, self._corpus, self._weight = llm, data, corpus, weight
        known = [
            clip.transcript
            for clip in corpus.clips_of(corpus.pretraining_split)
            if clip.transcript and words_of(clip.transcript)
        ]
        self._ctc = bool(known) and weight > 0
        if self._ctc:  # The head is a submodule, so that the optimizer and checkpoints contain it.
            llm.model.ctc = _WordCtc(llm.model.config.audio_config.d_model, known)
            encoder = llm.family.shared_encoder(llm.model)
            assert encoder is not None  # A nano's encoder gives the frames of one clip in each row.
            encoder.register_forward_hook(self._keep_frames)
        super().__init__(model=llm.model, train_dataset=data, data_collator=list, **options)

    def _keep_frames(self, _module: Any, _inputs: Any, output: Any) -> None:
        self._frames = output.last_hidden_state

    def _get_train_sampler(self, *_args: Any, **_kwargs: Any) -> torch.utils.data.Sampler:
        return torch.utils.data.SequentialSampler(self._data)

    def _prepare_inputs(self, inputs: Any) -> Any:
        return inputs

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        examples = [self._data.example(number) for number in inputs]
        batch = encode(self._llm, [example.prompt for example in examples]).to(self.args.device)
        tokenizer = self._llm.tokenizer
        gold = [
            [*tokenizer(target_of(example.question))["input_ids"], tokenizer.eos_token_id]
            for example in examples
        ]
        ids, mask = (
            tensor.to(self.args.device)
            for tensor in pad_rows(gold, tokenizer.pad_token_id, left=False)
        )
        loss = cross_entropy(score(model, batch, ids, mask, self._llm.family), ids, mask).mean()
        transcripts = [
            self._corpus.clips[example.question.clip_id].transcript or "" if example.audible else ""
            for example in examples
        ]
        known = torch.tensor(
            [bool(words_of(text)) for text in transcripts], device=self.args.device
        )
        if self._ctc and known.any():
            texts = [
                text for text, is_known in zip(transcripts, known.tolist(), strict=True) if is_known
            ]
            loss = loss + self._weight * model.ctc.loss(
                self._frames[known], self._audio_lengths(batch)[known], texts
            )
        return loss

    def _audio_lengths(self, batch: PromptBatch) -> torch.Tensor:
        return (batch.input_ids == self._llm.model.config.image_token_id).sum(dim=1)


def pretraining_arguments(
    settings: NanoParams | TextNanoParams, seed: int, folder: Path
) -> TrainingArguments:
    """Return the arguments of a pre-training from random weights, with checkpoints in
    ``folder``.
    """
    return TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=settings.batch,
        max_steps=settings.steps,
        learning_rate=settings.learning_rate,
        weight_decay=0.05,
        adam_beta2=0.98,
        max_grad_norm=1.0,
        lr_scheduler_type="cosine",
        warmup_steps=max(1, round(0.12 * settings.steps)),
        logging_steps=LOGGED_EVERY,
        logging_nan_inf_filter=False,
        save_steps=100,
        save_strategy="steps",
        report_to=[],
        seed=seed,
        use_cpu=not torch.cuda.is_available(),
        dataloader_pin_memory=False,
        remove_unused_columns=False,
        disable_tqdm=True,
    )


def pretrain(
    llm: AudioLLM,
    corpus: Corpus,
    settings: NanoParams,
    seed: int,
    folder: Path,
    callbacks: Callable[[], list[TrainerCallback]],
) -> None:
    """Train ``llm`` in place, with checkpoints in ``folder``, from which a killed run resumes."""
    arguments = pretraining_arguments(settings, seed, folder)
    data = PretrainExamples(corpus, settings, seed)
    trainer = _Pretrainer(
        llm,
        data,
        corpus,
        settings.ctc_weight,
        args=arguments,
        callbacks=[CompleteCheckpoints(), *callbacks()],
    )
    remove_printer(trainer)
    train_to_end(trainer, folder, settings.steps)
    if hasattr(llm.model, "ctc"):
        del llm.model.ctc
    llm.model.eval()

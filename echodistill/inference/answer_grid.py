"""Answer a grid: every question of a split under every mix of its clip.

A system may put a preprocessor between the noisy clip and the model.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from echodistill.audio.levels import Waveform
from echodistill.audio.mixing import Mix
from echodistill.audio.recordings import NoiseLibrary
from echodistill.core.counted import counted
from echodistill.core.environment import device_batch
from echodistill.core.progress import bar
from echodistill.core.records import GRIDS, Answer, GridRow, Question, read_rows, write_rows
from echodistill.data.store import Corpus
from echodistill.inference.resumable import Item, answer_items
from echodistill.models.audio_llm import AudioLLM
from echodistill.models.base import Prompt, prompt_of
from echodistill.models.checkpoint import load_base_or_student
from echodistill.models.response_limit import corpus_limit
from echodistill.params.generation import GenerationParams
from echodistill.training.run_folder import fingerprint, run_folder

Preprocessor = Callable[[Waveform], Waveform]
"""A function that changes a clip before the model receives it, such as a denoiser."""


def grid_items(
    corpus: Corpus,
    mixes_folder: Path,
    noise: NoiseLibrary,
    preprocessor: Preprocessor | None = None,
    split: str = "test",
) -> list[Item]:
    """Return one item for each row of the split's grid, in the grid's order."""
    mixes = {mix.mix_id: mix for mix in read_rows(mixes_folder / "mixes.parquet", Mix)}
    items = []
    for row in read_rows(mixes_folder / GRIDS[split], GridRow):
        mix, question = mixes[row.mix_id], corpus.questions[row.question_id]
        prompt = partial(_prompt, corpus, noise, mix, question, preprocessor)
        items.append(Item(mix.mix_id, question.question_id, mix.noise_kind, mix.snr_db, prompt))
    return items


def answer_grid(
    out: Path,
    label: str,
    run_fingerprint: str,
    llm: AudioLLM,
    items: list[Item],
    max_new_tokens: int,
    alike: bool = False,
) -> None:
    """Write greedy answers to the parquet file ``out``, and resume a killed run of the same
    ``run_fingerprint``.

    ``label`` names the progress bar. ``alike`` states that all items of a question have the same
    prompt: the model then answers each question once, and the answer is copied to the rows of all
    items.
    """
    asked = list({item.question_id: item for item in items}.values()) if alike else items
    journal = _journal(label, run_fingerprint)
    answers = _answers(label, journal, llm, asked, max_new_tokens)
    if alike:
        of_question = {answer.question_id: answer for answer in answers}
        answers = [
            replace(
                of_question[item.question_id],
                mix_id=item.mix_id,
                noise_kind=item.noise_kind,
                snr_db=item.snr_db,
            )
            for item in items
        ]
    write_rows(out, Answer, answers)
    journal.unlink()


@dataclass(frozen=True)
class InferenceJob:
    """One model that answers a grid, and the file that its answers are written to."""

    folder: Path
    out: Path
    """The parquet file for the answers."""
    stage: str
    facts: Mapping[str, object]
    """Values that the answers depend on, other than ``inputs`` and the length limit."""
    inputs: Mapping[str, Path | None]
    """Files and folders that the answers depend on, by name.

    A killed run with the same stage, facts, inputs and length limit is resumed.
    """


def base_and_student(
    stage: str,
    facts: Mapping[str, object],
    inputs: Mapping[str, Path | None],
    base: tuple[Path, Path],
    student: tuple[Path, Path],
) -> tuple[InferenceJob, InferenceJob]:
    """Return the jobs of the base and of the student, which share ``facts`` and ``inputs``.

    ``base`` and ``student`` are each a pair of model folder and answers file.
    """
    of_base = {**inputs, "base": base[0]}
    of_student = {**of_base, "student": student[0]}
    return InferenceJob(*base, stage, facts, of_base), InferenceJob(
        *student, stage, facts, of_student
    )


def answer_both(
    base: InferenceJob,
    student: InferenceJob,
    items: list[Item],
    corpus: Corpus,
    generation: GenerationParams,
) -> None:
    """Write greedy answers of the base and of the student that was trained from it.

    Only one model is in memory at a time. No file is written and no journal is removed before both
    models have answered.
    """
    made = []
    for asked in (base, student):
        label, llm = f"answer {asked.out.stem}", load_base_or_student(asked.folder, base.folder)
        limit = corpus_limit(llm.tokenizer, corpus.questions.values(), generation.max_new_tokens)
        if asked is base:
            print(f"responses have at most {counted(limit, 'token')}")
        journal = _journal(
            label, fingerprint(asked.stage, {**asked.facts, "max_new_tokens": limit}, asked.inputs)
        )
        made.append((asked.out, journal, _answers(label, journal, llm, items, limit)))
    for out, _, answers in made:
        write_rows(out, Answer, answers)
    for _, journal, _ in made:
        journal.unlink()


def _journal(label: str, run_fingerprint: str) -> Path:
    return run_folder(label.replace(" ", "-"), run_fingerprint) / "answers.jsonl"


def _answers(
    label: str, journal: Path, llm: AudioLLM, items: list[Item], max_new_tokens: int
) -> list[Answer]:
    with bar(len(items), label, "answers") as shown:
        return answer_items(llm, items, journal, device_batch(), max_new_tokens, shown.update)


def without_audio(corpus: Corpus, items: list[Item]) -> list[Item]:
    """Return the items with prompts that have no audio; all items of one question then have the
    same prompt.
    """

    def silent(question: Question) -> Prompt:
        return prompt_of(question, None)

    return [
        Item(
            item.mix_id,
            item.question_id,
            item.noise_kind,
            item.snr_db,
            partial(silent, corpus.questions[item.question_id]),
        )
        for item in items
    ]


def _prompt(
    corpus: Corpus,
    noise: NoiseLibrary,
    mix: Mix,
    question: Question,
    preprocessor: Preprocessor | None,
) -> Prompt:
    noisy = noise.render(mix, corpus.waveform(mix.clip_id)).noisy
    return prompt_of(question, noisy if preprocessor is None else preprocessor(noisy))

"""Stage ``answer_distorted`` of a comparison: make the answers of base and student to test clips
under distortions that are no added noise.
"""

from functools import partial
from pathlib import Path

from echodistill.audio.distortions.recipe import Distortion, defaults
from echodistill.audio.distortions.render import render
from echodistill.core.records import Question
from echodistill.data.store import Corpus
from echodistill.inference.answer_grid import answer_both, base_and_student
from echodistill.inference.resumable import Item
from echodistill.models.base import Prompt, prompt_of
from echodistill.params.whole import Params
from echodistill.stages.entry import run_stage
from echodistill.training.device import one_thread


def answer_distorted(
    params: Params,
    base_out: Path,
    student_out: Path,
    corpus_folder: Path,
    base_folder: Path,
    student_folder: Path,
) -> None:
    """Write the answers of base and student (parquet), with the distortion's name as the kind of
    noise and no SNR.
    """
    one_thread()
    facts, inputs = {"seed": params.seed}, {"corpus": corpus_folder}
    base, student = base_and_student(
        "answer_distorted", facts, inputs, (base_folder, base_out), (student_folder, student_out)
    )
    corpus = Corpus(corpus_folder)
    items = [
        Item(
            f"{question.clip_id}/{one.name}",
            question.question_id,
            one.name,
            None,
            partial(_prompt, corpus, question, one, params.seed),
        )
        for one in defaults()
        for question in corpus.questions_of("test")
    ]
    answer_both(base, student, items, corpus, params.generation)


def _prompt(corpus: Corpus, question: Question, distortion: Distortion, seed: int) -> Prompt:
    waveform = render(distortion, corpus.waveform(question.clip_id), seed, question.clip_id)
    return prompt_of(question, waveform)


if __name__ == "__main__":
    run_stage(answer_distorted, sections=("seed", "generation"))

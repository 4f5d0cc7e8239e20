"""Stage ``answer_distorted`` of a comparison: one model's answers to test clips under distortions that are no added noise."""

from functools import partial
from pathlib import Path

from echodistill.answering.grid import answer_grid
from echodistill.answering.journal import Item
from echodistill.audio.distortions.recipe import Distortion, defaults
from echodistill.audio.distortions.render import render
from echodistill.datasets.store import Corpus
from echodistill.models.audio_llm import Prompt
from echodistill.models.checkpoint import open_either
from echodistill.params import Params
from echodistill.records import Question
from echodistill.stages.entry import run_stage
from echodistill.training.device import one_thread
from echodistill.training.run_folder import fingerprint


def answer_distorted(params: Params, out: Path, corpus_folder: Path, base_folder: Path, model_folder: Path) -> None:
    """Write the answers to ``out`` (parquet), with the distortion's name as the kind of noise and no SNR.

    ``model_folder`` is the base folder again for the base.
    """
    one_thread()
    inputs = {"corpus": corpus_folder, "base": base_folder, "model": model_folder}
    mark = fingerprint("answer_distorted", params.predict.model_dump() | {"seed": params.seed}, inputs)
    llm = open_either(model_folder, base_folder)
    corpus = Corpus(corpus_folder)
    items = [
        Item(
            f"{question.clip_id}/{one.name}", question.question_id, one.name, None, partial(_prompt, corpus, question, one, params.seed)
        )
        for one in defaults()
        for question in corpus.questions_of("test")
    ]
    answer_grid(out, f"answer {out.stem}", mark, llm, items, params.predict.max_new_tokens)


def _prompt(corpus: Corpus, question: Question, distortion: Distortion, seed: int) -> Prompt:
    waveform = render(distortion, corpus.waveform(question.clip_id), seed, question.clip_id)
    return Prompt(waveform, question.question, question.choices)


if __name__ == "__main__":
    run_stage(answer_distorted, sections=("seed", "predict"))

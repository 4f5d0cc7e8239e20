"""Stage ``answer`` of a comparison: make one system's answers to the test, with audio or to the
questions alone.
"""

from pathlib import Path
from typing import Literal

from echodistill.core.counted import counted
from echodistill.data.mixes.noise_settings import open_noise
from echodistill.data.store import Corpus
from echodistill.inference.answer_grid import answer_grid, grid_items, without_audio
from echodistill.models.checkpoint import open_model
from echodistill.models.response_limit import corpus_limit
from echodistill.params.whole import Params
from echodistill.stages.entry import run_stage
from echodistill.training.device import one_thread
from echodistill.training.run_folder import fingerprint

InputMode = Literal["audio", "text"]


def answer_system(
    params: Params,
    input_mode: InputMode,
    out: Path,
    corpus_folder: Path,
    mixes_folder: Path,
    base_folder: Path,
    model_folder: Path,
) -> None:
    """Write the answers to ``out`` (parquet).

    ``input_mode`` is ``audio``, or ``text`` for the question alone, without audio.
    """
    one_thread()
    inputs = {
        "corpus": corpus_folder,
        "mixes": mixes_folder,
        "base": base_folder,
        "model": model_folder,
    }
    llm, corpus = open_model(model_folder, base_folder), Corpus(corpus_folder)
    limit = corpus_limit(llm.tokenizer, corpus.questions.values(), params.generation.max_new_tokens)
    print(f"responses have at most {counted(limit, 'token')}")
    run_fingerprint = fingerprint(
        "answer_system", {"input_mode": input_mode, "max_new_tokens": limit}, inputs
    )
    items = grid_items(corpus, mixes_folder, open_noise(mixes_folder, corpus))
    if input_mode == "text":
        items = without_audio(corpus, items)
    answer_grid(
        out, f"answer {out.stem}", run_fingerprint, llm, items, limit, alike=input_mode == "text"
    )


if __name__ == "__main__":
    run_stage(answer_system, sections=("generation",))

"""Stage ``predict@SYSTEM``: make the greedy answers of the base or the student to every question of
a split, clean and in noise.
"""

from pathlib import Path
from typing import Literal

from echodistill.core.counted import counted
from echodistill.core.records import Answer, write_rows
from echodistill.data.mixes.noise_settings import open_noise
from echodistill.data.store import Corpus
from echodistill.evaluated_student import is_absent
from echodistill.inference.answer_grid import answer_grid, grid_items
from echodistill.models.audio_llm import AudioLLM
from echodistill.models.checkpoint import open_base, open_model
from echodistill.models.response_limit import corpus_limit
from echodistill.params.whole import Params
from echodistill.stages.entry import run_stage
from echodistill.training.run_folder import fingerprint

Which = Literal["base", "student"]
Split = Literal["test", "decision"]


def predict(
    params: Params,
    system: Which,
    split: Split,
    out: Path,
    corpus_folder: Path,
    mixes_folder: Path,
    base_folder: Path,
    model_folder: Path,
) -> None:
    """Write the answers of ``system`` to ``out`` (parquet). For the base, ``model_folder`` is the
    base folder too.
    """
    corpus = Corpus(corpus_folder)
    items = grid_items(corpus, mixes_folder, open_noise(mixes_folder, corpus), split=split)
    # without questions (a source without a decision split) or without a student no model needs to
    # be opened
    if not items or is_absent(model_folder):
        write_rows(out, Answer, [])
        return
    inputs = {
        "corpus": corpus_folder,
        "mixes": mixes_folder,
        "base": base_folder,
        "model": model_folder,
    }
    llm = _open(system, base_folder, model_folder)
    limit = corpus_limit(llm.tokenizer, corpus.questions.values(), params.generation.max_new_tokens)
    print(f"responses have at most {counted(limit, 'token')}")
    run_fingerprint = fingerprint("predict", {"max_new_tokens": limit, "split": split}, inputs)
    answer_grid(out, f"predict {system} {split}", run_fingerprint, llm, items, limit)


def _open(system: Which, base_folder: Path, model_folder: Path) -> AudioLLM:
    return open_base(base_folder) if system == "base" else open_model(model_folder, base_folder)


if __name__ == "__main__":
    run_stage(predict, sections=("generation",))

"""Stage ``predict@SYSTEM``: greedy answers of the base or the student to every test question, clean and in every condition."""

from pathlib import Path
from typing import Literal

from echodistill.answering.grid import answer_grid, grid_items
from echodistill.audio.recordings import NoiseLibrary, recordings_folder
from echodistill.datasets.store import Corpus
from echodistill.models.audio_llm import AudioLLM
from echodistill.models.checkpoint import open_base, open_model
from echodistill.models.response_limit import corpus_limit
from echodistill.params import Params
from echodistill.stages.entry import run_stage
from echodistill.training.run_folder import fingerprint

Which = Literal["base", "student"]


def predict(
    params: Params, system: Which, out: Path, corpus_folder: Path, mixes_folder: Path, base_folder: Path, model_folder: Path
) -> None:
    """Write the answers of ``system`` to ``out`` (parquet). ``model_folder`` is the base folder again for the base."""
    recordings = recordings_folder(params.mixes.noise, params.mixes.recordings)
    inputs = {"corpus": corpus_folder, "mixes": mixes_folder, "base": base_folder, "model": model_folder, "recordings": recordings}
    llm, corpus = _open(system, base_folder, model_folder), Corpus(corpus_folder)
    limit = corpus_limit(llm.tokenizer, corpus.questions.values(), params.generation.max_new_tokens)
    print(f"responses have at most {limit} tokens")
    mark = fingerprint("predict", {"max_new_tokens": limit}, inputs)
    noise = NoiseLibrary(corpus.waveform, recordings)
    answer_grid(out, f"predict {system}", mark, llm, grid_items(corpus, mixes_folder, noise), limit)


def _open(system: Which, base_folder: Path, model_folder: Path) -> AudioLLM:
    return open_base(base_folder) if system == "base" else open_model(model_folder, base_folder)


if __name__ == "__main__":
    run_stage(predict, sections=("mixes.noise", "mixes.recordings", "generation"))

"""Stage ``answer`` of a comparison: one system's answers to the test, with or without something in front of the model."""

from pathlib import Path
from typing import Any

from echodistill.answering.grid import answer_grid, grid_items, without_audio
from echodistill.audio.denoise import DENOISERS
from echodistill.audio.recordings import NoiseLibrary, recordings_folder
from echodistill.datasets.store import Corpus
from echodistill.errors import UserError
from echodistill.models.checkpoint import open_either
from echodistill.params import Params
from echodistill.stages.entry import run_stage
from echodistill.training.device import one_thread
from echodistill.training.run_folder import fingerprint

PLAIN, TEXT = "plain", "text"


def answer_system(
    params: Params, front: str, out: Path, corpus_folder: Path, mixes_folder: Path, base_folder: Path, model_folder: Path
) -> None:
    """Write the answers to ``out`` (parquet). ``model_folder`` is the base folder again for the base.

    ``front`` is ``plain``; ``text`` for the question alone, without audio; or a denoiser, which is tried where noise is: clean and up
    to ``compare.headline_max_snr_db``.
    """
    if front not in (PLAIN, TEXT, *DENOISERS):
        raise UserError(f"nothing called {front!r} can stand in front of a model: {', '.join((PLAIN, TEXT, *DENOISERS))}")
    one_thread()
    recordings = recordings_folder(params.mixes.noise, params.mixes.recordings)
    inputs = {"corpus": corpus_folder, "mixes": mixes_folder, "base": base_folder, "model": model_folder, "recordings": recordings}
    limit = params.compare.headline_max_snr_db if front in DENOISERS else None
    mark = fingerprint("answer_system", params.predict.model_dump() | {"front": front, "limit": limit}, inputs)
    llm = open_either(model_folder, base_folder)
    corpus = Corpus(corpus_folder)
    items = grid_items(corpus, mixes_folder, NoiseLibrary(corpus.waveform, recordings), DENOISERS.get(front), limit)
    if front == TEXT:
        items = without_audio(corpus, items)
    answer_grid(out, f"answer {out.stem}", mark, llm, items, params.predict.max_new_tokens)


def _arguments(arguments: list[str]) -> list[Any]:
    return [arguments[0], *map(Path, arguments[1:])]


if __name__ == "__main__":
    run_stage(answer_system, sections=("mixes.noise", "mixes.recordings", "predict", "compare.headline_max_snr_db"), convert=_arguments)

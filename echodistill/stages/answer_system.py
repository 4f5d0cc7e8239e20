"""Stage ``answer`` of a comparison: one system's answers to the test, or to its questions alone."""

from pathlib import Path
from typing import Any

from echodistill.answering.grid import answer_grid, grid_items, without_audio
from echodistill.audio.recordings import NoiseLibrary, recordings_folder
from echodistill.datasets.store import Corpus
from echodistill.errors import UserError
from echodistill.models.checkpoint import open_either
from echodistill.params import Params
from echodistill.stages.entry import run_stage
from echodistill.training.device import one_thread
from echodistill.training.run_folder import fingerprint

HEARD = ("plain", "text")


def answer_system(
    params: Params, hears: str, out: Path, corpus_folder: Path, mixes_folder: Path, base_folder: Path, model_folder: Path
) -> None:
    """Write the answers to ``out`` (parquet). ``model_folder`` is the base folder again for the base.

    ``hears`` is ``plain``, or ``text`` for the question alone, without audio.
    """
    if hears not in HEARD:
        raise UserError(f"a model cannot hear {hears!r}: {' or '.join(HEARD)}")
    one_thread()
    recordings = recordings_folder(params.mixes.noise, params.mixes.recordings)
    inputs = {"corpus": corpus_folder, "mixes": mixes_folder, "base": base_folder, "model": model_folder, "recordings": recordings}
    mark = fingerprint("answer_system", params.predict.model_dump() | {"hears": hears}, inputs)
    llm = open_either(model_folder, base_folder)
    corpus = Corpus(corpus_folder)
    items = grid_items(corpus, mixes_folder, NoiseLibrary(corpus.waveform, recordings))
    if hears == "text":
        items = without_audio(corpus, items)
    answer_grid(out, f"answer {out.stem}", mark, llm, items, params.predict.max_new_tokens)


def _arguments(arguments: list[str]) -> list[Any]:
    return [arguments[0], *map(Path, arguments[1:])]


if __name__ == "__main__":
    run_stage(answer_system, sections=("mixes.noise", "mixes.recordings", "predict"), convert=_arguments)

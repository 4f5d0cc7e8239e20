"""Stage ``answer_denoised_…`` of a comparison: one model's answers to part of the test, cleaned by a denoiser first."""

from pathlib import Path

from echodistill.answering.grid import answer_grid, grid_items
from echodistill.answering.sample import denoised_mixes
from echodistill.audio.denoise import DENOISERS
from echodistill.audio.mixing import Mix
from echodistill.audio.recordings import NoiseLibrary, recordings_folder
from echodistill.datasets.store import Corpus
from echodistill.models.checkpoint import open_either
from echodistill.params import Denoiser, Params
from echodistill.records import read_rows
from echodistill.stages.entry import run_stage
from echodistill.training.device import one_thread
from echodistill.training.run_folder import fingerprint


def answer_denoised(
    params: Params, denoiser: Denoiser, out: Path, corpus_folder: Path, mixes_folder: Path, base_folder: Path, model_folder: Path
) -> None:
    """Write the answers to ``out`` (parquet). ``model_folder`` is the base folder again for the base."""
    one_thread()
    recordings = recordings_folder(params.mixes.noise, params.mixes.recordings)
    inputs = {"corpus": corpus_folder, "mixes": mixes_folder, "base": base_folder, "model": model_folder, "recordings": recordings}
    limit = params.compare.headline_max_snr_db
    facts = params.predict.model_dump() | {"denoiser": denoiser, "limit": limit, "seed": params.seed}
    mark = fingerprint("answer_denoised", facts, inputs)
    llm = open_either(model_folder, base_folder)
    corpus = Corpus(corpus_folder)
    of_test = [mix for mix in read_rows(mixes_folder / "mixes.parquet", Mix) if mix.split == "test"]
    chosen = denoised_mixes(of_test, limit, params.seed)
    items = grid_items(corpus, mixes_folder, NoiseLibrary(corpus.waveform, recordings), DENOISERS[denoiser])
    answer_grid(out, f"answer {out.stem}", mark, llm, [item for item in items if item.mix_id in chosen], params.predict.max_new_tokens)


if __name__ == "__main__":
    run_stage(answer_denoised, sections=("seed", "mixes.noise", "mixes.recordings", "predict", "compare.headline_max_snr_db"))

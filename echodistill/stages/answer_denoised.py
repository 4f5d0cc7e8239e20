"""Stage ``answer_denoised`` of a comparison: make the answers of base and student to the part of
the test that a denoiser has processed.
"""

from pathlib import Path

from echodistill.audio.denoise import DENOISERS, SLOW
from echodistill.audio.mixing import Mix
from echodistill.core.records import read_rows
from echodistill.data.mixes.noise_settings import open_noise
from echodistill.data.store import Corpus
from echodistill.inference.answer_grid import answer_both, base_and_student, grid_items
from echodistill.inference.disk_cached_denoiser import DiskCachedDenoiser
from echodistill.inference.sample import denoised_mixes
from echodistill.params.compare import Denoiser
from echodistill.params.whole import Params
from echodistill.stages.entry import run_stage
from echodistill.training.device import one_thread
from echodistill.training.run_folder import fingerprint, single_run_folder


def answer_denoised(
    params: Params,
    denoiser: Denoiser,
    base_out: Path,
    student_out: Path,
    corpus_folder: Path,
    mixes_folder: Path,
    base_folder: Path,
    student_folder: Path,
) -> None:
    """Write the answers of base and student (parquet). The output of a slow denoiser is kept as
    long as the clips stay the same.
    """
    one_thread()
    inputs: dict[str, Path | None] = {"corpus": corpus_folder, "mixes": mixes_folder}
    limit = params.evaluate.headline_max_snr_db
    facts = {"denoiser": denoiser, "limit": limit, "seed": params.seed}
    base, student = base_and_student(
        "answer_denoised", facts, inputs, (base_folder, base_out), (student_folder, student_out)
    )
    corpus = Corpus(corpus_folder)
    of_test = [mix for mix in read_rows(mixes_folder / "mixes.parquet", Mix) if mix.split == "test"]
    chosen = denoised_mixes(of_test, limit, params.seed)
    preprocessor = DENOISERS[denoiser]
    if denoiser in SLOW:
        preprocessor = DiskCachedDenoiser(
            preprocessor,
            single_run_folder(f"denoised-{denoiser}", fingerprint("answer_denoised", {}, inputs)),
        )
    items = grid_items(corpus, mixes_folder, open_noise(mixes_folder, corpus), preprocessor)
    items = [item for item in items if item.mix_id in chosen]
    answer_both(base, student, items, corpus, params.generation)


if __name__ == "__main__":
    run_stage(answer_denoised, sections=("seed", "generation", "evaluate.headline_max_snr_db"))

"""Stage ``predict_train_mixes`` of a comparison: make the answers of base and student to noisy
clips that training had.
"""

from functools import partial
from pathlib import Path

from echodistill.audio.mixing import Mix
from echodistill.audio.recordings import NoiseLibrary
from echodistill.core.records import Question, read_rows
from echodistill.core.seeds import rng
from echodistill.data.mixes.noise_settings import open_noise
from echodistill.data.store import Corpus
from echodistill.inference.answer_grid import answer_both, base_and_student
from echodistill.inference.resumable import Item
from echodistill.models.base import Prompt, prompt_of
from echodistill.params.whole import Params
from echodistill.stages.entry import run_stage
from echodistill.training.device import one_thread

MIXES = 900
"""Number of mixes of the training split, drawn at random."""


def predict_train_mixes(
    params: Params,
    base_out: Path,
    student_out: Path,
    corpus_folder: Path,
    mixes_folder: Path,
    base_folder: Path,
    student_folder: Path,
) -> None:
    """Write the answers of base and student (parquet)."""
    one_thread()
    facts = {"seed": params.seed, "mixes": MIXES}
    inputs = {"corpus": corpus_folder, "mixes": mixes_folder}
    base, student = base_and_student(
        "predict_train_mixes", facts, inputs, (base_folder, base_out), (student_folder, student_out)
    )
    corpus = Corpus(corpus_folder)
    noise = open_noise(mixes_folder, corpus)
    of_clip: dict[str, list[Question]] = {}
    for question in corpus.questions_of("train"):
        of_clip.setdefault(question.clip_id, []).append(question)
    noisy = [
        mix
        for mix in read_rows(mixes_folder / "mixes.parquet", Mix)
        if mix.split == "train" and mix.snr_db is not None
    ]
    drawn = sorted(rng(params.seed, "train mixes").permutation(len(noisy))[:MIXES])
    items = [
        Item(
            mix.mix_id,
            question.question_id,
            mix.noise_kind,
            mix.snr_db,
            partial(_prompt, corpus, noise, mix, question),
        )
        for mix in (noisy[index] for index in drawn)
        for question in of_clip.get(mix.clip_id, [])
    ]
    answer_both(base, student, items, corpus, params.generation)


def _prompt(corpus: Corpus, noise: NoiseLibrary, mix: Mix, question: Question) -> Prompt:
    return prompt_of(question, noise.render(mix, corpus.waveform(mix.clip_id)).noisy)


if __name__ == "__main__":
    run_stage(predict_train_mixes, sections=("seed", "generation"))

"""Stage ``predict@SYSTEM``: greedy answers of the base or the student to every test question, clean and in every condition."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from echodistill.audio.mixing import Mix
from echodistill.audio.recordings import NoiseLibrary, recordings_folder
from echodistill.datasets.store import Corpus
from echodistill.evaluation.answering import Item, answer_items
from echodistill.models.audio_llm import AudioLLM, Prompt
from echodistill.models.checkpoint import open_base, open_model
from echodistill.params import Params
from echodistill.progress import bar
from echodistill.records import Answer, GridRow, Question, read_rows, write_rows
from echodistill.stages.entry import run_stage
from echodistill.training.device import device_batch
from echodistill.training.run_folder import fingerprint, run_folder

SYSTEMS = ("base", "student")


def predict(
    params: Params, system: str, out: Path, corpus_folder: Path, mixes_folder: Path, base_folder: Path, model_folder: Path
) -> None:
    """Write the answers of ``system`` to ``out`` (parquet). ``model_folder`` is the base folder again for the base."""
    recordings = recordings_folder(params.mixes.noise, params.mixes.recordings)
    inputs = {"corpus": corpus_folder, "mixes": mixes_folder, "base": base_folder, "model": model_folder, "recordings": recordings}
    mark = fingerprint("predict", params.predict.model_dump(), inputs)
    llm = _open(system, base_folder, model_folder)
    corpus = Corpus(corpus_folder)
    noise = NoiseLibrary(corpus.waveform, recordings)
    items = list(_items(corpus, mixes_folder, noise))
    journal = run_folder(f"predict-{system}", mark) / "answers.jsonl"
    with bar(len(items), f"predict {system}", "answers") as shown:
        answers = answer_items(llm, items, journal, device_batch(), params.predict.max_new_tokens, shown.update)
    write_rows(out, Answer, answers)
    journal.unlink()


def _open(system: str, base_folder: Path, model_folder: Path) -> AudioLLM:
    return open_base(base_folder) if system == "base" else open_model(model_folder, base_folder)


def _items(corpus: Corpus, mixes_folder: Path, noise: NoiseLibrary) -> Iterator[Item]:
    mixes = {mix.mix_id: mix for mix in read_rows(mixes_folder / "mixes.parquet", Mix)}
    for row in read_rows(mixes_folder / "grid.parquet", GridRow):
        mix, question = mixes[row.mix_id], corpus.questions[row.question_id]
        yield Item(mix.mix_id, question.question_id, mix.noise_kind, mix.snr_db, partial(_prompt, corpus, noise, mix, question))


def _prompt(corpus: Corpus, noise: NoiseLibrary, mix: Mix, question: Question) -> Prompt:
    return Prompt(noise.render(mix, corpus.waveform(mix.clip_id)).noisy, question.question, question.choices)


def _arguments(arguments: list[str]) -> list[Any]:
    return [arguments[0], *map(Path, arguments[1:])]


if __name__ == "__main__":
    run_stage(predict, sections=("mixes.noise", "mixes.recordings", "predict"), convert=_arguments)

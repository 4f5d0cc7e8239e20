"""Stage ``predict_champion``: make the greedy answers of the registry's champion to the decision
split, clean and in noise.
"""

from pathlib import Path

from echodistill.champion_answers import ANSWERS, ChampionStatus, write_status, write_unanswered
from echodistill.champion_folder import BASE, STUDENT, is_intact, read_facts
from echodistill.core.atomic import atomic_path
from echodistill.core.counted import counted
from echodistill.core.errors import UserError
from echodistill.data.mixes.noise_settings import open_noise
from echodistill.data.store import Corpus
from echodistill.inference.answer_grid import answer_grid, grid_items
from echodistill.models.audio_llm import AudioLLM
from echodistill.models.checkpoint import open_model
from echodistill.models.response_limit import corpus_limit
from echodistill.params.whole import Params
from echodistill.stages.entry import run_stage
from echodistill.training.run_folder import fingerprint


def predict_champion(
    params: Params, out: Path, corpus_folder: Path, mixes_folder: Path, champion: Path
) -> None:
    """Write the champion's answers to the folder ``out``; without a champion, write no answers and
    the reason.

    A champion that cannot be opened, or whose window is too short for the clips, does not stop the
    run, since otherwise no other student could ever be entered: ``out`` records the reason, and the
    decision is then negative.
    """
    facts = read_facts(champion)
    if facts.version is None or facts.reason:
        write_unanswered(out, ChampionStatus(facts.version, facts.reason))
        print(f"no champion answers: {facts.reason}")
        return
    if not is_intact(champion, facts):
        raise UserError(
            f"{champion} is damaged (files changed since they were fetched): delete it and run"
            " `echodistill run`"
        )
    corpus = Corpus(corpus_folder)
    items = grid_items(corpus, mixes_folder, open_noise(mixes_folder, corpus), split="decision")
    inputs = {"corpus": corpus_folder, "mixes": mixes_folder, "champion": champion}
    base = champion / BASE if (champion / BASE).is_dir() else None
    if not items:  # a source without a decision split needs no model
        write_unanswered(out, ChampionStatus(facts.version))
        return
    longest_s = max(clip.duration_s for clip in corpus.clips_of("decision"))
    try:
        llm = _open(champion / STUDENT, base, longest_s)
    except UserError as error:
        cure = "Once it can: `dvc repro --force predict_champion`"
        status = ChampionStatus(
            facts.version, f"version {facts.version} cannot answer: {error}. {cure}"
        )
        write_unanswered(out, status)
        print(f"no champion answers: {status.reason}")
        return
    limit = corpus_limit(llm.tokenizer, corpus.questions.values(), params.generation.max_new_tokens)
    print(f"responses have at most {counted(limit, 'token')}")
    run_fingerprint = fingerprint("predict_champion", {"max_new_tokens": limit}, inputs)
    with atomic_path(out) as temporary:
        temporary.mkdir()
        answer_grid(
            temporary / ANSWERS, "predict champion decision", run_fingerprint, llm, items, limit
        )
        write_status(temporary, ChampionStatus(facts.version))


def _open(student: Path, base: Path | None, longest_s: float) -> AudioLLM:
    """Return the champion's model. Raise ``UserError`` if it cannot be opened, or if its window is
    shorter than ``longest_s`` seconds.
    """
    llm = open_model(student, base)
    window_s = llm.family.max_seconds
    if longest_s > window_s:
        raise UserError(
            f"its window is {window_s:g} s, and the longest decision clip {longest_s:.1f} s"
        )
    return llm


if __name__ == "__main__":
    run_stage(predict_champion, sections=("generation",))

"""Stage ``mixes``: draw the noise recipes of every split, check each by rendering it once, and lay out the test."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from echodistill.atomic import atomic_path
from echodistill.audio.kinds import CLEAN, CROWD
from echodistill.audio.levels import snr_db
from echodistill.audio.mixing import Mix, draw
from echodistill.audio.noises import BABBLE_VOICES
from echodistill.audio.recordings import NoiseLibrary, list_recordings, recordings_folder
from echodistill.datasets.store import Corpus
from echodistill.params import MixesParams, Params
from echodistill.progress import track
from echodistill.records import GridRow, MixCheck, Question, write_rows
from echodistill.seeds import rng
from echodistill.stages.entry import run_stage


def mixes(params: Params, out: Path, corpus_folder: Path) -> None:
    """Make ``mixes.parquet`` (recipes), ``checks.parquet`` (what rendering gave) and ``grid.parquet`` (the test) in ``out``."""
    settings = params.mixes
    corpus = Corpus(corpus_folder)
    recordings = recordings_folder(settings.noise, settings.recordings)
    sources = _recordings(recordings, settings.kinds) if recordings else babble_sources(corpus)
    rows = [
        *training_mixes(params.seed, settings, corpus, sources),
        *_validation(params.seed, settings, corpus, sources),
        *_test(params.seed, settings, corpus, sources),
    ]
    noise = NoiseLibrary(corpus.waveform, recordings)
    checks = [_check(mix, corpus, noise) for mix in track(rows, len(rows), "mixes", "mixes")]
    with atomic_path(out) as temporary:
        temporary.mkdir()
        write_rows(temporary / "mixes.parquet", Mix, rows)
        write_rows(temporary / "checks.parquet", MixCheck, checks)
        write_rows(temporary / "grid.parquet", GridRow, grid_rows(corpus, rows))


def grid_rows(corpus: Corpus, rows: list[Mix]) -> Iterator[GridRow]:
    """What every system must answer: each test question under each mix of its clip."""
    questions: dict[str, list[Question]] = {}
    for question in corpus.questions_of("test"):
        questions.setdefault(question.clip_id, []).append(question)
    for mix in rows:
        if mix.split == "test":
            yield from (GridRow(mix.mix_id, question.question_id) for question in questions.get(mix.clip_id, []))


@dataclass(frozen=True)
class Sources:
    """What the noise of a kind is taken from: ``picks`` of the ``names``."""

    names: tuple[str, ...]
    picks: int


def babble_sources(corpus: Corpus) -> dict[str, Sources]:
    """Babble is made of training clips, also for the test: nobody in the crowd is a test speaker. Other kinds need no source."""
    return {CROWD: Sources(tuple(clip.clip_id for clip in corpus.clips_of("train")), BABBLE_VOICES)}


def _recordings(folder: Path, kinds: tuple[str, ...]) -> dict[str, Sources]:
    """One recording at a time, of ``crowd`` too: it is a crowd already."""
    return {kind: Sources(names, 1) for kind, names in list_recordings(folder, kinds).items()}


def _draw(seed: int, clip_id: str, split: str, kind: str, snr: float, repeat: int, sources: Mapping[str, Sources]) -> Mix:
    given = sources.get(kind, Sources((), 0))
    return draw(seed, clip_id, split, kind, snr, repeat, given.names, given.picks)


def training_mixes(seed: int, settings: MixesParams, corpus: Corpus, sources: Mapping[str, Sources]) -> Iterator[Mix]:
    """``train_draws`` recipes a training clip, of seen kinds only."""
    for clip in corpus.clips_of("train"):
        for repeat in range(settings.train_draws):
            stream = rng(seed, clip.clip_id, "training condition", repeat)
            if stream.random() < settings.train_clean_share:
                yield draw(seed, clip.clip_id, "train", CLEAN, None, repeat)
                continue
            kind = settings.seen[stream.integers(len(settings.seen))]
            snr = settings.train_snrs_db[stream.integers(len(settings.train_snrs_db))]
            yield _draw(seed, clip.clip_id, "train", kind, snr, repeat, sources)


def _validation(seed: int, settings: MixesParams, corpus: Corpus, sources: Mapping[str, Sources]) -> Iterator[Mix]:
    """Every validation clip clean and once at every SNR, each time under a seen kind drawn for it."""
    for clip in corpus.clips_of("validation"):
        yield draw(seed, clip.clip_id, "validation", CLEAN, None, 0)
        for snr in settings.snrs_db:
            kind = settings.seen[rng(seed, clip.clip_id, "validation kind", snr).integers(len(settings.seen))]
            yield _draw(seed, clip.clip_id, "validation", kind, snr, 0, sources)


def _test(seed: int, settings: MixesParams, corpus: Corpus, sources: Mapping[str, Sources]) -> Iterator[Mix]:
    """Every test clip clean and under every kind at every SNR."""
    for clip in corpus.clips_of("test"):
        yield draw(seed, clip.clip_id, "test", CLEAN, None, 0)
        for kind in settings.kinds:
            for snr in settings.snrs_db:
                yield _draw(seed, clip.clip_id, "test", kind, snr, 0, sources)


def _check(mix: Mix, corpus: Corpus, noise: NoiseLibrary) -> MixCheck:
    rendered = noise.render(mix, corpus.waveform(mix.clip_id))
    peak = float(max(np.max(np.abs(rendered.clean)), np.max(np.abs(rendered.noisy))))
    if mix.snr_db is None:
        return MixCheck(mix.mix_id, None, rendered.gain, peak)
    added = rendered.noisy.astype(np.float64) - rendered.clean.astype(np.float64)
    return MixCheck(mix.mix_id, snr_db(rendered.clean, added), rendered.gain, peak)


if __name__ == "__main__":
    run_stage(mixes, sections=("seed", "mixes"))

"""Stage ``mixes``: draw the noise recipes of every split, check each by rendering it once, and
write the grids.
"""

from collections.abc import Iterator
from itertools import chain
from operator import attrgetter
from pathlib import Path

from echodistill.audio.kinds import CROWD
from echodistill.audio.mixing import Mix
from echodistill.audio.recordings import NoiseLibrary
from echodistill.core.atomic import atomic_path
from echodistill.core.progress import track
from echodistill.core.records import GRIDS, SPLITS, GridRow, MixCheck, Question, write_rows
from echodistill.data.mixes.checking import FileChecker, RenderTaskBuilder, check, probe
from echodistill.data.mixes.drawing import Drawer
from echodistill.data.mixes.noise_settings import noise_settings, write_noise
from echodistill.data.mixes.sources import sources_of
from echodistill.data.store import Corpus
from echodistill.params.whole import Params
from echodistill.scale_out import ClusterThreshold, Serial, open_pool
from echodistill.stages.entry import run_stage

# 6,000 mixes take ten seconds on one core. Each process decodes the clips again, so two processes
# gain little, and lose on a busy machine (benchmarks/README.md).
LOCAL_CLUSTER = ClusterThreshold(items=6_000, cores=4)


def mixes(params: Params, out: Path, corpus_folder: Path, address: str | None = None) -> None:
    """Write ``mixes.parquet`` (recipes), ``checks.parquet`` (measurements of the rendered mixes),
    ``noise.json`` and the grids of ``GRIDS`` to ``out``.

    Mixes are drawn and checked on this machine's cores, or on the Dask cluster at ``address``.
    """
    settings = params.mixes
    corpus = Corpus(corpus_folder)
    noise = noise_settings(params.seed, settings)
    sources = sources_of(corpus, noise)
    if (babble := sources.get((CROWD, "test"))) and babble.group_of:
        print("mixes: no training clips, so a crowd is made of test clips of other groups")
    drawer = Drawer(params.seed, settings, sources)
    clips = [(clip.clip_id, split) for split in SPLITS for clip in corpus.clips_of(split)]
    with open_pool(
        address, Serial(), sum(drawer.count(split) for _, split in clips), LOCAL_CLUSTER, probe
    ) as pool:
        rows = list(chain.from_iterable(pool.map(drawer, clips)))
        if pool.shares_files:
            checked = pool.map(FileChecker(corpus_folder, noise.recorded), rows)
        else:
            build_task = RenderTaskBuilder(corpus, NoiseLibrary(corpus.waveform, noise.recorded))
            checked = pool.map(check, map(build_task, rows), attrgetter("size"))
        checks = list(track(checked, len(rows), "mixes", "mixes"))
    with atomic_path(out) as temporary:
        temporary.mkdir()
        write_noise(temporary, noise)
        write_rows(temporary / "mixes.parquet", Mix, rows)
        write_rows(temporary / "checks.parquet", MixCheck, checks)
        for split, name in GRIDS.items():
            write_rows(temporary / name, GridRow, grid_rows(corpus, rows, split))


def grid_rows(corpus: Corpus, rows: list[Mix], split: str) -> Iterator[GridRow]:
    """Yield the rows that every system must answer: each question of the split in each mix of its
    clip.
    """
    questions: dict[str, list[Question]] = {}
    for question in corpus.questions_of(split):
        questions.setdefault(question.clip_id, []).append(question)
    for mix in rows:
        if mix.split == split:
            yield from (
                GridRow(mix.mix_id, question.question_id)
                for question in questions.get(mix.clip_id, [])
            )


if __name__ == "__main__":
    run_stage(mixes, sections=("seed", "mixes"), on_workers=True)

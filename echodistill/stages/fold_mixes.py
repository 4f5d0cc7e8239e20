"""Stage ``fold_mixes`` of a comparison: draw the training mixes of one fold of the rotation over
held-out kinds of noise.
"""

from itertools import chain
from pathlib import Path

from echodistill.audio.mixing import Mix
from echodistill.core.atomic import atomic_path
from echodistill.core.records import write_rows
from echodistill.data.mixes.drawing import Drawer
from echodistill.data.mixes.folds import FIRST, held_out_kinds, with_held_out
from echodistill.data.mixes.noise_settings import noise_settings, write_noise
from echodistill.data.mixes.sources import sources_of
from echodistill.data.store import Corpus
from echodistill.params.whole import Params
from echodistill.stages.entry import run_stage


def fold_mixes(params: Params, fold: int, out: Path, corpus_folder: Path) -> None:
    """Write ``mixes.parquet`` and ``noise.json`` to ``out``: the mixes of training and validation,
    since the test is the same for every fold.
    """
    kinds = held_out_kinds(params.mixes, fold, FIRST + len(params.compare.folds))
    settings = with_held_out(params.mixes, kinds)
    corpus = Corpus(corpus_folder)
    noise = noise_settings(params.seed, settings)
    drawer = Drawer(params.seed, settings, sources_of(corpus, noise))
    rows = list(
        chain.from_iterable(
            drawer((clip.clip_id, split))
            for split in ("train", "validation")
            for clip in corpus.clips_of(split)
        )
    )
    with atomic_path(out) as temporary:
        temporary.mkdir()
        write_noise(temporary, noise)
        write_rows(temporary / "mixes.parquet", Mix, rows)
    print(
        f"{len(rows)} {'mix' if len(rows) == 1 else 'mixes'} of training and validation without"
        f" {', '.join(kinds)}"
    )


if __name__ == "__main__":
    run_stage(fold_mixes, sections=("seed", "mixes", "compare.folds"))

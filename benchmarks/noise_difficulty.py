"""How hard each kind of noise is for the base, on validation clips: held-out kinds should be as
hard as the others.

``python -m benchmarks.noise_difficulty`` puts every validation clip of the last run into every kind
of noise at the test's SNRs up to the headline's, and prints the base's accuracy by kind, with the
means over the kinds that training has and over the held-out ones.
"""

from pathlib import Path

import numpy as np

from benchmarks.tune import BASE, CORPUS, MIXES, accuracy
from echodistill.audio.mixing import draw
from echodistill.data.mixes.drawing import NONE
from echodistill.data.mixes.noise_settings import open_noise, read_noise
from echodistill.data.mixes.sources import sources_of
from echodistill.data.store import Corpus
from echodistill.models.checkpoint import open_base
from echodistill.models.response_limit import corpus_limit
from echodistill.params.whole import load_params


def main() -> None:
    """Print one row a kind."""
    params = load_params(Path("params.yaml"))
    corpus, llm = Corpus(CORPUS), open_base(BASE)
    noise, sources = open_noise(MIXES, corpus), sources_of(corpus, read_noise(MIXES))
    snrs = [snr for snr in params.mixes.snrs_db if snr <= params.evaluate.headline_max_snr_db]
    limit = corpus_limit(llm.tokenizer, corpus.questions.values(), params.generation.max_new_tokens)
    found: dict[str, tuple[float, float]] = {}
    print("| kind | free answers | forced choice |\n|---|---|---|")
    for kind in params.mixes.kinds:
        given = sources.get((kind, "validation"), NONE)
        mixes = [
            draw(params.seed, clip.clip_id, "validation", kind, snr, 0, given.names, given.picks)
            for clip in corpus.clips_of("validation")
            for snr in snrs
        ]
        found[kind] = accuracy(llm, corpus, mixes, noise, limit)
        print(f"| {kind} | {100 * found[kind][0]:.1f} | {100 * found[kind][1]:.1f} |", flush=True)
    for name, kinds in (
        ("training's kinds", params.mixes.seen),
        ("held-out kinds", params.mixes.unseen),
    ):
        free, forced = np.mean([found[kind] for kind in kinds], axis=0)
        print(f"| mean of {name} | {100 * free:.1f} | {100 * forced:.1f} |")


if __name__ == "__main__":
    main()

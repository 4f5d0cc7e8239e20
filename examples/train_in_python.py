"""Make a model robust to noise in a few lines, without the pipeline.

    python examples/train_in_python.py [MODEL] [CORPUS] [--steps 40]

MODEL is a folder or a hub id, CORPUS a folder of clips and questions. `make run` leaves both, in
``models/base`` and ``data/corpus``. To use recordings of your own, make an ``Example`` of each; a
nano knows the words of its own corpus alone, so take a larger model for them.
"""

import argparse
import sys
from pathlib import Path

from echodistill import Example, NoisyData, answer, compare, load_model, train
from echodistill.core.errors import UserError
from echodistill.data.store import Corpus


def examples(corpus: Corpus, split: str, count: int) -> list[Example]:
    """Return some clips of a split, each with its question and its speaker."""
    questions = corpus.questions_of(split)
    return [
        Example(
            corpus.waveform(asked.clip_id),
            asked.question,
            asked.choices,
            asked.answer,
            corpus.clips[asked.clip_id].group,
        )
        for asked in questions[:: max(1, len(questions) // count)][:count]
    ]


def main(model: str, folder: Path, steps: int) -> None:
    corpus = Corpus(folder)
    llm = load_model(model)
    data = NoisyData(
        train=examples(corpus, "train", 400),
        test=examples(corpus, "test", 24),
        mixes={"kinds": ["gauss", "wind"], "unseen": ["wind"], "snrs_db": [-5, 0, 10]},
    )
    before = answer(llm, data)
    train(llm, data, "echodistill", {"train.steps": steps, "train.prompts_per_step": 12})
    figures = compare(before, answer(llm, data), data)
    base, student, difference = (figures[name] for name in ("base", "student", "difference"))
    print(f"noisy accuracy: {base['acc']:.1%} -> {student['acc']:.1%}")
    gain = difference["acc"]
    print(f"difference: {gain['value']:+.1%} [{gain['low']:+.1%}, {gain['high']:+.1%}]")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", default="models/base")
    parser.add_argument("corpus", nargs="?", type=Path, default=Path("data/corpus"))
    parser.add_argument("--steps", type=int, default=40)
    given = parser.parse_args()
    try:
        main(given.model, given.corpus, given.steps)
    except UserError as error:
        sys.exit(f"error: {error}")

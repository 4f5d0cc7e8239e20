"""Make a model robust to noise in a few lines, without the pipeline.

    python examples/train_in_python.py MODEL [STEPS]

MODEL is a folder or a hub id, for example ``models/base`` after ``make run``. The clips are tones
that are made here; put your own recordings and questions in their place.
"""

import sys

import numpy as np

from echodistill import Example, NoisyData, answer, compare, load_model, train

PITCHES = {"low": 300.0, "middle": 900.0, "high": 2700.0}  # Hz


def tone(name: str, number: int) -> Example:
    """Return half a second of a tone at 16 kHz, and a question about it."""
    time_s = np.arange(8_000) / 16_000
    pitch = PITCHES[name] * (1 + 0.01 * number)
    waveform = (0.1 * np.sin(2 * np.pi * pitch * time_s)).astype(np.float32)
    return Example(waveform, "Which tone is it?", list(PITCHES), name)


def main(model: str, steps: int) -> None:
    examples = [tone(name, number) for number in range(10) for name in PITCHES]
    data = NoisyData(
        train=examples[:24],
        test=examples[24:],
        mixes={"kinds": ["gauss", "wind"], "unseen": ["wind"], "snrs_db": [-5, 0, 10]},
    )
    llm = load_model(model)
    before = answer(llm, data)
    train(llm, data, "echodistill", {"train.steps": steps, "train.prompts_per_step": 6})
    figures = compare(before, answer(llm, data), data)
    base, student, difference = (figures[name] for name in ("base", "student", "difference"))
    print(f"noisy accuracy: {base['acc']:.1%} -> {student['acc']:.1%}")
    gain = difference["acc"]
    print(f"difference: {gain['value']:+.1%} [{gain['low']:+.1%}, {gain['high']:+.1%}]")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 40)

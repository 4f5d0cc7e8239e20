"""What the tests of manifests share: a folder of recordings, and rows written as JSONL or CSV."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np

from echodistill.audio.files import write_wav
from echodistill.audio.levels import Waveform
from echodistill.data import folder
from echodistill.data.sources import SourceClips, SourceQuestion
from tests.corpus_params import corpus_params

COLOURS = ["red", "blue", "green"]
ROW: dict[str, Any] = {
    "id": "q1",
    "audio_path": "a.wav",
    "question": "Which?",
    "choices": COLOURS,
    "answer": "blue",
}


def hum(level: float, samples: int = 8_000) -> Waveform:
    """A square wave of 100 Hz: its level is ``level`` at every sample, and its mean 0."""
    return np.where(np.arange(samples) // 80 % 2, -level, level).astype(np.float32)


def write_recordings(root: Path) -> Path:
    """Five half-second recordings, each of its own level."""
    (root / "sub").mkdir()
    for number, name in enumerate(["a.wav", "b.wav", "c.wav", "d.wav", "sub/e.wav"]):
        write_wav(root / name, hum(0.1 * (number + 1)))
    return root


def read(root: Path, manifest: str = "manifest.jsonl", seed: int = 1) -> SourceClips:
    settings: dict[str, object] = {
        "source": "folder",
        "path": str(root),
        "manifest": manifest,
        "validation_share": 0.0,
        "decision_share": 0.0,
        "test_share": 0.4,
    }
    return folder.read(
        corpus_params(
            **settings, min_duration_s=0.1, max_duration_s=1.0, max_quarantined_share=0.5
        ),
        seed,
    )


def read_jsonl(root: Path, *rows: object) -> SourceClips:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    (root / "manifest.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return read(root)


def read_csv(root: Path, *rows: dict[str, Any]) -> SourceClips:
    with (root / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return read(root, "manifest.csv")


def only_question(found: SourceClips) -> SourceQuestion:
    assert not found.quarantined
    (clip,) = found.clips
    (question,) = clip.questions
    return question


def only_reason(found: SourceClips) -> str:
    assert not found.clips
    (row,) = found.quarantined
    return row.reason


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in ROW.items() if key != name}

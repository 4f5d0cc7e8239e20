"""Denoise-first baselines: each clip is cleaned once, and both models hear what the denoiser gave."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from echodistill.answering.grid import answer_grid, grid_items
from echodistill.answering.remembered import Remembered
from echodistill.audio.denoise import DENOISERS
from echodistill.audio.levels import Waveform
from echodistill.audio.recordings import NoiseLibrary
from echodistill.closure import ROOT
from echodistill.datasets.store import Corpus
from echodistill.models.audio_llm import AudioLLM
from echodistill.params import validate_params
from echodistill.records import Answer, read_rows
from echodistill.stages import answer_denoised as stage
from tests.conftest import tone
from tests.test_comparison import grid


def test_a_waveform_is_cleaned_once_and_comes_back_bit_for_bit(tmp_path: Path) -> None:
    cleaned: list[Waveform] = []

    def front(waveform: Waveform) -> Waveform:
        cleaned.append(waveform)
        return (waveform / 3).astype(np.float32)

    first, other = tone("low", "a", 0.4), tone("high", "b", 0.4)
    kept = Remembered(front, tmp_path)
    given = [kept(first), kept(other), kept(first), Remembered(front, tmp_path)(first)]
    assert len(cleaned) == 2
    for found, waveform in zip(given, (first, other, first, first), strict=True):
        assert found.dtype == np.float32
        assert found.tobytes() == (waveform / 3).astype(np.float32).tobytes()


def test_base_and_student_answer_what_the_denoiser_gave(
    tmp_path: Path, tiny_corpus: Corpus, tiny_llm: AudioLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    mixes, _ = grid(tmp_path, tiny_corpus)
    base, student = tmp_path / "base", tmp_path / "student"
    for folder in (base, student):
        tiny_llm.save(folder)
    (student / "run.json").write_text(json.dumps({"weights": "full"}))
    cleaned: list[Any] = []

    def wavelet(waveform: Waveform) -> Waveform:
        cleaned.append(waveform)
        return DENOISERS["wavelet"](waveform)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(stage, "DENOISERS", {"wavelet": wavelet})
    monkeypatch.setattr(stage, "one_thread", lambda: None)  # of this process, which has other tests to run
    params = validate_params(yaml.safe_load((ROOT / "params.yaml").read_text()), "params.yaml")
    outs = Path("base.parquet"), Path("student.parquet")
    stage.answer_denoised(params, "wavelet", *outs, tiny_corpus.folder, mixes, base, student)
    items = grid_items(tiny_corpus, mixes, NoiseLibrary(tiny_corpus.waveform), DENOISERS["wavelet"])
    items = [item for item in items if item.snr_db is None or item.snr_db <= 0]
    answer_grid(Path("plain.parquet"), "plain", "1", tiny_llm, items, params.predict.max_new_tokens)
    expected = read_rows(Path("plain.parquet"), Answer)
    assert [read_rows(out, Answer) for out in outs] == [expected, expected]
    assert len(cleaned) == len({item.mix_id for item in items}) == 4
    assert not list(Path(".echodistill").rglob("*.npy"))

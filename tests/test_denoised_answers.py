"""Denoise-first baselines: each clip is cleaned once, and both models hear what the denoiser
gave.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from echodistill.audio.denoise import DENOISERS
from echodistill.audio.levels import Waveform
from echodistill.audio.mixing import Mix
from echodistill.audio.recordings import NoiseLibrary
from echodistill.core.records import Answer, read_rows, write_rows
from echodistill.data.store import Corpus
from echodistill.import_graph import ROOT
from echodistill.inference.answer_grid import answer_grid, grid_items
from echodistill.inference.disk_cached_denoiser import DiskCachedDenoiser
from echodistill.models.audio_llm import AudioLLM
from echodistill.models.base import Prompt
from echodistill.models.checkpoint import load_base_or_student
from echodistill.models.response_limit import corpus_limit
from echodistill.models.responses import Response, respond
from echodistill.params.whole import validate_params
from echodistill.stages import answer_denoised as stage
from tests.conftest import tone
from tests.test_comparison import grid


def test_a_waveform_is_cleaned_once_and_comes_back_bit_for_bit(tmp_path: Path) -> None:
    cleaned: list[Waveform] = []

    def front(waveform: Waveform) -> Waveform:
        cleaned.append(waveform)
        return (waveform / 3).astype(np.float32)

    first, other = tone("low", "a", 0.4), tone("high", "b", 0.4)
    kept = DiskCachedDenoiser(front, tmp_path)
    given = [kept(first), kept(other), kept(first), DiskCachedDenoiser(front, tmp_path)(first)]
    assert len(cleaned) == 2
    for path in tmp_path.iterdir():  # a bit that changed by itself, and a file that was cut
        content = bytearray(path.read_bytes())
        content[-3] ^= 1
        path.write_bytes(content if len(cleaned) == 2 else content[:-7])
        given += [kept(first), kept(other)]
    assert len(cleaned) == 4
    for found, waveform in zip(
        given, (first, other, first, first, first, other, first, other), strict=True
    ):
        assert found.dtype == np.float32
        assert found.tobytes() == (waveform / 3).astype(np.float32).tobytes()


@pytest.fixture
def asked(
    tmp_path: Path, tiny_corpus: Corpus, tiny_llm: AudioLLM, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], list[Path]]:
    """Run the stage in a folder of its own with the student of this name; its outputs."""
    (tmp_path / "mixes").mkdir()
    mixes, _ = grid(tmp_path / "mixes", tiny_corpus)
    for name in ("base", "student", "other"):
        tiny_llm.save(tmp_path / name)
        (tmp_path / name / "run.json").write_text(json.dumps({"weights": "full", "name": name}))
    monkeypatch.chdir(tmp_path)
    # of this process, which has other tests to run
    monkeypatch.setattr(stage, "one_thread", lambda: None)
    params = validate_params(yaml.safe_load((ROOT / "params.yaml").read_text()), "params.yaml")

    def run(student: str) -> list[Path]:
        outs = Path("base.parquet"), Path("student.parquet")
        for out in outs:
            out.unlink(missing_ok=True)  # as DVC does
        stage.answer_denoised(
            params,
            "wavelet",
            *outs,
            tiny_corpus.folder,
            mixes,
            tmp_path / "base",
            tmp_path / student,
        )
        return list(outs)

    return run


def test_base_and_student_answer_what_the_denoiser_gave(
    asked: Callable[[str], list[Path]], tmp_path: Path, tiny_corpus: Corpus, tiny_llm: AudioLLM
) -> None:
    outs = asked("student")
    items = grid_items(
        tiny_corpus, tmp_path / "mixes", NoiseLibrary(tiny_corpus.waveform), DENOISERS["wavelet"]
    )
    items = [item for item in items if item.snr_db is None or item.snr_db <= 0]
    assert len(items) == 4
    limit = corpus_limit(tiny_llm.tokenizer, tiny_corpus.questions.values(), None)
    answer_grid(Path("plain.parquet"), "plain", "1", tiny_llm, items, limit)
    expected = read_rows(Path("plain.parquet"), Answer)
    assert [read_rows(out, Answer) for out in outs] == [expected, expected]


def test_what_a_slow_denoiser_gave_is_there_for_other_students_and_gone_with_its_clips(
    asked: Callable[[str], list[Path]],
    tmp_path: Path,
    tiny_corpus: Corpus,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cleaned: list[Waveform] = []

    def slow(waveform: Waveform) -> Waveform:
        cleaned.append(waveform)
        return DENOISERS["wavelet"](waveform)

    monkeypatch.setattr(stage, "DENOISERS", {"wavelet": slow})
    monkeypatch.setattr(stage, "SLOW", {"wavelet"})
    before = [path.read_bytes() for path in asked("student")]
    assert len(cleaned) == 4
    assert [path.read_bytes() for path in asked("other")] == before
    assert len(cleaned) == 4
    rows = read_rows(tmp_path / "mixes/mixes.parquet", Mix)
    write_rows(
        tmp_path / "mixes/mixes.parquet",
        Mix,
        [replace(rows[0], noise_seed=rows[0].noise_seed + 1), *rows[1:]],
    )
    asked("other")
    assert len(cleaned) == 8
    assert len(list(Path(".echodistill").rglob("*.f32"))) == 4


def test_a_kill_while_the_student_answers_loses_nothing_of_the_base(
    asked: Callable[[str], list[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    answered: list[int] = []

    def killed(folder: Path, base: Path) -> AudioLLM:
        opened.append(folder.name)
        if opened == ["base", "student"]:
            raise KeyboardInterrupt
        return load_base_or_student(folder, base)

    def counted(llm: AudioLLM, prompts: Sequence[Prompt], max_new_tokens: int) -> list[Response]:
        answered.append(len(prompts))
        return respond(llm, prompts, max_new_tokens)

    monkeypatch.setattr("echodistill.inference.answer_grid.load_base_or_student", killed)
    monkeypatch.setattr("echodistill.inference.resumable.respond", counted)
    with pytest.raises(KeyboardInterrupt):
        asked("student")
    assert not Path("base.parquet").exists()
    assert sum(answered) == 4
    outs = asked("student")
    assert sum(answered) == 8
    assert len(read_rows(outs[0], Answer)) == len(read_rows(outs[1], Answer)) == 4

"""The package as a library: from examples in memory to figures with intervals, without DVC."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

import echodistill
from echodistill import Example, NoisyData, answer, compare, library, load_model, train
from echodistill.core.errors import UserError
from echodistill.data.store import Corpus
from echodistill.import_graph import ROOT
from echodistill.models.audio_llm import AudioLLM
from tests.conftest import tone

MIXES = {"kinds": ["gauss", "wind"], "unseen": ["wind"], "snrs_db": [-5, 10]}
SMALL = {"train.steps": 2, "train.prompts_per_step": 3, "train.rollouts": 2}


def examples(count: int) -> list[Example]:
    names = ("low", "middle", "high")
    return [
        Example(tone(names[number % 3], number), "Which tone?", names, names[number % 3])
        for number in range(count)
    ]


@pytest.fixture(scope="module")
def data() -> NoisyData:
    return NoisyData(examples(9), examples(12)[9:], MIXES)


@pytest.fixture
def llm(tiny_llm: AudioLLM, tmp_path: Path) -> AudioLLM:
    tiny_llm.save(tmp_path / "base")
    return load_model(str(tmp_path / "base"), device="cpu")


def test_noisy_views_have_the_snr_that_their_recipe_states(data: NoisyData) -> None:
    mixes = data.mixes("test")
    assert len(mixes) == 3 * (1 + 2 * 2)
    for mix in mixes:
        rendered = data.render(mix)
        if mix.snr_db is None:
            assert np.array_equal(rendered.noisy, rendered.clean)
            continue
        clean = rendered.clean.astype(np.float64)
        noise = rendered.noisy.astype(np.float64) - clean
        snr = 10 * np.log10(np.mean(clean**2) / np.mean(noise**2))
        assert snr == pytest.approx(mix.snr_db, abs=0.01)


@pytest.mark.parametrize("weights", ["full", "lora"])
def test_a_model_is_trained_and_compared(
    weights: str, llm: AudioLLM, data: NoisyData, tmp_path: Path
) -> None:
    before = answer(llm, data)
    settings = {**SMALL, "train.weights": weights, "train.methods.echodistill.shaping": "candidate"}
    student = train(llm, data, "echodistill", settings, folder=tmp_path / "run")
    figures: dict[str, Any] = compare(before, answer(student, data), data)
    assert len((tmp_path / "run/metrics.jsonl").read_text().splitlines()) == 2
    gain = figures["difference"]["acc"]
    assert gain["low"] <= gain["value"] <= gain["high"]
    accuracies = figures["student"]["acc"] - figures["base"]["acc"]
    assert accuracies == pytest.approx(gain["value"], abs=1e-9)


def test_a_teacher_reads_where_the_method_wants_it(
    llm: AudioLLM, data: NoisyData, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"9 questions have none, question train-000000 for one"):
        train(llm, data, "cord", SMALL)
    words = [replace(example, transcript=example.answer) for example in examples(12)]
    read = NoisyData(words[:9], words[9:], MIXES)
    with pytest.raises(UserError, match=r"^view: .* needs the view transcript: give it"):
        train(llm, read, "cord", SMALL, view="clean")
    train(llm, read, "cord", SMALL, folder=tmp_path / "run")
    rows = [json.loads(row) for row in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert all(row["kl"] > 0 for row in rows)
    assert len(rows) == 2


def test_the_same_seed_gives_the_same_training(
    tiny_llm: AudioLLM, data: NoisyData, tmp_path: Path
) -> None:
    logs = []
    tiny_llm.save(tmp_path / "base")
    for name in ("a", "b"):
        llm = load_model(str(tmp_path / "base"), device="cpu")
        train(llm, data, "sft", SMALL, folder=tmp_path / name)
        rows = (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        logs.append([json.loads(row)["loss"] for row in rows])
    assert logs[0] == logs[1]


FAULTS = {
    "no sound": (Example(np.zeros(0, np.float32), "?", ["a"], "a"), "one row of finite samples"),
    "stereo": (Example(np.zeros((2, 9), np.float32), "?", ["a"], "a"), "one row of finite"),
    "answer": (Example(np.ones(9, np.float32), "?", ["a", "b"], "c"), "must be one of its choices"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_an_example_that_cannot_be_used_is_named(fault: str) -> None:
    example, message = FAULTS[fault]
    with pytest.raises(UserError, match=f"^example 2 of train: .*{message}"):
        NoisyData([*examples(2), example], examples(3), MIXES)


def test_an_unknown_setting_is_refused(llm: AudioLLM, data: NoisyData) -> None:
    with pytest.raises(ValueError, match=r"train\.stepz: unknown key"):
        train(llm, data, settings={"train.stepz": 1})


def test_the_package_loads_the_library_only_when_it_is_used() -> None:
    code = (
        "import sys, echodistill; from echodistill import code_hash; hasattr(echodistill, 'no');"
        "before = 'torch' in sys.modules; echodistill.train;"
        "print(before, 'torch' in sys.modules)"
    )
    shown = subprocess.check_output([sys.executable, "-c", code], text=True, cwd=ROOT)
    assert shown.split() == ["False", "True"]
    assert tuple(sorted(library.__all__)) == tuple(sorted(echodistill.LIBRARY))
    with pytest.raises(ImportError, match="no_such_name"):
        exec("from echodistill import no_such_name")


def example(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "examples/train_in_python.py"), *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
    )


def test_the_example_runs_on_what_the_pipeline_leaves(
    tiny_llm: AudioLLM, tiny_corpus: Corpus, tmp_path: Path
) -> None:
    tiny_llm.save(tmp_path / "models/base")
    shutil.copytree(tiny_corpus.folder, tmp_path / "data/corpus")
    done = example(tmp_path, "--steps", "2")
    assert done.returncode == 0, done.stderr
    assert "noisy accuracy: " in done.stdout
    assert "difference: " in done.stdout


def test_the_example_names_what_is_missing(tiny_corpus: Corpus, tmp_path: Path) -> None:
    done = example(tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("error: data/corpus/clips.parquet is missing: run the stage")
    done = example(tmp_path, str(tmp_path), str(tiny_corpus.folder))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"error: model {tmp_path} cannot be loaded")
    assert "Traceback" not in done.stderr


def test_the_notebook_runs(
    tiny_llm: AudioLLM, tiny_corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_llm.save(tmp_path / "base")
    folders = {"MODEL": str(tmp_path / "base"), "CORPUS": str(tiny_corpus.folder)}
    for name, value in {**folders, "STEPS": "2"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.read(ROOT / "examples/train_in_a_notebook.ipynb", as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    (result,) = notebook.cells[-1].outputs
    assert {"value", "low", "high"} <= eval(result["data"]["text/plain"]).keys()

"""The text teacher of stage ``base``: trained for a nano or recorded, absent by default, and read
by the training that needs it.
"""

import copy
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from echodistill.core.checksums import SUMS
from echodistill.core.errors import UserError
from echodistill.data.store import Corpus
from echodistill.models.audio_llm import AudioLLM
from echodistill.models.checkpoint import base_revision, open_base
from echodistill.models.nano_text import build_text_teacher
from echodistill.models.text_llm import FOLDER, open_text_llm
from echodistill.params.whole import Params
from echodistill.stages.base import base
from echodistill.stages.entry import params_view
from echodistill.stages.mixes import mixes
from echodistill.stages.references import references
from echodistill.stages.train import train
from echodistill.training.metrics_file import read_metrics
from echodistill.training.text_teacher import TEXT_FACTS, check_text_teacher
from tests.test_stages import params_of

NANO = {"width": 48, "encoder_layers": 1, "decoder_layers": 1, "steps": 2, "batch": 4}
TEXT = {"width": 96, "layers": 2, "steps": 2, "batch": 4, "learning_rate": 1e-3}


def params_with(**changes: Any) -> Params:
    raw: dict[str, Any] = params_of().model_dump()["base"]
    given = {"nano": raw["nano"] | NANO, "text_nano": TEXT, "model": "nano"} | changes
    train = {"method": "sft" if changes.get("text_teacher") is None else "layerwise", "steps": 2}
    return params_of(
        base=given,
        train=train | {"prompts_per_step": 2, "rollouts": 2},
        mixes={
            "kinds": ["gauss", "wind"],
            "unseen": ["wind"],
            "snrs_db": [0],
            "train_snrs_db": [0],
        },
    )


def made(params: Params, out: Path, corpus: Corpus) -> dict[str, bytes]:
    """Run the stage, and return the content of the files that it wrote."""
    given = params_view(params, ("seed", "corpus.max_duration_s", "base", "generation"))
    base(given, out, corpus.folder)
    files = (path for path in out.rglob("*") if path.is_file())
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in files}


def test_a_nano_has_one_where_it_is_asked_for_and_is_the_same_without(
    mlflow_store: Path, tiny_corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ECHODISTILL_CACHE", str(tmp_path / "cache"))
    plain = made(params_with(), tmp_path / "plain", tiny_corpus)
    params = params_with(text_teacher="nano")
    found = made(params, tmp_path / "base", tiny_corpus)
    teacher = {name for name in found if name.startswith(f"{FOLDER}/")}
    assert {f"{FOLDER}/model.safetensors", f"{FOLDER}/{TEXT_FACTS}"} < teacher
    assert found.keys() - teacher == plain.keys()
    assert all(found[name] == plain[name] for name in plain.keys() - {SUMS})
    assert teacher <= {line.split()[1] for line in found[SUMS].decode().splitlines()}
    facts = json.loads(found[f"{FOLDER}/{TEXT_FACTS}"])
    assert (facts["model"], facts["layers"], facts["width"]) == ("nano", 2, 96)
    assert facts["questions"] == 6
    assert base_revision(tmp_path / "plain") == base_revision(tmp_path / "base")
    assert not list(Path(".echodistill/runs").glob("*/checkpoint-*"))

    llm = open_base(tmp_path / "base", "cpu")
    assert open_text_llm(tmp_path / "base", llm).model.config.hidden_size == 96
    with pytest.raises(UserError, match=r"plain has no text teacher.* set base\.text_teacher"):
        open_text_llm(tmp_path / "plain", llm)

    mixes(params_view(params, ("seed", "mixes")), tmp_path / "mixes", tiny_corpus.folder)
    folders = (tiny_corpus.folder, tmp_path / "mixes", tmp_path / "base", tmp_path / "references")
    references(params, folders[3], folders[0], folders[2])
    train(params, tmp_path / "student", *folders)
    rows = read_metrics(tmp_path / "student/metrics.jsonl")
    assert [row["step"] for row in rows] == [1, 2]
    assert all(row["layer_divergence"] > 0 for row in rows)
    run = json.loads((tmp_path / "student/run.json").read_text())
    assert run["method"] == "layerwise"

    weights = tmp_path / "base" / FOLDER / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(UserError, match=r"base is damaged .*text-teacher/model\.safetensors"):
        open_base(tmp_path / "base", "cpu")


def test_a_users_text_model_is_recorded_and_must_stay_as_it_was(
    tiny_llm: AudioLLM, tiny_corpus: Corpus, tmp_path: Path
) -> None:
    tiny_llm.save(tmp_path / "model")
    build_text_teacher(tiny_llm, 48, 3, seed=1).save(tmp_path / "text")
    params = params_with(model=str(tmp_path / "model"), text_teacher=str(tmp_path / "text"))
    found = made(params, tmp_path / "base", tiny_corpus)
    assert f"{FOLDER}/pointer.json" in found
    assert not any(name.endswith(".safetensors") for name in found)
    llm = open_base(tmp_path / "base", "cpu")
    assert open_text_llm(tmp_path / "base", llm).model.config.num_hidden_layers == 3
    shutil.copy(tmp_path / "text/config.json", tmp_path / "text/more.json")
    with pytest.raises(UserError, match=r"text teacher in .*text has changed .*more\.json"):
        open_text_llm(tmp_path / "base", llm)
    lacking = copy.copy(tiny_corpus)
    lacking.clips = {n: replace(c, transcript=None) for n, c in tiny_corpus.clips.items()}
    with pytest.raises(UserError, match=r"base\.text_teacher: nano .* no training clip has one"):
        check_text_teacher("nano", lacking)
    check_text_teacher("nano", tiny_corpus)
    absent = params_with(model=str(tmp_path / "model"), text_teacher=str(tmp_path / "none"))
    with pytest.raises(UserError, match=r"base\.text_teacher: .*none is no folder"):
        made(absent, tmp_path / "other", tiny_corpus)

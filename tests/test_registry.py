"""The registry on a real SQLite store: register a student, load it back, ask it, promote it."""

import base64
import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from echodistill.audio.stored import encode_flac
from echodistill.core.errors import UserError
from echodistill.core.prompt_style import PromptStyle
from echodistill.evaluation.open_answers import final_answer
from echodistill.models.audio_llm import AudioLLM, decode, encode
from echodistill.models.base import Prompt
from echodistill.models.generation import generate
from echodistill.run_reports import Reports
from echodistill.tracking.client import find_or_create_run
from echodistill.tracking.registry import register
from tests.conftest import tone

CHOICES = ["low", "middle", "high"]


def _client() -> Any:
    import mlflow

    return mlflow.MlflowClient()


def _alias(name: str) -> str | None:
    aliases = _client().get_registered_model("echodistill").aliases
    return str(aliases[name]) if name in aliases else None


def _student(folder: Path, llm: AudioLLM, fingerprint: str, **facts: object) -> Path:
    llm.save(folder)
    run = {"fingerprint": fingerprint, "method": "grpo", "steps": 3, "weights": "full", **facts}
    (folder / "run.json").write_text(json.dumps(run))
    (folder / "metrics.jsonl").write_text('{"step": 1, "loss": 1.0}\n')
    return folder


def _decision(promote: bool, against: str | None = None) -> dict[str, Any]:
    criterion = {
        "name": "accuracy in noise rose",
        "value": 0.1,
        "low": 0.05,
        "high": 0.15,
        "bound": 0.0,
        "met": promote,
    }
    return {"promote": promote, "champion": {"version": against}, "criteria": [criterion]}


@pytest.fixture(scope="module")
def entered(
    mlflow_store: Path, tiny_llm: AudioLLM, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str]:
    """A student and its version, entered on a negative decision."""
    student = _student(tmp_path_factory.mktemp("models") / "student", tiny_llm, "first")
    run_id = find_or_create_run("first", "grpo")
    return student, register(
        student, student.parent, _decision(False), run_id, {"student.acc": 0.5}
    ).number


@pytest.fixture(scope="module")
def served(entered: tuple[Path, str]) -> Any:
    import mlflow

    return mlflow.pyfunc.load_model("models:/echodistill@candidate")


def test_a_negative_decision_enters_a_candidate_and_no_champion(entered: tuple[Path, str]) -> None:
    version = _client().get_model_version("echodistill", entered[1])
    assert _alias("candidate") == entered[1]
    assert _alias("champion") is None
    assert version.tags["echodistill.fingerprint"] == "first"
    assert version.tags["promotion.promote"] == "false"
    assert "**not met**" in version.description
    model = _client().get_logged_model(version.source.removeprefix("models:/"))
    assert [(metric.key, metric.value) for metric in model.metrics] == [("student.acc", 0.5)]
    assert version.run_id == find_or_create_run("first", "grpo")


def test_the_logged_model_is_code_and_weights_with_its_requirements(served: Any) -> None:
    flavor = served.metadata.flavors["python_function"]
    assert flavor["model_code_path"].endswith("served_model.py")
    assert "python_model" not in flavor  # where a pickle would be named
    folder = Path(served._model_impl.context.artifacts["student"]).parents[1]
    requirements = (folder / "requirements.txt").read_text().split()
    assert {line.partition("==")[0] for line in requirements} >= {
        "torch",
        "transformers",
        "soundfile",
        "mlflow",
    }
    assert not [line for line in requirements if "+" in line or "==" not in line]
    assert not list(folder.rglob("*.pkl"))
    assert not list((folder / "code").rglob("__pycache__"))
    assert (folder / "code/echodistill/audio/files.py").is_file()


def test_a_loaded_model_answers_alike_for_a_path_and_for_base64(
    served: Any, tmp_path: Path, tiny_llm: AudioLLM
) -> None:
    content = encode_flac(tone("low", 1))
    (tmp_path / "clip.flac").write_bytes(content)
    text = base64.b64encode(content).decode()
    rows = pd.DataFrame(
        {
            "audio": [str(tmp_path / "clip.flac"), text, f"data:audio/flac;base64,{text}", text],
            "question": ["Which tone?"] * 4,
            "choices": [CHOICES, json.dumps(CHOICES), tuple(CHOICES), None],
        }
    )
    answers = served.predict(rows, params={"max_new_tokens": 6})
    assert list(answers.columns) == ["answer", "response"]
    assert len(set(answers["response"][:3])) == 1
    (tokens,) = generate(
        tiny_llm, encode(tiny_llm, [Prompt(tone("low", 1), "Which tone?", CHOICES)]), 6
    )
    assert answers["response"][0] == decode(tiny_llm, tokens)
    assert answers["answer"][3] == (final_answer(answers["response"][3]) or None)  # open
    # a row has the limit of its own choices, whatever else is asked with it
    together, alone = (
        served.predict(rows),
        [served.predict(rows[row : row + 1])["response"].item() for row in range(4)],
    )
    assert together["response"].tolist() == alone
    longest = max(len(tiny_llm.tokenizer(choice)["input_ids"]) for choice in CHOICES) + 1
    with pytest.raises(
        Exception,
        match=rf"row 0: max_new_tokens: 1 is too short: the choice '\w+' takes {longest} tokens",
    ):
        served.predict(rows, params={"max_new_tokens": 1})
    # the column may be left out, and the example logged with the model is usable
    assert len(served.predict(rows[["audio", "question"]][:1])) == 1
    assert len(served.predict(served.input_example)) == 1


def test_the_answer_is_the_choice_that_was_named(
    monkeypatch: pytest.MonkeyPatch, served: Any
) -> None:
    model = served.unwrap_python_model()
    monkeypatch.setattr(model, "_respond", lambda prompts, start, limits: ["B. middle", "no idea"])
    audio = base64.b64encode(encode_flac(tone("low", 1))).decode()
    rows = pd.DataFrame(
        {"audio": [audio] * 2, "question": ["Which tone?"] * 2, "choices": [CHOICES] * 2}
    )
    assert model.predict(None, rows)["answer"].tolist() == ["middle", None]


def test_rows_that_cannot_be_used_are_all_named(served: Any) -> None:
    good = base64.b64encode(encode_flac(tone("low", 1))).decode()
    noise = base64.b64encode(b"this is no audio at all").decode()
    rows = pd.DataFrame(
        {
            "audio": [good, "nowhere/clip.wav", noise, good, ""],
            "question": ["Which tone?"] * 5,
            "choices": [CHOICES, CHOICES, CHOICES, "low, high", CHOICES],
        }
    )
    with pytest.raises(Exception, match="row 1") as caught:
        served.predict(rows)
    message = str(caught.value)
    assert "row 0" not in message
    assert "row 1: audio 'nowhere/clip.wav' is neither a file here nor base64" in message
    assert "row 2" in message
    assert "not an audio file" in message
    assert "row 3: choices 'low, high' is no JSON" in message
    assert "row 4: audio is empty" in message


def test_a_clip_beyond_the_models_window_is_named_by_its_row(served: Any) -> None:
    short, long = (
        base64.b64encode(encode_flac(tone("low", 1, seconds))).decode() for seconds in (0.3, 0.9)
    )
    rows = pd.DataFrame(
        {"audio": [short, long], "question": ["Which tone?"] * 2, "choices": [CHOICES] * 2}
    )
    with pytest.raises(Exception, match=r"row 1: .*window"):
        served.predict(rows)


def test_entering_again_makes_no_new_version_and_only_a_positive_decision_moves_the_champion(
    entered: tuple[Path, str], tiny_llm: AudioLLM, tmp_path: Path
) -> None:
    student, first = entered
    run_id = find_or_create_run("first", "grpo")
    again = shutil.copytree(student, tmp_path / "again")
    (again / "metrics.jsonl").write_text('{"step": 1, "loss": 1.0, "step_time": 2.0}\n')
    assert register(again, student.parent, _decision(True), run_id, {}).number == first
    assert _alias("champion") == first
    # another training with a negative decision is the candidate; the champion stays
    other = _student(tmp_path / "other", tiny_llm, "second")
    second = register(
        other, student.parent, _decision(False), find_or_create_run("second", "grpo"), {}
    ).number
    assert second != first
    assert (_alias("candidate"), _alias("champion")) == (second, first)
    assert len(_client().search_model_versions("name = 'echodistill'")) == 2


def test_the_same_student_evaluated_anew_keeps_the_later_card_answers_and_figures(
    entered: tuple[Path, str], tmp_path: Path, tiny_llm: AudioLLM
) -> None:
    import mlflow

    student, run_id = (
        _student(tmp_path / "student", tiny_llm, "evaluated"),
        find_or_create_run("evaluated", "grpo"),
    )
    names = (
        "metrics.json",
        "promotion.json",
        "card.md",
        "curves.png",
        "base.parquet",
        "student.parquet",
    )
    paths = metrics, promotion, card, curves, *answers = [tmp_path / name for name in names]
    reports = Reports(metrics, promotion, card, curves, tuple(answers))

    def enter(message: str, accuracy: float) -> str:
        for path in paths:
            path.write_text(f"{path.name} {message}")
        return register(
            student, student.parent, _decision(False), run_id, {"student.acc": accuracy}, reports
        ).number

    version = enter("before", 0.5)
    assert enter("after", 0.625) == version
    kept = (
        Path(
            mlflow.artifacts.download_artifacts(
                f"models:/echodistill/{version}", dst_path=str(tmp_path / "kept")
            )
        )
        / "artifacts"
    )
    assert (kept / "student/README.md").read_text() == "card.md after"
    assert (kept / "base.parquet").read_text() == "base.parquet after"
    assert (kept / "student.parquet").read_text() == "student.parquet after"
    assert list((kept / "student").glob("*.safetensors"))
    logged = _client().get_logged_model(
        _client().get_model_version("echodistill", version).source.removeprefix("models:/")
    )
    accuracies = sorted(
        (metric for metric in logged.metrics if metric.key == "student.acc"),
        key=lambda metric: metric.timestamp,
    )
    assert accuracies[-1].value == 0.625


def test_a_prompt_has_the_style_of_the_training_or_the_one_asked_for(
    served: Any, tmp_path: Path, tiny_llm: AudioLLM
) -> None:
    from types import SimpleNamespace

    from echodistill.serving.served_model import ServedModel

    student = _student(tmp_path / "student", tiny_llm, "chains", prompt_style="chain")
    chains = ServedModel()
    chains.load_context(SimpleNamespace(artifacts={"student": str(student)}))
    audio = base64.b64encode(encode_flac(tone("low", 1))).decode()
    row = pd.DataFrame({"audio": [audio], "question": ["Which tone?"], "choices": [CHOICES]})

    def response(style: PromptStyle) -> str:
        prompt = Prompt(tone("low", 1), "Which tone?", tuple(CHOICES), style)
        (tokens,) = generate(tiny_llm, encode(tiny_llm, [prompt]), 12)
        return decode(tiny_llm, tokens)

    direct, chain = response("direct"), response("chain")
    assert direct != chain
    asked = {"max_new_tokens": 12}
    assert served.predict(row, params=asked)["response"].item() == direct
    assert served.predict(row, params=asked | {"style": "chain"})["response"].item() == chain
    assert chains.predict(None, row, asked)["response"].item() == chain
    assert chains.predict(None, row, asked | {"style": "direct"})["response"].item() == direct
    with pytest.raises(Exception, match="style: 'steps' is none of direct, chain"):
        served.predict(row, params={"style": "steps"})


@pytest.mark.parametrize("damage", ["gone", "all gone", "cut", "rotten"])
def test_files_that_the_store_has_lost_are_logged_again(
    damage: str, entered: tuple[Path, str], tmp_path: Path, tiny_llm: AudioLLM
) -> None:
    """Check files that are missing although the description of the model is present."""
    import mlflow

    student, run_id = (
        _student(tmp_path / "student", tiny_llm, damage),
        find_or_create_run(damage, "grpo"),
    )
    version = register(student, student.parent, _decision(False), run_id, {}).number
    logged = _client().get_logged_model(
        _client().get_model_version("echodistill", version).source.removeprefix("models:/")
    )
    kept = (
        Path(logged.artifact_location.removeprefix("file://"))
        / "artifacts/student/model.safetensors"
    )
    whole = kept.read_bytes()
    if damage == "gone":
        kept.unlink()
    elif damage == "all gone":
        shutil.rmtree(kept.parents[2])
    else:
        kept.write_bytes(
            whole[:-9] if damage == "cut" else whole[:-9] + bytes(byte ^ 1 for byte in whole[-9:])
        )
    assert register(student, student.parent, _decision(False), run_id, {}).number == version
    assert kept.read_bytes() == whole
    assert mlflow.pyfunc.load_model(f"models:/echodistill/{version}")
    before = kept.stat().st_mtime_ns
    register(student, student.parent, _decision(False), run_id, {})
    assert kept.stat().st_mtime_ns == before  # what is whole is not copied again


def test_an_adapter_takes_its_base_along(
    entered: tuple[Path, str], tiny_llm: AudioLLM, tmp_path: Path
) -> None:
    from copy import deepcopy

    import mlflow
    import torch
    from peft import LoraConfig, get_peft_model

    tiny_llm.save(tmp_path / "base")
    torch.manual_seed(0)
    config = LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)
    adapted = get_peft_model(deepcopy(tiny_llm.model), config)
    adapted.save_pretrained(tmp_path / "student")
    run = {"fingerprint": "lora", "method": "grpo", "steps": 3, "weights": "lora"}
    (tmp_path / "student/run.json").write_text(json.dumps(run))
    run_id = find_or_create_run("lora", "grpo")
    version = register(tmp_path / "student", tmp_path / "base", _decision(False), run_id, {}).number
    shutil.rmtree(tmp_path / "base")
    served = mlflow.pyfunc.load_model(f"models:/echodistill/{version}")
    merged = served.unwrap_python_model()._llm.model.state_dict()
    plain = tiny_llm.model.state_dict()
    changed = [name for name in plain if not torch.equal(plain[name], merged[name])]
    assert changed
    assert all("q_proj" in name for name in changed)


def test_a_decision_without_a_verdict_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="promote"):
        register(tmp_path, tmp_path, {"promote": "yes"}, "run", {})
    with pytest.raises(UserError, match=r"run\.json is missing"):
        register(tmp_path, tmp_path, _decision(True), "run", {})

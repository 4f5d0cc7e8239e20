"""The champion on a real SQLite registry: who becomes it, who comes back, and what the stages bring
here of it.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from echodistill.champion_answers import ANSWERS, ChampionStatus, read_status
from echodistill.champion_folder import ChampionFacts, files_hash, read_facts, write_facts
from echodistill.core.errors import UserError
from echodistill.core.records import Answer, read_rows
from echodistill.data.store import Corpus
from echodistill.gates.champion import champion_checks
from echodistill.gates.runner import validate
from echodistill.lineage.publish import REGISTERED
from echodistill.models.audio_llm import AudioLLM
from echodistill.stages.champion import champion
from echodistill.stages.entry import params_view
from echodistill.stages.mixes import mixes as make_mixes
from echodistill.stages.predict import predict
from echodistill.stages.predict_champion import predict_champion
from echodistill.tracking.champion import championship, roll_back, set_champion
from echodistill.tracking.client import find_or_create_run
from echodistill.tracking.registry import RegisteredVersion, register
from tests.conftest import write_corpus
from tests.provenance_world import make_world, write, write_lock
from tests.provenance_world import register as register_world
from tests.test_pipeline import ROOT
from tests.test_stages import params_of

PARAMS = params_view(params_of(), ())
NAME = "echodistill"


@dataclass(frozen=True)
class Registry:
    """A store of its own, which is the working folder too."""

    folder: Path

    @property
    def client(self) -> Any:
        import mlflow

        return mlflow.MlflowClient()

    @property
    def champion(self) -> str | None:
        found = self.client.get_registered_model(NAME).aliases.get("champion")
        return None if found is None else str(found)

    def tags(self, version: str) -> dict[str, str]:
        return dict(self.client.get_model_version(NAME, version).tags)

    def student(self, name: str) -> Path:
        """A student of other weights than all others; no model could read them."""
        folder = self.folder / name / "student"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model.safetensors").write_text(f"weights of {name}")
        (folder / "run.json").write_text(
            json.dumps({"fingerprint": name, "method": "grpo", "steps": 3, "weights": "full"})
        )
        return folder

    def enter(
        self, name: str, promote: bool = True, against: str | None = None
    ) -> RegisteredVersion:
        decision = {"promote": promote, "champion": {"version": against}, "criteria": []}
        return register(
            self.student(name), self.folder, decision, find_or_create_run(name, "grpo"), {}
        )

    def bring(self, name: str) -> dict[str, bytes]:
        """What the stage makes of the champion that the student of this name is held against."""
        out = self.folder / "champion"
        champion(PARAMS, out, self.student(name))
        return {
            path.relative_to(out).as_posix(): path.read_bytes()
            for path in sorted(out.rglob("*"))
            if path.is_file()
        }


@pytest.fixture
def registry(
    mlflow_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Registry]:
    import mlflow

    shutil.copy(mlflow_database, tmp_path / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.chdir(tmp_path)
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    yield Registry(tmp_path)
    mlflow.set_tracking_uri(None)  # it is the whole process's


def test_a_promoted_student_takes_the_place_of_the_champion_it_was_decided_against(
    registry: Registry,
) -> None:
    assert registry.enter("first") == RegisteredVersion("1", is_champion=True, refusal="")
    assert registry.enter("second", against="1") == RegisteredVersion(
        "2", is_champion=True, refusal=""
    )
    assert registry.champion == "2"
    assert registry.tags("2")["echodistill.previous_champion"] == "1"
    assert "echodistill.previous_champion" not in registry.tags("1")
    # again, nothing changes: the student is the champion itself
    assert registry.enter("second", against="1") == RegisteredVersion(
        "2", is_champion=True, refusal=""
    )
    assert [(change.version, change.how) for change in championship().changes] == [
        ("1", "promoted"),
        ("2", "promoted"),
    ]
    assert championship().since == championship().changes[-1].since != ""


def test_a_decision_against_another_champion_moves_nothing(registry: Registry) -> None:
    registry.enter("first")
    for against in (None, "7"):
        entered = registry.enter("second", against=against)
        assert not entered.is_champion
        assert "version 1 is champion now" in entered.refusal
        assert "`echodistill run`" in entered.refusal
    assert registry.champion == "1"
    assert "echodistill.previous_champion" not in registry.tags("2")


def test_a_negative_decision_moves_nothing_and_refuses_nothing(registry: Registry) -> None:
    registry.enter("first")
    assert registry.enter("second", promote=False, against="1") == RegisteredVersion(
        "2", is_champion=False, refusal=""
    )
    assert registry.champion == "1"


def test_a_rolled_back_champion_comes_back_by_hand_only(registry: Registry) -> None:
    registry.enter("first")
    registry.enter("second", against="1")
    assert roll_back() == ("1", "2")
    assert registry.champion == "1"
    assert registry.tags("2")["echodistill.rolled_back"] == "true"
    entered = registry.enter("second", against="1")
    assert (entered.is_champion, registry.champion) == (False, "1")
    assert "`echodistill champion --set 2`" in entered.refusal
    set_champion("2")
    assert registry.champion == "2"
    assert "echodistill.rolled_back" not in registry.tags("2")
    assert registry.enter("second", against="1").is_champion
    assert [change.how for change in championship().changes] == [
        "promoted",
        "promoted",
        "rolled back to",
        "set by hand to",
    ]


def test_rolling_back_skips_what_was_rolled_back_before(registry: Registry) -> None:
    registry.enter("first")
    registry.enter("second", against="1")
    roll_back()
    registry.enter("third", against="1")
    set_champion("2")
    roll_back()
    assert registry.champion == "3"
    assert roll_back() == ("1", "3")
    with pytest.raises(UserError, match=r"version 1 .* replaced no champion.*it has 1, 2, 3"):
        roll_back()
    assert "echodistill.rolled_back" not in registry.tags("1")


def test_what_cannot_be_done_is_one_clear_error(registry: Registry) -> None:
    for step in (championship, roll_back):
        with pytest.raises(
            UserError,
            match=(
                r"no version of model 'echodistill' with the alias 'champion'.*echodistill register"
            ),
        ):
            step()
    with pytest.raises(UserError, match="register a version with `echodistill register`"):
        set_champion("1")
    registry.enter("first", promote=False)
    with pytest.raises(UserError, match="has no version 4; it has 1"):
        set_champion("4")
    set_champion("1")
    assert registry.champion == "1"


def test_the_command_prints_changes_and_refuses(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.enter("first")
    registry.enter("second", against="1")
    registered = Path(".echodistill/registered.json")
    registered.parent.mkdir(exist_ok=True)
    registered.write_text("{}")

    def command(*options: str) -> subprocess.CompletedProcess[str]:
        asked = [sys.executable, "-m", "echodistill.cli", "champion", *options]
        return subprocess.run(
            asked, capture_output=True, text=True, check=False, cwd=registry.folder
        )

    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    shown = command().stdout.splitlines()
    assert shown[0].startswith("champion of echodistill: version 2, since 20")
    assert [line.split()[1:] for line in shown[1:]] == [
        ["promoted", "version", "1"],
        ["promoted", "version", "2"],
    ]
    assert registered.exists()
    assert "version 2 was rolled back: version 1 is champion again" in command("--rollback").stdout
    assert not registered.exists()
    assert "version 2 is champion" in command("--set", "2").stdout
    for options, message in (
        (("--set", "9"), "has no version 9"),
        (("--set", "1", "--rollback"), "give one of them"),
    ):
        refused = command(*options)
        assert refused.returncode == 1
        assert message in refused.stderr
        assert "Traceback" not in refused.stderr


def test_without_a_store_none_is_made_for_asking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.chdir(tmp_path)
    champion(PARAMS, tmp_path / "champion", Registry(tmp_path).student("first"))
    assert read_facts(tmp_path / "champion").version is None
    with pytest.raises(UserError, match="MLFLOW_TRACKING_URI"):
        championship()
    assert not (tmp_path / "mlflow.db").exists()


def test_a_server_that_does_not_answer_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    student = Registry(tmp_path).student("first")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(
        UserError, match=r"MLflow at http://127\.0\.0\.1:9 failed.*Check MLFLOW_TRACKING_URI"
    ):
        champion(PARAMS, tmp_path / "champion", student)
    assert not (tmp_path / "champion").exists()


def test_registering_a_student_leaves_its_own_champion_folder_as_it_was(registry: Registry) -> None:
    before = registry.bring("first")
    assert list(before) == ["champion.json"]
    registry.enter("first")
    assert registry.bring("first") == before
    # the second one is held against the first, before and after it took its place
    before = registry.bring("second")
    assert before["student/model.safetensors"] == b"weights of first"
    registry.enter("second", against="1")
    assert registry.bring("second") == before
    facts = read_facts(registry.folder / "champion")
    assert (facts.version, facts.fingerprint, facts.reason) == ("1", "first", "")
    assert validate("champion", champion_checks(registry.folder / "champion"), docs=None).passed
    # another student is held against the second
    assert registry.bring("third")["student/model.safetensors"] == b"weights of second"
    # and after a rollback the second one against the first again
    roll_back()
    assert registry.bring("second") == before
    assert registry.bring("third") == before


def test_weights_that_are_here_are_not_fetched_again_and_damaged_ones_are(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow.artifacts

    registry.enter("first")
    before = registry.bring("second")
    fetched: list[str] = []
    real = mlflow.artifacts.download_artifacts

    def counted(uri: str, *arguments: Any, **options: Any) -> str:
        fetched.append(uri)
        return str(real(uri, *arguments, **options))

    monkeypatch.setattr("mlflow.artifacts.download_artifacts", counted)
    assert registry.bring("second") == before
    assert not fetched
    (registry.folder / "champion/student/model.safetensors").write_text("damaged")
    assert registry.bring("second") == before
    assert fetched


def test_a_later_evaluation_of_the_champion_changes_nothing(
    registry: Registry, tmp_path: Path
) -> None:
    registry.enter("first")
    before = registry.bring("second")
    source = registry.client.get_model_version(NAME, "1").source.removeprefix("models:/")
    (tmp_path / "card/artifacts/student").mkdir(parents=True)
    (tmp_path / "card/artifacts/student/README.md").write_text("# another card")
    registry.client.log_model_artifacts(source, str(tmp_path / "card"))
    shutil.rmtree(registry.folder / "champion")
    assert registry.bring("second") == before


def stored_weights(registry: Registry) -> list[Path]:
    return list((registry.folder / "mlartifacts").rglob("student/model.safetensors"))


@pytest.mark.parametrize(
    ("damage", "message"),
    [("changed", "not those that were registered"), ("deleted", "keeps no student of it")],
)
def test_a_champion_that_the_store_lost_is_reported_and_stays_reported(
    damage: str, message: str, registry: Registry
) -> None:
    registry.enter("first")
    (weights,) = stored_weights(registry)
    if damage == "changed":
        weights.write_text("others")
    else:
        shutil.rmtree(weights.parent)
    before = registry.bring("second")
    facts = read_facts(registry.folder / "champion")
    assert facts.version == "1"
    assert message in facts.reason
    assert list(before) == ["champion.json"]
    assert registry.bring("second") == before
    assert validate("champion", champion_checks(registry.folder / "champion"), docs=None).passed


@dataclass(frozen=True)
class Asked:
    """A corpus with a decision split, its mixes, and a model."""

    corpus: Corpus
    mixes: Path
    params: Any
    llm: AudioLLM

    def answers(self, folder: Path) -> tuple[ChampionStatus, list[Answer]]:
        out = folder.parent / "answers"
        predict_champion(self.params, out, self.corpus.folder, self.mixes, folder)
        return read_status(out), read_rows(out / ANSWERS, Answer)


@pytest.fixture
def asked(tmp_path: Path, tiny_llm: AudioLLM, monkeypatch: pytest.MonkeyPatch) -> Asked:
    monkeypatch.chdir(tmp_path)
    corpus = write_corpus(tmp_path / "corpus", {"train": 12, "decision": 4, "test": 2})
    params = params_of(
        mixes={
            "kinds": ["gauss", "crowd"],
            "unseen": [],
            "snrs_db": [0, 20],
            "decision_snrs_db": [-5, 0],
        }
    )
    make_mixes(params, tmp_path / "mixes", corpus.folder)
    return Asked(corpus, tmp_path / "mixes", params_view(params, ("generation",)), tiny_llm)


def full_champion(folder: Path, llm: AudioLLM) -> Path:
    llm.save(folder / "student")
    (folder / "student/run.json").write_text(json.dumps({"fingerprint": "f", "weights": "full"}))
    write_facts(folder, ChampionFacts("1", "f", "w", files_hash(folder)))
    return folder


def test_the_champion_answers_as_any_model_does(asked: Asked, tmp_path: Path) -> None:
    folder = full_champion(tmp_path / "champion", asked.llm)
    status, answers = asked.answers(folder)
    assert status == ChampionStatus("1")
    assert len(answers) == 4 * 3
    assert {row.question_id.split("-")[0] for row in answers} == {"decision"}
    as_base = tmp_path / "base.parquet"
    predict(
        asked.params,
        "base",
        "decision",
        as_base,
        asked.corpus.folder,
        asked.mixes,
        folder / "student",
        folder / "student",
    )
    assert read_rows(as_base, Answer) == answers


def test_an_adapter_answers_on_the_base_it_was_registered_with(
    asked: Asked, tmp_path: Path
) -> None:
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    folder = tmp_path / "champion"
    asked.llm.save(folder / "base")
    config = LoraConfig(r=2, target_modules=["q_proj", "lm_head"], init_lora_weights=False)
    adapted = get_peft_model(deepcopy(asked.llm.model), config)
    adapted.save_pretrained(folder / "student")
    (folder / "student/run.json").write_text(json.dumps({"fingerprint": "f", "weights": "lora"}))
    write_facts(folder, ChampionFacts("1", "f", "w", files_hash(folder)))
    status, answers = asked.answers(folder)
    assert status.has_answered
    _, plain = asked.answers(full_champion(tmp_path / "plain/champion", asked.llm))
    assert len(answers) == len(plain)
    assert answers != plain


def test_a_champion_that_cannot_be_opened_or_takes_too_short_clips_is_reported(
    asked: Asked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = full_champion(tmp_path / "champion", asked.llm)
    monkeypatch.setattr(type(asked.llm.family), "max_seconds", 0.1)
    status, answers = asked.answers(folder)
    assert status.version == "1"
    assert "its window is 0.1 s, and the longest decision clip 0.5 s" in status.reason
    assert not answers
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    (folder / "student/config.json").unlink()
    # it was registered without it
    write_facts(folder, ChampionFacts("1", "f", "w", files_hash(folder)))
    status, answers = asked.answers(folder)
    assert "cannot be loaded" in status.reason
    assert "dvc repro --force predict_champion" in status.reason
    assert not answers


def test_without_a_champion_there_are_no_answers_and_the_reason(
    asked: Asked, tmp_path: Path
) -> None:
    folder = tmp_path / "champion"
    folder.mkdir()
    write_facts(folder, ChampionFacts(None, reason="nobody yet"))
    assert asked.answers(folder) == (ChampionStatus(None, "nobody yet"), [])


def test_what_was_not_made_champion_is_reported_and_asked_again(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another student became champion after the decision of the world, which was made against
    none.
    """
    monkeypatch.delenv("ECHODISTILL_S3", raising=False)
    registry.enter("first")
    make_world(registry.folder)
    registered = register_world()
    assert "registered echodistill version 2 (candidate), MLflow run" in registered
    assert (
        "; not made champion: version 1 is champion now, and the decision was made against no"
        " version" in registered
    )
    assert not REGISTERED.exists()
    write(
        registry.folder / "reports/promotion.json",
        json.dumps({"promote": True, "champion": {"version": "1"}, "criteria": []}),
    )
    write_lock(registry.folder)
    assert "registered echodistill version 2 (candidate, champion), MLflow run" in register_world()
    assert registry.champion == "2"
    assert REGISTERED.exists()

"""Presets: lists of settings that are laid over ``params.yaml`` as if given with ``-S``."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

import echodistill.cli as commands
from echodistill.core.errors import UserError
from echodistill.core.yaml12 import load_yaml
from echodistill.overrides import applied
from echodistill.params.whole import validate_params
from echodistill.presets import PACKAGED, preset, preset_line, preset_names, preset_overrides

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "presets"


@pytest.mark.parametrize("name", preset_names(FOLDER))
def test_every_preset_is_valid_and_says_what_it_is_for(name: str) -> None:
    before = load_yaml((ROOT / "params.yaml").read_text(encoding="utf-8"))
    params = applied(ROOT / "params.yaml", preset_overrides([name], FOLDER))
    assert params != validate_params(before, "params.yaml"), "it changes nothing"
    for key, value in preset(name, FOLDER):
        found: object = params.model_dump(mode="json")
        for part in key.split("."):
            assert isinstance(found, dict)
            found = found[part]
        assert found == value
    assert preset_line(name, FOLDER)


def test_the_settings_that_a_page_shows_are_those_of_the_preset() -> None:
    shown = (FOLDER / "small.yaml").read_text(encoding="utf-8").partition("\n")[2]
    assert f"```yaml\n{shown}```" in (ROOT / "docs/own-data.md").read_text(encoding="utf-8")


def test_the_package_has_the_presets_of_the_repository() -> None:
    assert preset_names(PACKAGED) == preset_names(FOLDER)
    assert "cord" in preset_names(PACKAGED)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "small.yaml").write_text("train.steps: 3\ntrain: {rollouts: 2, weights: lora}\n")
    (tmp_path / "texts.yaml").write_text(
        'corpus.manifest: "*/ä 😀 #b.csv"\nevaluate.student: null\nmixes.snrs_db: [-5, 1.0e-7]\n'
        "train.methods.echodistill.shaping: off\n"
    )
    return tmp_path


def test_sections_may_be_nested_and_later_settings_win(folder: Path) -> None:
    settings = preset_overrides(["small"], folder)
    train = applied(ROOT / "params.yaml", [*settings, "train.steps=7"]).train
    assert (train.steps, train.rollouts, train.weights) == (7, 2, "lora")


def test_values_arrive_as_they_are_written(folder: Path) -> None:
    params = applied(ROOT / "params.yaml", preset_overrides(["texts"], folder))
    assert params.corpus.manifest == "*/ä 😀 #b.csv"
    assert params.evaluate.student is None
    assert params.mixes.snrs_db == (-5.0, 1e-7)
    assert params.train.methods.echodistill.shaping == "off"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("train.stepz: 3\n", r"broken\.yaml: params\.yaml has no key 'train\.stepz'.*train\.steps"),
        ("- train.steps\n", r"broken\.yaml: write one setting a line"),
        ("", r"broken\.yaml: write one setting a line"),
        ("a: [", r"broken\.yaml is not valid YAML"),
        ("train.steps: 1\ntrain.steps: 2\n", r"broken\.yaml is not valid YAML: .*given twice"),
    ],
)
def test_a_broken_preset_is_named(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "broken.yaml").write_text(content)
    with pytest.raises(UserError, match=message):
        preset_overrides(["broken"], tmp_path)


def test_an_unknown_preset_is_named_with_those_that_there_are(folder: Path) -> None:
    with pytest.raises(UserError, match=r"did you mean small\? There are small, texts$"):
        preset_overrides(["smal"], folder)
    with pytest.raises(UserError, match=re.escape("-P ../small: there is no ")):
        preset_overrides(["../small"], folder / "..")
    with pytest.raises(UserError, match="has none"):
        preset_overrides(["small"], folder / "nowhere")


@pytest.mark.parametrize("command", ["run", "compare"])
def test_a_run_has_the_presets_then_the_settings_and_the_file_is_restored(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(ROOT / "params.yaml", tmp_path)
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    for name in ("raw", "test", "noise"):
        (tmp_path / "data" / name).mkdir(parents=True)
    (tmp_path / "presets").mkdir()
    (tmp_path / "presets/few.yaml").write_text("train: {steps: 3, rollouts: 2}\nseed: 7\n")
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    monkeypatch.chdir(tmp_path)
    seen = []

    def repro(*_given: object) -> int:
        raw = load_yaml(Path("params.yaml").read_text(encoding="utf-8"))
        seen.append((raw["seed"], raw["train"]["steps"], raw["train"]["rollouts"]))
        raise RuntimeError

    monkeypatch.setattr("echodistill.repro.repro", repro)
    before = Path("params.yaml").read_bytes()
    with pytest.raises(RuntimeError):
        if command == "run":
            commands.run(None, ["train.steps=5"], ["few"])
        else:
            commands.compare(False, ["train.steps=5"], 1, ["few"])
    assert seen == [(7, 5, 2)]
    assert Path("params.yaml").read_bytes() == before

"""A method whose data is lacking says so before any stage runs."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import echodistill.cli as commands
from echodistill.core.errors import UserError
from echodistill.core.yaml12 import load_yaml
from echodistill.method_data import check_method_data
from echodistill.overrides import apply_overrides
from echodistill.params.methods import SftSettings
from echodistill.params.whole import Params, validate_params
from echodistill.presets import preset_overrides
from flows.graph import whole_graph
from tests.folders import ROW, write_recordings

ROOT = Path(__file__).parents[1]
NAMES = ("a.wav", "b.wav", "c.wav", "d.wav", "sub/e.wav")
SPLITS = ("train", "train", "validation", "test", "test")


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copy(ROOT / "params.yaml", tmp_path)
    shutil.copytree(ROOT / "presets", tmp_path / "presets")
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    for name in ("raw", "test", "noise"):
        (tmp_path / "data" / name).mkdir(parents=True)
    write_recordings(tmp_path / "data/raw")
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(repository: Path, transcripts: dict[str, str], **more: object) -> None:
    rows = [
        {**ROW, **more, "id": f"q{number}", "audio_path": name, "split": split}
        | ({"transcript": transcripts[name]} if name in transcripts else {})
        for number, (name, split) in enumerate(zip(NAMES, SPLITS, strict=True))
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (repository / "data/raw/manifest.jsonl").write_text(text, encoding="utf-8")


def params_of(*overrides: str) -> Params:
    raw: dict[str, Any] = load_yaml((ROOT / "params.yaml").read_text(encoding="utf-8"))
    return validate_params(apply_overrides(raw, ["corpus.source=folder", *overrides]), "p")


CORD = preset_overrides(["cord"], ROOT / "presets")
LACKING = (
    r"data/raw/manifest\.jsonl: the method cord needs the column `transcript` or"
    r" `caption` of every training"
    r" clip, and {} of 2 have none, {} for one: fill it in, or"
    r" (?:choose another train|leave it out of compare)\."
)


@pytest.mark.parametrize(
    ("transcripts", "message"),
    [({}, LACKING.format(2, r"a\.wav")), ({"a.wav": "x"}, LACKING.format(1, r"b\.wav"))],
)
@pytest.mark.parametrize("where", ["run", "compare", "flow"])
def test_a_run_stops_before_its_first_stage(
    where: str,
    transcripts: dict[str, str],
    message: str,
    repository: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write(repository, transcripts)
    monkeypatch.setattr("echodistill.repro.repro", lambda *_given: pytest.fail("it ran"))
    folder = ["corpus.source=folder"]
    start: dict[str, Callable[[], object]] = {
        "run": lambda: commands.run(None, folder, ["cord"]),
        "compare": lambda: commands.compare(
            False,
            [*folder, "base.nano.transcript_share=0.25", "compare.controls=[cord]"],
            1,
        ),
        "flow": lambda: whole_graph(repository),
    }
    if where == "flow":
        text = (repository / "params.yaml").read_text(encoding="utf-8")
        changed = apply_overrides(load_yaml(text), [*folder, *CORD])
        (repository / "params.yaml").write_text(json.dumps(changed), encoding="utf-8")
    with pytest.raises(UserError, match=message):
        start[where]()


def test_what_needs_no_transcripts_and_what_has_them_goes_on(repository: Path) -> None:
    write(repository, {})
    for method in ("echodistill", "sft", "opd"):
        check_method_data(params_of(f"train.method={method}"), Path())
    check_method_data(params_of(*CORD, "corpus.source=builtin"), Path())
    write(repository, {"a.wav": "x", "b.wav": "y"})  # validation and test need none
    check_method_data(params_of(*CORD), Path())


def test_a_view_of_another_method_is_named(repository: Path) -> None:
    write(repository, {})
    view = ("references.view=transcript", "base.nano.transcript_share=0.25")
    with pytest.raises(UserError, match=r"references\.view: transcript needs the column"):
        check_method_data(params_of(*view), Path())


def test_a_field_that_is_known_when_a_clip_is_stored_is_not_lacking(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(repository, {})
    monkeypatch.setattr(SftSettings, "needs", frozenset({"duration_s", "answer"}))
    check_method_data(params_of("train.method=sft"), Path())


def test_a_manifest_that_cannot_be_read_is_left_to_the_stage(repository: Path) -> None:
    check_method_data(params_of(*CORD), Path())
    (repository / "data/raw/manifest.jsonl").write_bytes(b"\xff\xfe\x00")
    check_method_data(params_of(*CORD), Path())

"""A test alone, from every source: the base answers it, a student where one is named; table and
report come out.
"""

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import soundfile
from rich.console import Console

from echodistill.core.errors import UserError
from echodistill.core.records import Answer, read_rows
from echodistill.data.mixes.noise_settings import noise_settings, write_noise
from echodistill.data.mixes.sources import babble_split, sources_of
from echodistill.data.store import Corpus
from echodistill.evaluated_student import is_absent
from echodistill.evaluating import check_evaluation
from echodistill.gates.base import base_checks
from echodistill.gates.evaluation import evaluated_checks, evaluation_checks
from echodistill.gates.mixes import mixes_checks
from echodistill.gates.runner import validate
from echodistill.inference.single_clip import in_noise
from echodistill.models.audio_llm import AudioLLM
from echodistill.params.whole import Params
from echodistill.reports.evaluation_table import print_evaluation
from echodistill.stages.base import base
from echodistill.stages.corpus import corpus
from echodistill.stages.entry import params_view
from echodistill.stages.evaluate_test_only import evaluate_test_only
from echodistill.stages.evaluated_student import evaluated_student
from echodistill.stages.evaluation_report import evaluation_report
from echodistill.stages.mixes import mixes
from echodistill.stages.predict import predict
from echodistill.stages.references import references
from tests import benchmark_rows as b
from tests.conftest import WORDS, tone, write_corpus
from tests.test_stages import params_of

KINDS = ["gauss", "crowd"]


def _mmau(root: Path) -> str:
    b.write_wavs(root, *(row["audio_id"] for row in b.MMAU))
    b.write_json(root / "mmau-test-mini.json", b.MMAU)
    return "mmau-test-mini.json"


def _mmau_parquet(root: Path) -> str:
    rows = [
        {
            "instruction": row["question"],
            "choices": row["choices"],
            "answer": row["answer"],
            "other_attributes": json.dumps(row),
        }
        for row in b.MMAU
    ]
    b.write_parquet(
        root / "test_mini.parquet", "context", rows, [b.wav(number) for number in range(len(rows))]
    )
    return "test_mini.parquet"


def _mmar(root: Path) -> str:
    b.write_wavs(root, *(row["audio_path"] for row in b.MMAR))
    b.write_json(root / "MMAR-meta.json", b.MMAR)
    return "MMAR-meta.json"


def _mmsu(root: Path) -> str:
    b.write_wavs(root, *(row["audio_path"][1:] for row in b.MMSU))
    b.write_json(root / "question/mmsu.jsonl", b.MMSU)
    return "question/mmsu.jsonl"


def _air_bench(root: Path) -> str:
    b.write_wavs(
        root,
        "Speaker_Gender_ours/a.wav",
        "Audio_Grounding_ours/a.flac",
        "Speaker_Gender_ours/b.wav",
    )
    b.write_json(
        root / "Foundation_meta.json",
        [*b.AIR_BENCH, b.AIR_BENCH[0] | {"path": "b.wav", "uniq_id": 8}],
    )
    return "Foundation_meta.json"


def _voicebench(root: Path) -> str:
    b.write_parquet(
        root / "mmsu/x.parquet", "audio", b.VOICEBENCH, [b.wav(number) for number in range(4)]
    )
    return "mmsu/*.parquet"


def _seen(root: Path) -> str:
    b.write_wavs(root, *(f"clean/raw/{number:03d}.wav" for number in range(4)))
    b.write_csv(root / "metadata.csv", b.seen(4))
    return "metadata.csv"


def _avqa(root: Path) -> str:
    b.write_wavs(root, *(Path(row["audio_path"]).name for row in b.AVQA))
    b.write_json(root / "train_qa.json", b.AVQA)
    return "train_qa.json"


def _echodistill(root: Path) -> str:
    b.write_wavs(root, *dict.fromkeys(row["clean_audio_path"] for row in b.ECHODISTILL))
    b.write_json(root / "val.jsonl", b.ECHODISTILL)
    return "*.jsonl"


def _tones(root: Path, **fields: str) -> str:
    rows = []
    for number in range(4):
        word = WORDS[number % 3]
        root.mkdir(exist_ok=True)
        soundfile.write(root / f"{number}.wav", tone(word, number), 16_000)
        row = {
            "id": str(number),
            "audio_path": f"{number}.wav",
            "question": "Which tone?",
            "choices": list(WORDS),
            "answer": word,
        }
        rows.append(row | fields)
    b.write_json(root / "manifest.jsonl", rows)
    return "manifest.jsonl"


def _tones_named_test(root: Path) -> str:
    return _tones(root, split="test")


def _fsdd(root: Path) -> str:
    (root / "recordings").mkdir(parents=True)
    for speaker in ("anna", "ben", "cleo"):
        for digit in (1, 2, 3):
            soundfile.write(
                root / f"recordings/{digit}_{speaker}_0.wav",
                tone(WORDS[digit - 1], f"{speaker}{digit}", 0.1),
                8_000,
            )
    return "none"


ALL = {"test_share": 1.0}
SOURCES: dict[str, tuple[str, Callable[[Path], str], dict[str, Any]]] = {
    "mmau": ("mmau", _mmau, {}),
    "mmau as parquet": ("mmau", _mmau_parquet, {}),
    "mmar": ("mmar", _mmar, {}),
    "mmsu": ("mmsu", _mmsu, {}),
    "air-bench": ("air-bench", _air_bench, {}),
    "voicebench": ("voicebench", _voicebench, {}),
    "seen": ("seen", _seen, {}),
    "avqa": ("avqa", _avqa, ALL),
    "echodistill": ("echodistill", _echodistill, ALL),
    "folder": ("folder", _tones, ALL),
    "folder, split named": ("folder", _tones_named_test, ALL),
    "fsdd": ("fsdd", _fsdd, ALL),
}


@dataclass(frozen=True)
class World:
    params: Params
    folder: Path

    @property
    def corpus(self) -> Corpus:
        return Corpus(self.folder / "corpus")

    @property
    def table(self) -> dict[str, Any]:
        loaded: dict[str, Any] = json.loads(
            (self.folder / "evaluation.json").read_text(encoding="utf-8")
        )
        return loaded


def params_for(
    root: Path, source: str, manifest: str, model: Path, student: Path | None = None, **changes: Any
) -> Params:
    return params_of(
        corpus={"source": source, "path": str(root), "manifest": manifest, "max_duration_s": 0.6}
        | {"clips": {"train": 1, "validation": 1, "decision": 1, "test": 5}}
        | changes,
        mixes={"kinds": KINDS, "unseen": [], "snrs_db": [0]},
        base={"model": str(model)},
        evaluate={"bootstrap_draws": 100, "student": str(student) if student else None},
    )


def run(params: Params, folder: Path) -> World:
    """All stages of ``evaluation/dvc.yaml`` and those before it, in one process."""
    corpus(params_view(params, ("seed", "corpus", "prompt.style")), folder / "corpus")
    mixes(params_view(params, ("seed", "mixes")), folder / "mixes", folder / "corpus")
    base(params, folder / "base", folder / "corpus")
    evaluated_student(params, folder / "student")
    made = (folder / "corpus", folder / "mixes", folder / "base")
    predict(params, "base", "test", folder / "base.parquet", *made, folder / "base")
    predict(params, "student", "test", folder / "student.parquet", *made, folder / "student")
    answers = folder / "base.parquet", folder / "student.parquet"
    out = folder / "evaluation.json"
    evaluate_test_only(
        params,
        out,
        folder / "top.json",
        folder / "curves.csv",
        made[0],
        folder / "base/base.json",
        *answers,
        folder / "student",
    )
    evaluation_report(
        params, folder / "evaluation.html", folder / "unparsed.csv", made[0], out, *answers
    )
    return World(params, folder)


@pytest.fixture
def model(tiny_llm: AudioLLM, tmp_path: Path) -> Path:
    tiny_llm.save(tmp_path / "model")
    return tmp_path / "model"


def printed(world: World) -> str:
    shown = io.StringIO()
    print_evaluation(world.table, Console(file=shown, width=136, no_color=True))
    return shown.getvalue()


@pytest.mark.parametrize("name", SOURCES)
def test_every_source_is_evaluated_end_to_end(name: str, model: Path, tmp_path: Path) -> None:
    source, write, changes = SOURCES[name]
    root = tmp_path / "raw"
    params = params_for(root, source, write(root), model, **changes)
    assert params.corpus.is_test_only
    world = run(params, tmp_path)
    assert {clip.split for clip in world.corpus.clips.values()} == {"test"}
    facts = json.loads((tmp_path / "base/base.json").read_text())
    assert (facts["clean_acc"], facts["clean_n"], facts["judged_on"], facts["train_acc"]) == (
        None,
        0,
        None,
        None,
    )
    assert [check.description for check in base_checks(tmp_path / "base", params)] == [
        "the base has parameters"
    ]
    assert is_absent(tmp_path / "student")
    assert read_rows(tmp_path / "student.parquet", Answer) == []
    table = world.table
    assert set(table["systems"]) == {"base"}
    assert table["questions"] == len(world.corpus.questions)
    assert {"clean_acc", "acc", "acc@0", "acc/gauss", "acc/crowd"} <= set(table["systems"]["base"])
    output = printed(world)
    assert f"On {source} the base answers" in output
    assert "babble of other groups' test clips" in output
    assert ("Acc, authors' rule" in output) == ("scoring" in table)
    assert "On " + source in (tmp_path / "evaluation.html").read_text()


def test_a_student_is_compared_with_the_base_and_is_copied_once(
    model: Path, tiny_llm: AudioLLM, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    student, root = tmp_path / "trained", tmp_path / "raw"
    tiny_llm.save(student)
    (student / "run.json").write_text(json.dumps({"weights": "full", "method": "grpo"}))
    (student / "README.md").write_text("not read when loading")
    world = run(params_for(root, "mmar", _mmar(root), model, student), tmp_path)
    table = world.table
    assert set(table["systems"]) == {"base", "student"}
    assert table["differences"]["student - base"]["acc"]["value"] == 0.0  # the same weights
    assert "student (grpo)" in printed(world)
    assert (table["student"], table["method"]) == (str(student), "grpo")
    assert not (tmp_path / "student/README.md").exists()
    before = (tmp_path / "student/model.safetensors").stat().st_ino
    evaluated_student(world.params, tmp_path / "student")
    assert "here already" in capsys.readouterr().out
    assert (tmp_path / "student/model.safetensors").stat().st_ino == before
    (student / "run.json").write_text(json.dumps({"weights": "full", "method": "sft"}))
    evaluated_student(world.params, tmp_path / "student")
    assert json.loads((tmp_path / "student/run.json").read_text())["method"] == "sft"


def test_the_gates_pass_what_is_whole_and_nothing_else(model: Path, tmp_path: Path) -> None:
    root = tmp_path / "raw"
    params = params_for(root, "mmar", _mmar(root), model)
    run(params, tmp_path)
    answers = (tmp_path / "student.parquet", tmp_path / "mixes", tmp_path / "student", params)
    assert validate("evaluated", evaluated_checks(*answers), docs=None).passed
    assert validate(
        "mixes", mixes_checks(tmp_path / "mixes", tmp_path / "corpus", params), docs=None
    ).passed
    assert validate(
        "evaluation", evaluation_checks(tmp_path / "evaluation.json", params), docs=None
    ).passed
    (tmp_path / "student.parquet").write_bytes((tmp_path / "base.parquet").read_bytes())
    assert not validate("evaluated", evaluated_checks(*answers), docs=None).passed
    table = json.loads((tmp_path / "evaluation.json").read_text())
    for spoil in (
        lambda found: found["systems"]["base"].pop("acc@0"),
        lambda found: found["systems"]["base"]["acc"].update(value=1.2, high=1.3),
        lambda found: found["systems"]["base"]["acc/gauss"].update(low=0.9, value=0.5),
        lambda found: found.update(student="gone"),
    ):
        found = json.loads(json.dumps(table))
        spoil(found)
        (tmp_path / "evaluation.json").write_text(json.dumps(found))
        assert not validate(
            "evaluation", evaluation_checks(tmp_path / "evaluation.json", params), docs=None
        ).passed


def test_a_crowd_is_of_other_groups_where_nobody_was_trained_on(tmp_path: Path) -> None:
    write_corpus(tmp_path / "corpus", {"test": 8})
    params = params_of(mixes={"kinds": ["crowd"], "unseen": [], "snrs_db": [0]})
    found = Corpus(tmp_path / "corpus")
    assert babble_split(found.clips.values()) == "test"
    noise = noise_settings(params.seed, params.mixes)
    sources = sources_of(found, noise)["crowd", "test"]
    for clip in found.clips.values():
        voices = sources.for_clip(clip.clip_id)
        assert len(voices) == 4
        assert {found.clips[name].group for name in voices}.isdisjoint({clip.group})
    assert len(sources.for_clip("asked")) == 8
    (tmp_path / "mixes").mkdir()
    write_noise(tmp_path / "mixes", noise)
    noisy = in_noise(tone("low", "x"), "crowd", 0.0, tmp_path / "corpus", tmp_path / "mixes")
    assert noisy.shape == tone("low", "x").shape


def test_one_group_alone_has_no_crowd_and_states_the_cure(tmp_path: Path) -> None:
    write_corpus(tmp_path / "corpus", {"test": 1})
    params = params_of(mixes={"kinds": ["gauss", "crowd"], "unseen": [], "snrs_db": [0]})
    with pytest.raises(
        UserError,
        match=(
            r"^mixes\.kinds: there are no clips of other groups than 'test-speaker-0'.*leave"
            r" `crowd` out"
        ),
    ):
        mixes(params_view(params, ("seed", "mixes")), tmp_path / "mixes", tmp_path / "corpus")
    quiet = params_of(mixes={"kinds": ["gauss"], "unseen": [], "snrs_db": [0]})
    mixes(params_view(quiet, ("seed", "mixes")), tmp_path / "mixes", tmp_path / "corpus")


def test_nano_needs_training_clips_and_states_it_before_and_in_its_stage(tmp_path: Path) -> None:
    write_corpus(tmp_path / "corpus", {"test": 4})
    with pytest.raises(
        UserError,
        match=(
            r"^base\.model: nano is pre-trained on training clips.*-S"
            r" base\.model=FOLDER.*corpus\.test"
        ),
    ):
        base(params_of(), tmp_path / "base", tmp_path / "corpus")
    with pytest.raises(UserError, match=r"^base\.model: nano is pre-trained on training clips"):
        check_evaluation(params_of(corpus={"source": "mmau"}))
    assert not (tmp_path / "base").exists()


def test_a_folder_without_a_student_is_refused(tmp_path: Path) -> None:
    params = params_of(base={"model": "x/y"}, evaluate={"student": str(tmp_path)})
    for refuse in (check_evaluation, lambda given: evaluated_student(given, tmp_path / "out")):
        with pytest.raises(UserError, match=r"^evaluate\.student: .* holds no trained student"):
            refuse(params)


def test_without_training_questions_there_are_no_references(model: Path, tmp_path: Path) -> None:
    write_corpus(tmp_path / "corpus", {"test": 4})
    with pytest.raises(UserError, match="no training questions"):
        references(params_of(), tmp_path / "references", tmp_path / "corpus", model)


@pytest.mark.parametrize(
    ("changes", "alone"),
    [
        ({}, False),
        ({"test_share": 1.0}, True),
        ({"source": "folder", "test_share": 1.0}, True),
        (
            {"source": "folder", "test_share": 1.0, "validation_share": 0.0, "decision_share": 0.0},
            True,
        ),
        ({"source": "mmau"}, True),
        ({"source": "mmau", "benchmark_rows": "split"}, False),
        ({"source": "avqa"}, False),
        ({"source": "avqa", "test_share": 1.0}, True),
        (
            {
                "source": "avqa",
                "test_share": 1.0,
                "test": {"source": "mmau", "path": "x", "manifest": "y"},
            },
            False,
        ),
    ],
)
def test_which_parameters_make_a_corpus_for_testing_only(
    changes: dict[str, Any], alone: bool
) -> None:
    assert params_of(corpus=changes).corpus.is_test_only == alone

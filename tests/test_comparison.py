"""comparison/dvc.yaml and what its stages do: declared imports and parameters, systems by name,
answers with something in front.
"""

import ast
import copy
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import yaml

from echodistill.audio.denoise import DENOISERS
from echodistill.audio.mixing import Mix, draw
from echodistill.audio.recordings import NoiseLibrary
from echodistill.core.errors import UserError
from echodistill.core.records import Answer, GridRow, read_rows, write_rows
from echodistill.data.store import Corpus
from echodistill.import_graph import ROOT
from echodistill.inference.answer_grid import answer_grid, grid_items, without_audio
from echodistill.inference.resumable import Item
from echodistill.inference.sample import denoised_mixes
from echodistill.models.audio_llm import AudioLLM, encode
from echodistill.models.base import Prompt
from echodistill.models.generation import generate
from echodistill.params.compare import Denoiser, changes_of, system_names
from echodistill.params.methods import METHODS
from echodistill.params.references import ViewName
from echodistill.params.whole import validate_params
from echodistill.stages.train_system import train_system
from echodistill.systems import check_distinct, training_of
from echodistill.teachers.views import VIEWS
from flows.graph import read_graph
from tests.noise_cases import write_procedural
from tests.stage_params import declared

GRAPH: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "comparison/dvc.yaml").read_text())[
    "stages"
]
EVALUATION: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "evaluation/dvc.yaml").read_text())[
    "stages"
]
BOTH = GRAPH | {f"evaluation: {name}": stage for name, stage in EVALUATION.items()}
"""Of a comparison, and of a test alone."""
PARAMS: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text())
WHOLE = validate_params(PARAMS, "params.yaml")


def module_of(stage: dict[str, Any]) -> str:
    return str(stage["cmd"].split()[3])


@pytest.mark.parametrize("name", BOTH)
def test_a_stage_depends_on_the_hash_of_its_own_code_and_on_no_file_of_it(name: str) -> None:
    module = module_of(BOTH[name]).rpartition(".")[2]
    of_code = [dep for dep in BOTH[name]["deps"] if dep.startswith("build/") or ".py" in dep]
    # what the system is trained with is noted beside the code of the stage
    own, *of_system = of_code
    assert own == f"build/code/{module}.sha256"
    assert [dep.rpartition("/")[0] for dep in of_system] == (
        ["build/code/systems"] if module == "train_system" else []
    )


@pytest.mark.parametrize("name", BOTH)
def test_a_stage_declares_exactly_the_parameters_it_reads(name: str) -> None:
    source = (ROOT / f"{module_of(BOTH[name]).replace('.', '/')}.py").read_text()
    calls = [
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "run_stage"
    ]
    (sections,) = [keyword.value for keyword in calls[0].keywords if keyword.arg == "sections"]
    assert sorted(BOTH[name]["params"]) == declared(ast.literal_eval(sections))


@pytest.mark.parametrize("name", BOTH)
def test_paths_in_the_command_are_dependencies_or_outs(name: str) -> None:
    stage = BOTH[name]
    words = [word for word in stage["cmd"].split()[4:] if "/" in word or word.startswith("${paths")]
    assert set(words) <= {
        *stage["deps"],
        *(out if isinstance(out, str) else next(iter(out)) for out in stage.get("outs", [])),
        *stage.get("metrics", []),
        *(path for plot in stage.get("plots", []) for path in plot),
    }


def test_a_corpus_for_testing_only_needs_the_base_and_trains_nothing() -> None:
    leading = {node.name for node in read_graph(ROOT, "evaluation/dvc.yaml:report")}
    judged = {"gate@corpus", "gate@mixes", "gate@base", "gate@answers_base"}
    own = {f"evaluation/dvc.yaml:{name}" for name in EVALUATION}
    assert leading == own | judged | {"corpus", "mixes", "base", "predict@base"}


def test_every_system_and_seed_of_the_parameters_is_a_stage_and_leads_to_the_report() -> None:
    leading = {node.name for node in read_graph(ROOT, "comparison/dvc.yaml:report")}
    for system in PARAMS["compare"]["train"]:
        for seed in PARAMS["compare"]["seeds"]:
            assert {
                f"comparison/dvc.yaml:{stage}@{system}-{seed}" for stage in ("train", "answer")
            } <= leading
    for control in PARAMS["compare"]["controls"]:
        assert f"comparison/dvc.yaml:control_references@{control}" in leading
        for seed in PARAMS["compare"]["seeds"]:
            assert {
                f"comparison/dvc.yaml:{stage}_control@{control}-{seed}"
                for stage in ("train", "answer")
            } <= leading
    for denoiser in PARAMS["compare"]["denoisers"]:
        assert f"comparison/dvc.yaml:answer_denoised@{denoiser}" in leading
    assert {"corpus", "base", "predict@base"} <= leading
    assert not [
        node.name for node in read_graph(ROOT) if "comparison" in node.name and ":" in node.name
    ]


def test_the_names_that_parameters_may_have_are_those_of_the_tables() -> None:
    assert system_names(WHOLE.compare.systems)[: len(METHODS)] == tuple(METHODS)
    assert tuple(VIEWS) == get_args(ViewName)
    assert get_args(Denoiser) == tuple(DENOISERS)


def test_one_training_by_two_names_is_refused() -> None:
    raw = copy.deepcopy(PARAMS)
    check_distinct(validate_params(raw, "params.yaml"))
    raw["compare"]["train"] = ["echodistill", "kl-reverse", "kl-forward"]
    with pytest.raises(UserError, match=r"kl-forward is what echodistill is already"):
        check_distinct(validate_params(raw, "params.yaml"))
    raw["train"]["methods"]["echodistill"]["kl"] = "jsd"
    check_distinct(validate_params(raw, "params.yaml"))


def test_a_comparison_wants_the_matched_teacher() -> None:
    raw = copy.deepcopy(PARAMS)
    raw["references"]["view"] = "silence"
    with pytest.raises(UserError, match=r"references\.view: a comparison needs `clean`"):
        train_system(validate_params(raw, "params.yaml"), "sft", 1, *[Path("nowhere")] * 5)


@pytest.mark.parametrize("name", system_names(WHOLE.compare.systems))
def test_a_system_differs_in_what_it_names_alone(name: str) -> None:
    before = WHOLE.train.model_dump()
    after = training_of(name, WHOLE).train.model_dump()
    for key, value in changes_of(name, WHOLE.compare.systems).items():
        if key == "references.view":
            assert training_of(name, WHOLE).view == value
            continue
        for settings in (before, after):
            node: dict[str, Any] = {"train": settings}
            *outer, last = key.split(".")
            for part in outer:
                node = node[part]
            if settings is after:
                assert node[last] == value
            node[last] = None
    assert before == after


FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "unknown key": ({"set": {"train.methods.grpo.clipp": 1}}, "clipp: unknown key"),
    "unknown section": ({"set": {"train.no.such": 1}}, r"train\.no\.such: unknown key"),
    "another section": ({"set": {"seed": 1}}, "a system changes keys of the section train"),
    "bad value": ({"set": {"train.steps": 0}}, r"train\.steps: .*greater than 0"),
    "unknown view": ({"set": {"references.view": "loud"}}, "'loud' is none of clean, "),
    "name of a method": ({"name": "grpo"}, "'grpo' is taken"),
    "name of a fold": ({"name": "fold2"}, "'fold2' is taken"),
    "defined twice": ({"name": "silence"}, "'silence' is defined twice"),
    "path as name": ({"name": "../x"}, "should match pattern"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_system_is_refused_when_it_is_loaded(fault: str) -> None:
    changes, message = FAULTS[fault]
    raw = copy.deepcopy(PARAMS)
    raw["compare"]["systems"].append({"name": "mine", "label": "my own", "set": {}, **changes})
    with pytest.raises(UserError, match=rf"compare\.systems.*{message}"):
        validate_params(raw, "params.yaml")


def test_a_system_of_a_user_is_trained_as_it_is_defined() -> None:
    raw = copy.deepcopy(PARAMS)
    raw["compare"]["systems"].append(
        {"name": "long", "label": "EchoDistill, more steps", "set": {"train.steps": 7}}
    )
    raw["compare"]["train"].append("long")
    params = validate_params(raw, "params.yaml")
    assert training_of("long", params).train.steps == 7
    assert params.compare.label_of("long") == "EchoDistill, more steps"


@pytest.mark.parametrize(
    ("key", "name", "message"),
    [
        ("train", "no-such", "'no-such' is none of beta-0.2"),
        ("train", "silence", r"silence changes references\.view: name it in compare\.controls"),
        ("controls", "kl-jsd", r"kl-jsd does not change references\.view: name it in"),
        ("controls", "grpo", r"grpo does not change references\.view: name it in compare\.train"),
    ],
)
def test_a_name_that_cannot_stand_there_is_refused(key: str, name: str, message: str) -> None:
    raw = copy.deepcopy(PARAMS)
    raw["compare"][key].append(name)
    with pytest.raises(UserError, match=message):
        validate_params(raw, "params.yaml")


def test_a_systems_settings_file_holds_what_it_is_trained_with_and_nothing_else() -> None:
    def notes(**methods: dict[str, Any]) -> dict[str, str]:
        raw = copy.deepcopy(PARAMS)
        for name, changes in methods.items():
            raw["train"]["methods"][name] |= changes
        params = validate_params(raw, "params.yaml")
        return {
            name: training_of(name, params).as_json()
            for name in system_names(params.compare.systems)
        }

    before, after = notes(), notes(grpo={"learning_rate": 1e-5})
    assert {name for name in before if before[name] != after[name]} == {"grpo"}
    assert len({*before.values()}) == len(before) - 3  # ablations that are the default


def grid(tmp_path: Path, corpus: Corpus) -> tuple[Path, list[Mix]]:
    """Each test clip clean and in white noise at two levels."""
    clips = [clip.clip_id for clip in corpus.clips_of("test")][:2]
    mixes = [
        draw(1, clip, "test", kind, snr, 0, ())
        for clip in clips
        for kind, snr in (("clean", None), ("gauss", -5.0), ("gauss", 20.0))
    ]
    write_rows(tmp_path / "mixes.parquet", Mix, mixes)
    write_procedural(tmp_path)
    of_clip = {question.clip_id: question.question_id for question in corpus.questions_of("test")}
    write_rows(
        tmp_path / "grid.parquet",
        GridRow,
        [GridRow(mix.mix_id, of_clip[mix.clip_id]) for mix in mixes],
    )
    return tmp_path, mixes


def test_a_denoiser_runs_before_the_model_in_every_condition(
    tmp_path: Path, tiny_corpus: Corpus
) -> None:
    folder, mixes = grid(tmp_path, tiny_corpus)
    noise = NoiseLibrary(tiny_corpus.waveform)
    plain = grid_items(tiny_corpus, folder, noise)
    assert [item.mix_id for item in plain] == [mix.mix_id for mix in mixes]
    turned = grid_items(tiny_corpus, folder, noise, lambda waveform: -waveform)
    for own, item in zip(plain, turned, strict=True):
        before, after = own.prompt().waveform, item.prompt().waveform
        assert before is not None
        assert after is not None
        assert np.array_equal(after, -before)


def test_denoisers_are_tried_in_two_kinds_of_noise_a_clip_and_level() -> None:
    clips, kinds = [f"c{number}" for number in range(40)], ("wind", "crowd", "rain", "traffic")
    cells = [("clean", None), *((kind, snr) for kind in kinds for snr in (-5.0, 0.0, 20.0))]
    mixes = [draw(1, clip, "test", kind, snr, 0, ()) for clip in clips for kind, snr in cells]
    chosen = denoised_mixes(mixes, 0.0, 1)
    taken = [mix for mix in mixes if mix.mix_id in chosen]
    assert Counter((mix.clip_id, mix.snr_db) for mix in taken) == {
        (clip, snr): 1 if snr is None else 2 for clip in clips for snr in (None, -5.0, 0.0)
    }
    of_kinds = Counter(mix.noise_kind for mix in taken)
    assert min(of_kinds[kind] for kind in kinds) > 25  # 40 are expected of each
    assert denoised_mixes(mixes[::-1], 0.0, 1) == chosen != denoised_mixes(mixes, 0.0, 2)


def test_without_audio_the_answer_depends_on_the_question_alone(
    tmp_path: Path, tiny_corpus: Corpus, tiny_llm: AudioLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = grid(tmp_path, tiny_corpus)
    items = without_audio(
        tiny_corpus, grid_items(tiny_corpus, folder, NoiseLibrary(tiny_corpus.waveform))
    )
    prompts = [item.prompt() for item in items]
    assert all(prompt.waveform is None for prompt in prompts)
    batch = encode(tiny_llm, prompts)
    assert batch.features == {}
    assert not (batch.input_ids == tiny_llm.model.config.image_token_id).any()
    answers = {item.question_id: [] for item in items}  # type: dict[str, list[list[int]]]
    for item, answer in zip(items, generate(tiny_llm, batch, 3), strict=True):
        answers[item.question_id].append(answer)
    assert all(answer == given[0] for given in answers.values() for answer in given)
    monkeypatch.chdir(tmp_path)
    asked: list[str] = []

    def noted(item: Item) -> Prompt:
        asked.append(item.question_id)
        return item.prompt()

    answer_grid(Path("each.parquet"), "each", "1", tiny_llm, items, 3)
    counted = [replace(item, prompt=partial(noted, item)) for item in items]
    answer_grid(Path("once.parquet"), "once", "1", tiny_llm, counted, 3, alike=True)
    assert sorted(asked) == sorted(answers)
    assert read_rows(Path("once.parquet"), Answer) == read_rows(Path("each.parquet"), Answer)
    with pytest.raises(ValueError, match="with and without a clip"):
        encode(tiny_llm, [prompts[0], Prompt(np.zeros(8_000, np.float32), "Which?", ("a", "b"))])

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
from echodistill.datasets.store import Corpus
from echodistill.errors import UserError
from echodistill.import_graph import ROOT
from echodistill.inference.answer_grid import answer_grid, grid_items, without_audio
from echodistill.inference.resumable import Item
from echodistill.inference.sample import denoised_mixes
from echodistill.models.audio_llm import AudioLLM, encode
from echodistill.models.base import Prompt
from echodistill.models.generation import generate
from echodistill.params.comparison import Denoiser, System
from echodistill.params.references import Control
from echodistill.params.train import TrainParams
from echodistill.params.whole import validate_params
from echodistill.records import Answer, GridRow, read_rows, write_rows
from echodistill.stages.train_system import train_system
from echodistill.systems import SYSTEMS, check_distinct, settings_for
from flows.graph import read_graph
from tests.noise_cases import write_procedural

GRAPH: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "comparison/dvc.yaml").read_text())[
    "stages"
]
EVALUATION: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "evaluation/dvc.yaml").read_text())[
    "stages"
]
BOTH = GRAPH | {f"evaluation: {name}": stage for name, stage in EVALUATION.items()}
"""Of a comparison, and of a test alone."""
PARAMS: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text())


def module_of(stage: dict[str, Any]) -> str:
    return str(stage["cmd"].split()[3])


@pytest.mark.parametrize("name", BOTH)
def test_a_stage_depends_on_the_hash_of_its_own_code_and_on_no_file_of_it(name: str) -> None:
    module = module_of(BOTH[name]).rpartition(".")[2]
    of_code = [dep for dep in BOTH[name]["deps"] if dep.startswith("build/") or ".py" in dep]
    assert of_code == [f"build/code/{module}.sha256"]


@pytest.mark.parametrize("name", BOTH)
def test_a_stage_declares_exactly_the_parameters_it_reads(name: str) -> None:
    source = (ROOT / f"{module_of(BOTH[name]).replace('.', '/')}.py").read_text()
    calls = [
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "run_stage"
    ]
    (sections,) = [keyword.value for keyword in calls[0].keywords if keyword.arg == "sections"]
    assert sorted(BOTH[name]["params"]) == sorted(ast.literal_eval(sections))


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


def test_a_test_alone_needs_the_base_and_trains_nothing() -> None:
    leading = {node.name for node in read_graph(ROOT, "evaluation/dvc.yaml:report")}
    judged = {"gate@corpus", "gate@mixes", "gate@base", "gate@answers_base"}
    own = {f"evaluation/dvc.yaml:{name}" for name in EVALUATION}
    assert leading == own | judged | {"corpus", "mixes", "base", "predict@base"}


def test_every_system_and_seed_of_the_parameters_is_a_stage_and_leads_to_the_report() -> None:
    leading = {node.name for node in read_graph(ROOT, "comparison/dvc.yaml:report")}
    for system in PARAMS["comparison"]["systems"]:
        for seed in PARAMS["comparison"]["seeds"]:
            assert {
                f"comparison/dvc.yaml:{stage}@{system}-{seed}" for stage in ("train", "answer")
            } <= leading
    for control in PARAMS["comparison"]["controls"]:
        assert f"comparison/dvc.yaml:control_references@{control}" in leading
        for seed in PARAMS["comparison"]["seeds"]:
            assert {
                f"comparison/dvc.yaml:{stage}_control@{control}-{seed}"
                for stage in ("train", "answer")
            } <= leading
    for denoiser in PARAMS["comparison"]["denoisers"]:
        assert f"comparison/dvc.yaml:answer_denoised@{denoiser}" in leading
    assert {"corpus", "base", "predict@base"} <= leading
    assert not [
        node.name for node in read_graph(ROOT) if "comparison" in node.name and ":" in node.name
    ]


def test_the_names_that_parameters_may_have_are_those_of_the_tables() -> None:
    assert {*get_args(System), *get_args(Control)} == SYSTEMS.keys()
    assert get_args(Denoiser) == tuple(DENOISERS)


def test_one_training_by_two_names_is_refused() -> None:
    raw = copy.deepcopy(PARAMS)
    check_distinct(validate_params(raw, "params.yaml"))
    raw["comparison"]["systems"] = ["echodistill", "kl-reverse", "kl-forward"]
    with pytest.raises(UserError, match=r"kl-forward is what echodistill is already"):
        check_distinct(validate_params(raw, "params.yaml"))
    raw["train"]["objective"]["kl"] = "jsd"
    check_distinct(validate_params(raw, "params.yaml"))


def test_a_comparison_wants_the_matched_teacher() -> None:
    raw = copy.deepcopy(PARAMS)
    raw["references"]["view"] = "silence"
    with pytest.raises(UserError, match=r"references\.view: a comparison needs `clean`"):
        train_system(validate_params(raw, "params.yaml"), "sft", 1, *[Path("nowhere")] * 5)


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_system_differs_in_what_it_names_alone(name: System | Control) -> None:
    train = TrainParams.model_validate(PARAMS["train"])
    before, after = train.model_dump(), settings_for(SYSTEMS[name], train).model_dump()
    for key, value in SYSTEMS[name].train.items():
        for settings in (before, after):
            node = settings
            *outer, last = key.split(".")
            for part in outer:
                node = node[part]
            if settings is after:
                assert node[last] == value
            node[last] = None
    assert before == after


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


def test_a_denoiser_stands_before_the_model_in_every_condition(
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

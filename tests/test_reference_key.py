"""A reference's key and a base's revision: each part that an answer depends on changes them, and
nothing else does.
"""

import copy
import dataclasses
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from echodistill.core.errors import UserError
from echodistill.data.store import Corpus
from echodistill.models import identity
from echodistill.models.audio_llm import AudioLLM
from echodistill.models.checkpoint import open_base
from echodistill.models.identity import model_identity
from echodistill.models.layout import FACTS, POINTER, file_hashes, revision_of
from echodistill.models.loading import load
from echodistill.params.references import ReferencesParams
from echodistill.stages import base as base_stage
from echodistill.stages.base import _pointer
from echodistill.stages.entry import params_view
from echodistill.teachers.folder import Teacher, _decoding, _request
from echodistill.teachers.views import VIEWS
from tests.test_stages import params_of

ROOT = Path(__file__).parents[1]
SETTINGS = ReferencesParams(view="clean", top_k=64, full_vocabulary_up_to=4096)


@pytest.fixture(scope="module")
def model_folder(tiny_llm: AudioLLM, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("identity") / "model"
    tiny_llm.save(folder)
    (folder / "README.md").write_text("about it")
    return folder


@pytest.fixture
def own_copy(model_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(model_folder, tmp_path / "elsewhere"))


def identity_of(folder: Path) -> dict[str, str]:
    return model_identity(load(str(folder), device="cpu"))


def differing(one: dict[str, str], other: dict[str, str]) -> set[str]:
    assert one.keys() == other.keys()
    return {name for name in one if one[name] != other[name]}


def edited(path: Path, change: Callable[[Any], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def teacher_of(
    llm: AudioLLM, revision: str = "r1", settings: ReferencesParams = SETTINGS, limit: int = 8
) -> Teacher:
    return Teacher(llm, revision, model_identity(llm), _decoding(settings, limit))


def test_what_is_asked_and_how_it_is_decoded_are_in_the_key(
    tiny_llm: AudioLLM, tiny_corpus: Corpus
) -> None:
    clean, teacher = VIEWS["clean"](tiny_corpus, 1), teacher_of(tiny_llm)
    first, second = tiny_corpus.questions_of("train")[:2]
    questions = [
        first,
        dataclasses.replace(first, clip_id=second.clip_id),
        dataclasses.replace(first, question="Which sound?"),
        dataclasses.replace(first, choices=first.choices[::-1]),
    ]
    keys = [_request(question, clean, teacher).key for question in questions]
    keys += [
        _request(first, VIEWS[view](tiny_corpus, 1), teacher).key for view in ("noise", "silence")
    ]
    keys.append(_request(first, clean, teacher_of(tiny_llm, revision="r2")).key)
    keys.append(_request(first, clean, teacher_of(tiny_llm, limit=9)).key)
    for field in ReferencesParams.model_fields.keys() - {"view"}:
        other = SETTINGS.model_copy(update={field: getattr(SETTINGS, field) + 1})
        keys.append(_request(first, clean, teacher_of(tiny_llm, settings=other)).key)
    for part in teacher.identity:
        other_model = dataclasses.replace(teacher, identity={**teacher.identity, part: "other"})
        keys.append(_request(first, clean, other_model).key)
    assert len(set(keys)) == len(keys)
    renamed = dataclasses.replace(first, question_id="another", split="test")
    assert _request(renamed, clean, teacher).key == keys[0]
    assert len(keys[0]) == 64


def test_the_rendered_prompt_is_in_the_key(
    tiny_llm: AudioLLM, tiny_corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    question, view, teacher = (
        tiny_corpus.questions_of("train")[0],
        VIEWS["clean"](tiny_corpus, 1),
        teacher_of(tiny_llm),
    )
    before = _request(question, view, teacher).key
    render = tiny_llm.family.render
    monkeypatch.setattr(tiny_llm.family, "render", lambda *given: "Listen. " + render(*given))
    assert _request(question, view, teacher).key != before


CHANGES: dict[str, tuple[str, Callable[[Any], object], set[str]]] = {
    "a merge less": ("tokenizer.json", lambda state: state["model"]["merges"].pop(), {"tokenizer"}),
    "a normaliser": (
        "tokenizer.json",
        lambda state: state.update(normalizer={"type": "Lowercase"}),
        {"tokenizer"},
    ),
    "another padding token": (
        "tokenizer_config.json",
        lambda state: state.update(pad_token="<|im_start|>"),
        {"tokenizer", "pad_token"},
    ),
    "dithered features": (
        "processor_config.json",
        lambda state: state["feature_extractor"].update(dither=0.1),
        {"processor"},
    ),
    "another norm": (
        "config.json",
        lambda state: state["text_config"].update(rms_norm_eps=1e-5),
        {"config"},
    ),
    "another rotary base": (
        "config.json",
        lambda state: state["text_config"]["rope_parameters"].update(rope_theta=5e5),
        {"config"},
    ),
    "another end token": (
        "generation_config.json",
        lambda state: state.update(eos_token_id=[2, 5]),
        {"end_tokens"},
    ),
    "a sampling setting, which is neutralised": (
        "generation_config.json",
        lambda state: state.update(repetition_penalty=1.1),
        set(),
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_file_changes_its_part_and_the_revision(
    name: str, model_folder: Path, own_copy: Path
) -> None:
    file, change, parts = CHANGES[name]
    edited(own_copy / file, change)
    assert differing(identity_of(model_folder), identity_of(own_copy)) == parts
    assert revision_of(file_hashes(own_copy)) != revision_of(file_hashes(model_folder))


def test_a_changed_chat_template_changes_its_part(model_folder: Path, own_copy: Path) -> None:
    template = own_copy / "chat_template.jinja"
    template.write_text(template.read_text() + "!")
    assert differing(identity_of(model_folder), identity_of(own_copy)) == {"chat_template"}


def test_what_a_model_is_computed_with_is_a_part(
    model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    llm = load(str(model_folder), device="cpu")
    before = model_identity(llm)
    half = load(str(model_folder), device="cpu", dtype=torch.bfloat16)
    assert differing(before, model_identity(half)) == {"dtype"}
    other_device = dataclasses.replace(llm, model=copy.deepcopy(llm.model).to("meta"))
    assert differing(before, model_identity(other_device)) == {"device"}
    for library in ("torch", "transformers", "tokenizers"):
        with monkeypatch.context() as patch:
            patch.setattr(getattr(identity, library), "__version__", "0.0")
            assert differing(before, model_identity(llm)) == {library}
    monkeypatch.setattr(llm.family, "never_sample", llm.family.never_sample[:1])
    assert differing(before, model_identity(llm)) == {"never_sample"}


def test_the_same_model_has_the_same_parts_in_another_place_and_process(
    model_folder: Path, own_copy: Path
) -> None:
    (own_copy / "README.md").write_text("rewritten")
    llm = load(str(own_copy), device="cpu")
    # leaves its state in the tokenizer
    llm.tokenizer(["a", "a longer one"], padding=True, truncation=True, max_length=3)
    assert model_identity(llm) == identity_of(model_folder)
    script = (
        "import json, sys, tests.test_reference_key as t;"
        " print(json.dumps(t.identity_of(t.Path(sys.argv[1]))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(model_folder)],
        cwd=ROOT,
        env=os.environ | {"PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout.splitlines()[-1]) == identity_of(model_folder)


def pointing_at(folder: Path, base: Path) -> Path:
    base.mkdir()
    (base / POINTER).write_text(json.dumps(_pointer(str(folder), False)))
    return base


def test_a_base_whose_files_have_changed_is_refused_by_their_names(
    own_copy: Path, tmp_path: Path
) -> None:
    base = pointing_at(own_copy, tmp_path / "base")
    read = sorted(path.name for path in own_copy.iterdir() if path.name != "README.md")
    assert {"config.json", "generation_config.json", "tokenizer.json", "chat_template.jinja"} < set(
        read
    )
    for name in read:
        whole = (own_copy / name).read_bytes()
        (own_copy / name).write_bytes(whole + b" ")
        with pytest.raises(
            UserError, match=rf"has changed since stage base \({name}\): restore it, or run"
        ):
            open_base(base, "cpu")
        (own_copy / name).unlink()
        with pytest.raises(UserError, match=rf"\({name}\)"):
            open_base(base, "cpu")
        (own_copy / name).write_bytes(whole)
    for added in ("added_tokens.json", "vocab.txt", "spiece.model", "modeling.py"):
        (own_copy / added).write_text("{}")
        with pytest.raises(UserError, match=added):
            open_base(base, "cpu")
        (own_copy / added).unlink()
    open_base(base, "cpu")


def test_the_stage_pins_a_local_model_with_all_its_files(
    own_copy: Path, tiny_corpus: Corpus, tmp_path: Path
) -> None:
    params = params_view(params_of(base={"model": str(own_copy)}), ("seed", "base", "generation"))
    base_stage.base(params, tmp_path / "one", tiny_corpus.folder)
    open_base(tmp_path / "one", "cpu")
    edited(own_copy / "generation_config.json", lambda state: state.update(eos_token_id=[2, 5]))
    with pytest.raises(UserError, match="generation_config"):
        open_base(tmp_path / "one", "cpu")
    base_stage.base(params, tmp_path / "two", tiny_corpus.folder)
    open_base(tmp_path / "two", "cpu")
    revisions = []
    for name in ("one", "two"):
        facts, pointer = (
            json.loads((tmp_path / name / file).read_text()) for file in (FACTS, POINTER)
        )
        assert facts["revision"] == pointer["revision"] == revision_of(pointer["files"])
        revisions.append(facts["revision"])
    assert revisions[0] != revisions[1]


def test_files_that_loading_does_not_read_are_not_part_of_a_base(
    own_copy: Path, tmp_path: Path
) -> None:
    base = pointing_at(own_copy, tmp_path / "base")
    (own_copy / "README.md").write_text("rewritten")
    for name in ("base.json", "run.json", "pointer.json", "metrics.jsonl", "training_args.bin"):
        (own_copy / name).write_text("{}")
    (own_copy / "checkpoint-5").mkdir()
    (own_copy / "checkpoint-5/model.safetensors").write_bytes(b"other weights")
    open_base(base, "cpu")


def test_many_changed_files_are_counted(own_copy: Path, tmp_path: Path) -> None:
    base = pointing_at(own_copy, tmp_path / "base")
    for number in range(7):
        (own_copy / f"{number}.json").write_text("{}")
    with pytest.raises(UserError, match=r"\(0.json, 1.json, 2.json, 3.json, 4.json and 2 more\)"):
        open_base(base, "cpu")

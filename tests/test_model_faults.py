"""A model is loaded whole or not at all: its keys, its numbers, its files, and the tokens that it
needs.
"""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import echodistill.models.torchaudio_guard  # noqa: F401

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

from echodistill.core.errors import UserError
from echodistill.models.audio_llm import AudioLLM
from echodistill.models.checkpoint import base_revision, open_base, open_model
from echodistill.models.embeddings import SentenceEncoder
from echodistill.models.layout import BASE_REVISION, FACTS, POINTER, RUN
from echodistill.models.loading import load
from echodistill.models.responses import respond
from echodistill.stages.base import _pointer
from tests.conftest import tone
from tests.test_model_seam import _prompt

Tensors = dict[str, torch.Tensor]
WEIGHTS, ADAPTER = "model.safetensors", "adapter_model.safetensors"
HEAD, BIAS, PROJECTOR = (
    "language_model.lm_head.weight",
    "audio_tower.conv1.bias",
    "multi_modal_projector.linear.weight",
)
LFS = (
    b"version https://git-lfs.github.com/spec/v1\noid"
    b" sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32\nsize 12345\n"
)
COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = (
    WEIGHTS,
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "processor_config.json",
    "generation_config.json",
)


@pytest.fixture(scope="module")
def sound(tiny_llm: AudioLLM, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sound") / "model"
    tiny_llm.save(folder)
    return folder


@pytest.fixture
def model(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "model"))


def rewritten(folder: Path, change: Callable[[Tensors], Tensors], file: str = WEIGHTS) -> Path:
    tensors = change(load_file(folder / file))
    (folder / file).unlink()
    save_file(tensors, folder / file, metadata={"format": "pt"})
    return folder


def edited(path: Path, **changes: Any) -> None:
    content = json.loads(path.read_text())
    kept = {name: value for name, value in (content | changes).items() if value is not None}
    path.write_text(json.dumps(kept))


def refusal(folder: Path | str) -> str:
    """Return the message of the refusal, one line that names the model."""
    with pytest.raises(UserError) as raised:
        load(str(folder), device="cpu")
    message = str(raised.value)
    assert "\n" not in message
    assert message.startswith(f"model {folder} cannot be ")
    return message


def without(part: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {name: value for name, value in tensors.items() if part not in name}


def under(prefix: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {prefix + name: value for name, value in tensors.items()}


def with_number(name: str, number: float) -> Callable[[Tensors], Tensors]:
    def change(tensors: Tensors) -> Tensors:
        value = tensors[name].clone()
        value.view(-1)[-1] = number
        return tensors | {name: value}

    return change


@pytest.mark.parametrize(
    "part",
    [
        "lm_head",
        "embed_tokens",
        BIAS,
        "embed_positions",
        "projector",
        "model.norm",
        "audio_tower",
        "",
    ],
)
def test_missing_keys_are_named(part: str, model: Path) -> None:
    missing = len([name for name in load_file(model / WEIGHTS) if part in name])
    message = refusal(rewritten(model, without(part)))
    assert f"of its weights {missing} are missing (" in message
    assert (part or "conv1") in message


@pytest.mark.parametrize(
    "prefix",
    [
        "module.",
        "_orig_mod.",
        "base_model.model.",
        "model.model.",
        "student.",
        "_fsdp_wrapped_module.",
    ],
)
def test_prefixed_keys_are_named(prefix: str, model: Path) -> None:
    message = refusal(rewritten(model, under(prefix)))
    assert "are missing (" in message
    assert "do not belong to the model (" in message


def test_unexpected_and_mismatched_keys_are_named_with_their_shapes(model: Path) -> None:
    extra = {name: torch.zeros(3) for name in ("extra.weight", "more.bias")}
    message = refusal(
        rewritten(model, lambda tensors: tensors | extra | {HEAD: tensors[HEAD].T.contiguous()})
    )
    assert "2 do not belong to the model (extra.weight, more.bias)" in message
    assert "1 have another shape (lm_head.weight is [48, 282] and must be [282, 48])" in message


def test_a_config_of_another_size_is_refused(model: Path) -> None:
    text = (model / "config.json").read_text()
    (model / "config.json").write_text(text.replace('"encoder_layers": 1', '"encoder_layers": 2'))
    assert "15 are missing (model.audio_tower.layers.1" in refusal(model)
    (model / "config.json").write_text(text.replace("282", "200"))
    assert "2 have another shape" in refusal(model)


def in_memory(name: str) -> str:
    """The name a key has in memory, where checkpoints are published under another."""
    if name.startswith("language_model.lm_head"):
        return name.removeprefix("language_model.")
    return "model." + name.replace("language_model.model", "language_model")


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors: {in_memory(name): value for name, value in tensors.items()},
        lambda tensors: (
            tensors
            | {"language_model.model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(24)}
        ),
        lambda tensors: {name: value.to(torch.bfloat16) for name, value in tensors.items()},
        lambda tensors: {name: value.double() for name, value in tensors.items()},
    ],
    ids=["names in memory", "a buffer of old versions", "bfloat16", "float64"],
)
def test_what_is_whole_in_another_form_is_taken(
    change: Callable[[Tensors], Tensors], model: Path
) -> None:
    load(str(rewritten(model, change)), device="cpu")


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("name", [HEAD, BIAS, PROJECTOR])
def test_a_number_that_is_none_is_refused_by_its_tensor(
    name: str, number: float, model: Path
) -> None:
    message = refusal(rewritten(model, with_number(name, number)))
    assert f"1 of its weights hold NaN or infinite numbers ({in_memory(name)})" in message


def test_numbers_too_large_for_the_format_in_memory_are_refused(model: Path) -> None:
    message = refusal(
        rewritten(
            model, lambda tensors: tensors | {BIAS: torch.full((48,), 1e300, dtype=torch.float64)}
        )
    )
    assert "infinite numbers" in message


@pytest.mark.parametrize("file", FILES)
def test_a_file_that_is_not_what_its_name_states_is_named_with_the_cure(
    file: str, model: Path
) -> None:
    whole = (model / file).read_bytes()
    damages = {
        "lfs": LFS,
        "empty": b"",
        "half": whole[: len(whole) // 2],
        "zeros": bytes(len(whole)),
        "page": b"<!DOCTYPE html>",
    }
    for damage, content in damages.items():
        (model / file).write_bytes(content)
        message = refusal(model)
        assert str(model / file) in message
        assert ("git lfs pull" if damage == "lfs" else "download or copy it again") in message


def test_a_shard_that_is_damaged_or_not_there_is_named(model: Path) -> None:
    tensors = load_file(model / WEIGHTS)
    (model / WEIGHTS).unlink()
    names, half = sorted(tensors), len(tensors) // 2
    shards = {
        "model-00001-of-00002.safetensors": names[:half],
        "model-00002-of-00002.safetensors": names[half:],
    }
    for shard, part in shards.items():
        save_file({name: tensors[name] for name in part}, model / shard, metadata={"format": "pt"})
    index = {
        "metadata": {},
        "weight_map": {name: shard for shard, part in shards.items() for name in part},
    }
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    load(str(model), device="cpu")
    second = model / "model-00002-of-00002.safetensors"
    for content in (LFS, second.read_bytes()[:5000]):
        second.write_bytes(content)
        assert str(second) in refusal(model)
    second.unlink()
    assert str(second) in refusal(model)
    (model / "model.safetensors.index.json").write_bytes(LFS)
    assert "model.safetensors.index.json is a Git LFS pointer" in refusal(model)


@pytest.mark.parametrize("template", [LFS, b"", b"{% for", b"{{ messages }}", b"hello"])
def test_a_chat_template_without_the_audio_or_the_question_is_refused(
    template: bytes, model: Path
) -> None:
    (model / "chat_template.jinja").write_bytes(template)
    assert "chat_template.jinja" in refusal(model)


@pytest.mark.parametrize("pad", [None, "<PAD>"])
def test_a_tokenizer_without_a_padding_token_of_the_model_pads_with_the_end_token(
    pad: str | None, model: Path, sound: Path
) -> None:
    edited(model / "tokenizer_config.json", pad_token=pad)
    llm, whole = load(str(model), device="cpu"), load(str(sound), device="cpu")
    assert llm.tokenizer.pad_token_id == llm.tokenizer.eos_token_id
    prompts = [
        _prompt(tone("low", 1)),
        _prompt(tone("high", 2), ("a longer choice", "high", "low")),
    ]
    answers = [
        [response.token_ids for response in respond(each, prompts, 4)] for each in (llm, whole)
    ]
    assert answers[0] == answers[1]


def test_an_end_token_comes_from_the_generation_config_or_is_asked_for(model: Path) -> None:
    edited(model / "tokenizer_config.json", eos_token=None, pad_token=None)
    llm = load(str(model), device="cpu")
    assert llm.tokenizer.eos_token == "<|im_end|>"
    respond(llm, [_prompt(tone("low", 1))], 4)
    edited(model / "generation_config.json", eos_token_id=None)
    config = json.loads((model / "config.json").read_text())
    edited(model / "config.json", text_config=config["text_config"] | {"eos_token_id": None})
    assert "set eos_token" in refusal(model)
    edited(model / "tokenizer_config.json", eos_token="<END>")
    assert "'<END>' is none of them" in refusal(model)


MISFITS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "mel bins": (
        "gives 40 mel bins, and the model takes",
        lambda model: edit_extractor(model, feature_size=40),
    ),
    "window": ("gives 300.* frames a window", lambda model: edit_extractor(model, chunk_length=3)),
    "rate": ("states 8000 Hz", lambda model: edit_extractor(model, sampling_rate=8_000)),
    "tokenizer": (
        r"the tokenizer has \d+ tokens, and the model \d+",
        lambda model: add_tokens(model),
    ),
}


def edit_extractor(model: Path, **changes: Any) -> None:
    content = json.loads((model / "processor_config.json").read_text())
    content["feature_extractor"] |= changes
    (model / "processor_config.json").write_text(json.dumps(content))


def add_tokens(model: Path) -> None:
    content = json.loads((model / "tokenizer.json").read_text())
    last = max(token["id"] for token in content["added_tokens"])
    last = max(last, *content["model"]["vocab"].values())
    token = dict(content["added_tokens"][0])
    content["added_tokens"] += [
        token | {"id": last + number, "content": f"<new{number}>"} for number in range(1, 200)
    ]
    (model / "tokenizer.json").write_text(json.dumps(content))


@pytest.mark.parametrize("part", MISFITS)
def test_files_of_two_models_are_refused(part: str, model: Path) -> None:
    message, change = MISFITS[part]
    change(model)
    assert re.search(f"its files do not belong together: .*{message}", refusal(model))


def test_quantised_and_empty_weights_are_refused(model: Path, tmp_path: Path) -> None:
    whole = Path(shutil.copytree(model, tmp_path / "whole"))
    quantised = rewritten(
        model, lambda tensors: tensors | {PROJECTOR: tensors[PROJECTOR].round().to(torch.int8)}
    )
    assert f"1 of its weights are whole numbers ({PROJECTOR}), as of a quantised model" in refusal(
        quantised
    )
    empty = rewritten(
        whole, lambda tensors: tensors | {PROJECTOR: torch.zeros_like(tensors[PROJECTOR])}
    )
    assert "1 of its weights are all zero (" in refusal(empty)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'{"model": 3}', b'{"model": "a", "trust_remote_code": false}', b"\xff\xfe"],
)
def test_a_damaged_pointer_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / POINTER).write_bytes(content)
    with pytest.raises(
        UserError, match=rf"{POINTER} is damaged .*restore it, or run `dvc repro --force base`"
    ):
        open_base(tmp_path, "cpu")


def test_an_adapter_of_another_base_is_refused(adapter: Path, sound: Path, tmp_path: Path) -> None:
    (adapter / RUN).write_text(json.dumps({"weights": "lora", BASE_REVISION: base_revision(sound)}))
    open_model(adapter, sound, "cpu")
    other = rewritten(
        Path(shutil.copytree(sound, tmp_path / "other")),
        lambda tensors: tensors | {HEAD: 2 * tensors[HEAD]},
    )
    with pytest.raises(
        UserError, match=rf"of another base than the one in {other} \(it was trained from revision"
    ):
        open_model(adapter, other, "cpu")


@pytest.fixture
def adapter(tiny_llm: AudioLLM, sound: Path, tmp_path: Path) -> Path:
    """The folder of a LoRA student, without checksums: as a user may have it."""
    llm = load(str(sound), device="cpu")
    config = LoraConfig(
        r=2, target_modules="all-linear", exclude_modules=["lm_head"], task_type="CAUSAL_LM"
    )
    get_peft_model(llm.model, config).save_pretrained(tmp_path / "student")
    (tmp_path / "student" / RUN).write_text(json.dumps({"weights": "lora"}))
    return tmp_path / "student"


def test_half_an_adapter_is_refused(adapter: Path, sound: Path, tmp_path: Path) -> None:
    open_model(adapter, sound, "cpu")
    whole = load_file(adapter / ADAPTER)
    one = next(name for name in whole if "lora_B" in name)
    changes: dict[str, Callable[[Tensors], Tensors]] = {
        r"38 are missing|are missing": lambda tensors: {},
        r"1 are missing \(.*lora_B": lambda tensors: {
            name: value for name, value in tensors.items() if name != one
        },
        r"are missing .* do not belong": under("module."),
        r"1 do not belong to the model \(extra\)": lambda tensors: (
            tensors | {"extra": torch.ones(1)}
        ),
        r"1 have another shape": lambda tensors: tensors | {one: torch.zeros(7, 2)},
        r"hold NaN": with_number(one, float("nan")),
        r"hold NaN or infinite": with_number(one, float("inf")),
    }
    for message, change in changes.items():
        damaged = Path(shutil.copytree(adapter, tmp_path / "damaged"))
        with pytest.raises(UserError, match=message):
            open_model(rewritten(damaged, change, ADAPTER), sound, "cpu")
        shutil.rmtree(damaged)


@pytest.mark.parametrize("file", [ADAPTER, "adapter_config.json"])
def test_a_damaged_file_of_an_adapter_is_named(file: str, adapter: Path, sound: Path) -> None:
    whole = (adapter / file).read_bytes()
    for content in (LFS, b"", whole[: len(whole) // 2]):
        (adapter / file).write_bytes(content)
        with pytest.raises(UserError, match=file):
            open_model(adapter, sound, "cpu")
    (adapter / file).unlink()
    with pytest.raises(UserError, match=str(adapter)):
        open_model(adapter, sound, "cpu")


@pytest.fixture
def cached(sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder where the hub's cache has the model ``owner/name``."""
    folder = tmp_path / "hub/models--owner--name"
    shutil.copytree(sound, folder / "snapshots" / COMMIT)
    (folder / "refs").mkdir()
    (folder / "refs/main").write_text(COMMIT)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return folder / "snapshots" / COMMIT


@pytest.mark.parametrize("name", ["/tmp/nosuch", "./nosuch", "models/nosuch", "a/b/c"])
def test_a_path_without_a_folder_is_named_as_such(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert f"there is no folder {name}" in refusal(name)
    with pytest.raises(UserError, match=f"sentence model {name} .* there is no folder {name}"):
        SentenceEncoder(name)


def test_a_hub_id_is_held_to_the_same(cached: Path) -> None:
    load("owner/name", device="cpu")
    assert "1 are missing (lm_head.weight)" in refusal(_renamed(cached, without("lm_head")))
    rewritten(cached, lambda tensors: tensors | {HEAD: torch.full((282, 48), float("nan"))})
    assert "NaN" in refusal("owner/name")
    (cached / WEIGHTS).write_bytes(LFS)
    assert f"{WEIGHTS} is a Git LFS pointer" in refusal("owner/name")


def _renamed(cached: Path, change: Callable[[Tensors], Tensors]) -> str:
    rewritten(cached, change)
    return "owner/name"


def test_a_hub_models_files_are_those_that_stage_base_has_used(
    cached: Path, tmp_path: Path
) -> None:
    base = tmp_path / "base"
    base.mkdir()
    load("owner/name", device="cpu")
    pointer = _pointer("owner/name", False)
    assert pointer["revision"] == COMMIT
    assert {WEIGHTS, "config.json"} <= pointer["files"].keys()
    (base / POINTER).write_text(json.dumps(pointer))
    (base / FACTS).write_text("{}")
    # another version of transformers fetches other files
    (cached / "added_later.json").write_text("{}")
    open_base(base, "cpu")
    content = bytearray((cached / WEIGHTS).read_bytes())
    content[-3] ^= 1
    (cached / WEIGHTS).write_bytes(content)
    with pytest.raises(
        UserError,
        match=(
            rf"the files of owner/name in .*{COMMIT} are damaged \({WEIGHTS}\): delete this folder"
        ),
    ):
        open_base(base, "cpu")

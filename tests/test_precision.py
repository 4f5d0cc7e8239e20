"""Training moves weights in float32, whatever format the checkpoint has and whatever device it runs
on.
"""

import copy
import json
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model

from echodistill.data.store import Corpus
from echodistill.methods.supervised import cross_entropy
from echodistill.models.audio_llm import AudioLLM, encode
from echodistill.models.base import Prompt, pad_rows
from echodistill.models.checkpoint import open_base, open_model
from echodistill.models.families.qwen2_audio import Qwen2Audio
from echodistill.models.layout import RUN
from echodistill.models.loading import load
from echodistill.models.precision import WeightsDtype, inference_dtype, training_dtype
from echodistill.models.scoring import score
from echodistill.params.generation import GenerationParams
from echodistill.training import student
from echodistill.training.train import train_student
from tests.test_trainer import LIMIT, settings_of, source_of

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
LEARNING_RATE = 1e-5


class Asked(BaseException):
    """Ends a call at the point a test is about."""


@pytest.fixture(scope="module")
def half_folder(tiny_llm: AudioLLM, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint stored in bfloat16, as the published ones are, with weights of their sizes."""
    folder = tmp_path_factory.mktemp("half") / "base"
    model = copy.deepcopy(tiny_llm.model).to(torch.bfloat16)
    model.save_pretrained(folder)
    tiny_llm.processor.save_pretrained(folder)
    return folder


def test_the_format_of_the_weights_by_purpose_and_device() -> None:
    assert inference_dtype(CPU) is torch.float32
    assert inference_dtype(CUDA) == "auto"
    for device in (CPU, CUDA):
        assert training_dtype("full", device) is torch.float32
        assert training_dtype("lora", device) == inference_dtype(device)


@pytest.mark.parametrize(
    ("dtype", "device", "expected"),
    [(None, "cuda", "auto"), (None, "cpu", torch.float32), (torch.float32, "cuda", torch.float32)],
)
def test_a_checkpoint_is_read_in_the_format_asked_for(
    dtype: WeightsDtype | None,
    device: str,
    expected: WeightsDtype,
    half_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No GPU is needed to see in which format the weights would be read for one."""
    read: list[object] = []

    def from_pretrained(*_args: object, **options: object) -> None:
        read.append(options["dtype"])
        raise Asked

    monkeypatch.setattr(Qwen2Audio.model_class, "from_pretrained", from_pretrained)
    with pytest.raises(Asked):
        open_base(half_folder, device, dtype)
    assert read == [expected]


@pytest.mark.parametrize(("weights", "expected"), [("full", torch.float32), ("lora", "auto")])
def test_the_stage_asks_for_the_format_of_training_on_a_gpu(
    weights: str,
    expected: WeightsDtype,
    half_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[object] = []

    def open_nothing(_folder: Path, dtype: WeightsDtype | None = None) -> None:
        asked.append(dtype)
        raise Asked

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(student, "open_base", open_nothing)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    material = student.StudentInputs(
        tmp_path / "corpus", tmp_path / "mixes", half_folder, tmp_path / "references"
    )
    with pytest.raises(Asked):
        student.make_student(
            tmp_path / "out",
            settings_of(weights=weights),
            GenerationParams(max_new_tokens=None),
            1,
            "clean",
            1,
            material,
        )
    assert asked == [expected]


def moved_share(llm: AudioLLM, corpus: Corpus, steps: int) -> float:
    """Return the share of the weights with a gradient that ``steps`` of AdamW move at all."""
    questions = corpus.questions_of("train")[:6]
    batch = encode(
        llm, [Prompt(corpus.waveform(row.clip_id), row.question, row.choices) for row in questions]
    )
    gold = [
        [*llm.tokenizer(row.answer)["input_ids"], llm.tokenizer.eos_token_id] for row in questions
    ]
    ids, mask = pad_rows(gold, llm.tokenizer.pad_token_id, left=False)
    parameters = [value for value in llm.model.parameters() if value.requires_grad]
    before = [value.detach().clone() for value in parameters]
    optimizer = torch.optim.AdamW(parameters, lr=LEARNING_RATE, weight_decay=0.0)
    reached = [torch.zeros_like(value, dtype=torch.bool) for value in parameters]
    for _ in range(steps):
        optimizer.zero_grad()
        cross_entropy(score(llm.model, batch, ids, mask, llm.family), ids, mask).mean().backward()
        for value, has_gradient in zip(parameters, reached, strict=True):
            if value.grad is not None:
                has_gradient |= value.grad.abs() > 1e-6  # far above Adam's epsilon: a whole step
        optimizer.step()
    pairs = zip(parameters, before, reached, strict=True)
    moved, counted = zip(
        *(((value != old)[grad].sum(), grad.sum()) for value, old, grad in pairs), strict=True
    )
    return float(sum(moved) / sum(counted))


def test_small_steps_move_the_weights_of_a_bfloat16_checkpoint(
    half_folder: Path, tiny_corpus: Corpus
) -> None:
    trained = open_base(half_folder, "cpu", training_dtype("full", CUDA))
    assert moved_share(trained, tiny_corpus, 3) > 0.95
    stored = open_base(half_folder, "cpu", inference_dtype(CUDA))
    assert stored.model.dtype is torch.bfloat16
    assert moved_share(stored, tiny_corpus, 3) < 0.3


def test_weights_to_train_that_are_not_float32_are_refused(
    half_folder: Path, tiny_corpus: Corpus, tmp_path: Path
) -> None:
    llm = load(str(half_folder), device="cpu", dtype="auto")
    with pytest.raises(ValueError, match=r"torch\.bfloat16.*training_dtype"):
        train_student(
            llm,
            source_of(tiny_corpus, llm),
            settings_of(method="sft"),
            LIMIT,
            1,
            tmp_path,
            lambda *_: None,
        )


def test_a_full_student_of_a_bfloat16_base_is_stored_in_float32(
    half_folder: Path, tiny_corpus: Corpus, tmp_path: Path
) -> None:
    llm = open_base(half_folder, "cpu", training_dtype("full", CUDA))
    methods = settings_of().methods.model_dump() | {"sft": {"learning_rate": LEARNING_RATE}}
    settings = settings_of(method="sft", methods=methods)
    trained = train_student(
        llm, source_of(tiny_corpus, llm), settings, LIMIT, 1, tmp_path, lambda *_: None
    )
    trained.model.save_pretrained(tmp_path / "student")
    llm.processor.save_pretrained(tmp_path / "student")
    kept = load(str(tmp_path / "student"), device="cpu", dtype="auto").model  # as on a GPU
    assert kept.dtype is torch.float32
    for name, value in trained.model.named_parameters():
        assert torch.equal(value, kept.get_parameter(name)), name


@pytest.mark.parametrize("method", ["sft", "echodistill", "grpo"])
def test_an_adapter_is_float32_on_a_base_in_its_own_format(
    method: str, half_folder: Path, tiny_corpus: Corpus, tmp_path: Path
) -> None:
    llm = open_base(half_folder, "cpu", training_dtype("lora", CUDA))
    before = {name: value.clone() for name, value in llm.model.state_dict().items()}
    settings = settings_of(method=method, weights="lora", steps=2)
    trained = train_student(
        llm, source_of(tiny_corpus, llm), settings, LIMIT, 1, tmp_path, lambda *_: None
    )
    kinds = {
        name: value.dtype for name, value in trained.model.named_parameters() if value.requires_grad
    }
    assert set(kinds.values()) == {torch.float32}
    assert all("lora_" in name for name in kinds)
    base = {
        name.replace(".base_layer", ""): value
        for name, value in trained.model.get_base_model().state_dict().items()
    }
    for name, value in before.items():
        assert value.dtype is torch.bfloat16
        assert torch.equal(base[name], value), name


def test_a_small_adapter_on_a_bfloat16_base_is_not_rounded_away(
    half_folder: Path, tiny_corpus: Corpus, tmp_path: Path
) -> None:
    """Merged into bfloat16 weights, updates this small vanish; the exact result is that of
    float32.
    """
    llm = open_base(half_folder, "cpu", torch.float32)
    torch.manual_seed(0)
    adapted = get_peft_model(
        llm.model, LoraConfig(r=2, lora_alpha=2, target_modules=["q_proj", "v_proj", "o_proj"])
    )
    with torch.no_grad():
        for name, value in adapted.named_parameters():
            if "lora_B" in name:
                value.normal_(0.0, 5e-4)
    adapted.save_pretrained(tmp_path)
    (tmp_path / RUN).write_text(json.dumps({"weights": "lora"}))
    opened = open_model(tmp_path, half_folder, "cpu", dtype="auto")
    assert opened.model.dtype is torch.bfloat16
    weights = {name: value for name, value in opened.model.named_parameters() if "lora_" in name}
    assert weights
    assert {value.dtype for value in weights.values()} == {torch.float32}
    whole = open_model(tmp_path, half_folder, "cpu", dtype=torch.float32)
    base = open_base(half_folder, "cpu", torch.float32)
    layer, before = (
        model.model.model.language_model.layers[0].self_attn.q_proj for model in (whole, base)
    )
    update = layer.weight - before.weight
    assert update.abs().max() > 0
    kept = opened.model.model.language_model.layers[0].self_attn.q_proj
    product = kept.lora_B["default"].weight @ kept.lora_A["default"].weight
    torch.testing.assert_close(product, update, atol=1e-7, rtol=1e-3)
    merged = (before.weight + update).to(torch.bfloat16).float() - before.weight
    assert (merged - update).norm() > 0.2 * update.norm()

"""Source- and layer-wise distillation against plain loops in float64, finite differences and cases
worked by hand; and trained end to end.
"""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.autograd import grad, gradcheck

from echodistill.audio.mixing import draw
from echodistill.audio.recordings import NoiseLibrary
from echodistill.core.errors import UserError
from echodistill.data.store import Corpus
from echodistill.methods.base import Batch, Context, Forward
from echodistill.methods.layer_map import layer_map
from echodistill.methods.layerwise import ACOUSTIC, ACOUSTIC_MASK, TEXT, Layerwise
from echodistill.methods.targets import Targets
from echodistill.models.audio_llm import AudioLLM
from echodistill.models.base import PromptBatch
from echodistill.models.hidden_states import HiddenStates
from echodistill.models.loading import load
from echodistill.models.nano_text import build_text_teacher
from echodistill.models.text_llm import TextLLM
from echodistill.params.base import TextNanoParams
from echodistill.params.methods import LayerwiseSettings
from echodistill.params.references import ViewName
from echodistill.params.whole import validate_params
from echodistill.teachers.views import VIEWS
from echodistill.training.metrics_file import read_metrics
from echodistill.training.pretrain_text import pretrain_text, text_accuracy
from echodistill.training.train import train_student
from echodistill.training.training_rows import TrainingRows
from tests.test_comparison import PARAMS
from tests.test_objectives import logits, plain_divergence, tensor
from tests.test_trainer import LIMIT, settings_of

NEVER = 4
"""The id of a token that is never sampled."""
MASK = torch.tensor([[1, 1, 1], [1, 0, 0], [0, 1, 1], [0, 0, 0]])
"""Responses: whole, padded on the right, padded on the left, empty."""
IDS = torch.tensor([[0, 1, 2], [3, 0, 0], [0, 2, 1], [0, 0, 0]])
AUDIO = torch.tensor([[0, 1, 1, 0], [1, 1, 1, 0], [0, 0, 0, 0], [0, 0, 1, 0]]).bool()
"""Audio tokens of the student's prompts; the third row has none."""
AUDIO_BEFORE = torch.tensor(
    [[0, 0, 1, 1, 0], [0, 1, 1, 1, 0], [0, 0, 0, 0, 0], [0, 1, 0, 0, 0]]
).bool()
"""The same tokens in the teacher's prompts, which are padded otherwise."""


@dataclass
class Model(Forward):
    """A model whose states and head are given; its norm multiplies by 2."""

    response: torch.Tensor
    """(B, layers, T, D)"""
    prompt: torch.Tensor
    """(B, layers, P, D)"""
    head: torch.Tensor
    """(D, V)"""
    audio: torch.Tensor
    temperature: float = 1.0
    progress: float = 0.0

    def logits(self, *_given: object) -> None:
        raise AssertionError("not needed")

    def states(self, prompts: PromptBatch, ids: torch.Tensor, mask: torch.Tensor) -> HiddenStates:
        rows = prompts.input_ids[:, 0]
        return HiddenStates(
            tuple(self.response[rows].unbind(dim=1)),
            tuple(self.prompt[rows].unbind(dim=1)),
            self.audio[rows],
            self.lens,
        )

    def lens(self, states: torch.Tensor) -> torch.Tensor:
        made = 2 * states @ self.head
        return made.index_fill(-1, torch.tensor([NEVER]), -math.inf)


def model_of(layers: int, width: int, size: int, audio: torch.Tensor, seed: int) -> Model:
    return Model(
        logits(4, layers, 3, width, seed=seed),
        logits(4, layers, audio.shape[1], width, seed=seed + 1),
        logits(width, size, seed=seed + 2),
        audio,
    )


@dataclass
class World:
    """A student with its teachers."""

    student: Model
    text: Model
    before: Model


def world(student_layers: int, text_layers: int, text_size: int = 8) -> World:
    return World(
        model_of(student_layers, 3, 7, AUDIO, 10),
        model_of(text_layers, 5, text_size, AUDIO, 20),
        model_of(student_layers, 3, 7, AUDIO_BEFORE, 30),
    )


def settings(**changes: Any) -> LayerwiseSettings:
    raw = {
        "learning_rate": 1e-3,
        "layer_step": 1,
        "layer_weight": 0.05,
        "acoustic_weight": 0.07,
        "answer_weight": 0.5,
    }
    return LayerwiseSettings.model_validate(raw | changes)


def prompts_of(order: Sequence[int]) -> PromptBatch:
    rows = torch.tensor(list(order))[:, None]
    return PromptBatch(rows, torch.ones_like(rows), {})


def annotated(
    method: Layerwise, given: World, order: Sequence[int] = range(4)
) -> tuple[Batch, PromptBatch]:
    """Return the batch after ``annotate``, whose rows are in ``order``."""
    rows = torch.tensor(list(order))
    batch = Batch(prompts_of(order), 1, torch.ones(len(rows), dtype=torch.bool))
    never: Callable[..., Any] = lambda *_given: pytest.fail("not needed")  # noqa: E731
    context = Context(
        rows=tuple(order),
        rewards=None,
        student=given.student,
        teacher=given.before,
        teacher_prompts=batch.prompts,
        gold=lambda numbers: Targets(IDS[list(numbers)], MASK[list(numbers)]),
        rewards_of=never,
        texts=never,
        questions=never,
        record=never,
        text_teacher=given.text,
        text_prompts=batch.prompts,
    )
    method.annotate(batch, context)
    return batch, batch.prompts


def distribution(model: Model, state: torch.Tensor, size: int) -> list[float]:
    """The distribution of one state over the ids below ``size``, but for the one never sampled."""
    values = [2 * math.fsum((state * model.head[:, v]).tolist()) for v in range(size) if v != NEVER]
    total = math.fsum(map(math.exp, values))
    return [math.exp(value) / total for value in values]


def plain_jsd(one: Model, state: torch.Tensor, other: Model, others: torch.Tensor) -> float:
    size = min(one.head.shape[1], other.head.shape[1])
    return plain_divergence(
        "jsd", distribution(one, state, size), distribution(other, others, size)
    )


def mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else 0.0


def plain_terms(given: World, step: int) -> dict[str, float]:
    """The terms of the loss by loops over rows, layers and tokens."""
    student, text, before = given.student, given.text, given.before
    depth, size = student.response.shape[1], student.head.shape[1]
    found: dict[str, list[float]] = {"top": [], "layer": [], "acoustic": [], "answer": []}
    pairs = layer_map(depth, text.response.shape[1], step)
    for row in range(4):
        tokens = [t for t in range(3) if MASK[row, t]]
        top = [
            plain_jsd(text, text.response[row, -1, t], student, student.response[row, -1, t])
            for t in tokens
        ]
        found["top"].append(mean(top))
        found["layer"].append(
            math.fsum(
                mean(
                    [
                        plain_jsd(
                            text,
                            text.response[row, j - 1, t],
                            student,
                            student.response[row, i - 1, t],
                        )
                        for t in tokens
                    ]
                )
                for i, j in pairs.items()
            )
        )
        own = [p for p in range(4) if AUDIO[row, p]]
        others = [p for p in range(5) if AUDIO_BEFORE[row, p]]
        found["acoustic"].append(
            math.fsum(
                mean(
                    [
                        plain_jsd(
                            before,
                            before.prompt[row, i - 1, q],
                            student,
                            student.prompt[row, i - 1, p],
                        )
                        for p, q in zip(own, others, strict=True)
                    ]
                )
                for i in pairs
            )
        )
        kept = [v for v in range(size) if v != NEVER]
        found["answer"].append(
            mean(
                [
                    -math.log(
                        distribution(student, student.response[row, -1, t], size)[
                            kept.index(int(IDS[row, t]))
                        ]
                    )
                    for t in tokens
                ]
            )
        )
    return {name: mean(values) for name, values in found.items()}


WORLDS = [(1, 1, 1, 7), (2, 4, 1, 8), (4, 2, 1, 6), (3, 5, 2, 8), (5, 3, 7, 8)]
"""Layers of student and teacher, the step, and the teacher's vocabulary: padded, equal, smaller."""


@pytest.mark.parametrize(("depth", "teacher_depth", "step", "size"), WORLDS)
def test_the_loss_is_the_plain_one(depth: int, teacher_depth: int, step: int, size: int) -> None:
    given = world(depth, teacher_depth, size)
    given.student.response.requires_grad_()
    given.student.prompt.requires_grad_()
    method = Layerwise(settings(layer_step=step))
    batch, _ = annotated(method, given)
    terms = method.loss(batch, given.student)
    plain = copy.copy(given)
    plain.student = replace(
        given.student,
        response=given.student.response.detach(),
        prompt=given.student.prompt.detach(),
    )
    wanted = plain_terms(plain, step)
    found = {
        "top": terms.metrics["top_divergence"],
        "layer": terms.metrics["layer_divergence"],
        "acoustic": terms.metrics["acoustic_divergence"],
        "answer": terms.metrics["cross_entropy"],
    }
    for name, value in wanted.items():
        assert found[name].item() == pytest.approx(value, rel=1e-10), name
    total = (
        wanted["top"] + 0.05 * wanted["layer"] + 0.07 * wanted["acoustic"] + 0.5 * wanted["answer"]
    )
    assert terms.total.item() == pytest.approx(total, rel=1e-10)
    response, prompt = grad(terms.total, [given.student.response, given.student.prompt])
    assert response.isfinite().all()
    assert prompt.isfinite().all()
    assert (response.abs().sum(dim=(1, 3))[MASK == 0] == 0).all()
    assert (prompt.abs().sum(dim=(1, 3))[~AUDIO] == 0).all()
    assert (prompt.abs().sum(dim=(1, 3))[AUDIO] > 0).all()


def test_the_gradient_matches_finite_differences() -> None:
    given = world(2, 3)
    method = Layerwise(settings())
    batch, _ = annotated(method, given)
    free = [given.student.response, given.student.prompt, given.student.head]

    def loss(response: torch.Tensor, prompt: torch.Tensor, head: torch.Tensor) -> torch.Tensor:
        student = replace(given.student, response=response, prompt=prompt, head=head)
        return method.loss(batch, student).total

    assert gradcheck(loss, [each.clone().requires_grad_() for each in free])


def test_teachers_have_no_gradient() -> None:
    given = world(2, 3)
    for each in (given.text, given.before):
        each.response.requires_grad_()
        each.prompt.requires_grad_()
    batch, _ = annotated(Layerwise(settings()), given)
    assert not any(value.requires_grad for value in batch.scores.values())


def test_the_order_of_rows_changes_nothing() -> None:
    given, method = world(3, 4), Layerwise(settings())
    batch, _ = annotated(method, given)
    whole = method.loss(batch, given.student)
    order = torch.tensor([2, 0, 3, 1])
    mixed = replace(
        batch,
        prompts=batch.prompts.take(order),
        targets=Targets(IDS[order], MASK[order]),
        scores={name: value[order] for name, value in batch.scores.items()},
    )
    assert method.loss(mixed, given.student).total.item() == pytest.approx(whole.total.item())
    each = []
    for row in range(4):  # and a batch is the mean of its rows
        one, _ = annotated(method, given, [row])
        each.append(method.loss(one, given.student).total.item())
    assert mean(each) == pytest.approx(whole.total.item())


def test_a_case_worked_by_hand() -> None:
    """One token, one layer, two words: the teacher is sure of one, the student of neither."""
    sure, unsure = tensor([[[[30.0]]]]), tensor([[[[0.0]]]])
    head, audio = tensor([[1.0, -1.0, 0.0, 0.0, 0.0]]), torch.tensor([[True]])
    head = head.index_fill(1, torch.tensor([2, 3]), -0.0)

    def one(state: torch.Tensor) -> Model:
        made = Model(state, state, head, audio)
        lens = made.lens
        made.lens = lambda states: lens(states).index_fill(  # type: ignore[method-assign]
            -1, torch.tensor([2, 3]), -math.inf
        )
        return made

    given = World(one(unsure), one(sure), one(unsure))
    method = Layerwise(settings())
    batch = Batch(prompts_of([0]), 1, torch.tensor([True]))
    batch.targets = Targets(torch.tensor([[0]]), torch.tensor([[1]]))
    context = Context(
        rows=(0,), rewards=None, student=given.student, teacher=given.before,
        teacher_prompts=batch.prompts, gold=lambda _: Targets(IDS[:1, :1], MASK[:1, :1]),
        rewards_of=None, texts=None, questions=None, record=None,  # type: ignore[arg-type]
        text_teacher=given.text, text_prompts=batch.prompts,
    )  # fmt: skip
    method.annotate(batch, context)
    terms = method.loss(batch, given.student)
    # JSD of (1, 0) and (½, ½): ½·ln(4/3) + ½·(½·ln(2/3) + ½·ln 2)
    jsd = 0.5 * math.log(4 / 3) + 0.25 * (math.log(2 / 3) + math.log(2))
    assert terms.metrics["top_divergence"].item() == pytest.approx(jsd)
    assert terms.metrics["acoustic_divergence"].item() == pytest.approx(0.0, abs=1e-12)
    assert terms.metrics["cross_entropy"].item() == pytest.approx(math.log(2))
    assert terms.total.item() == pytest.approx(1.05 * jsd + 0.5 * math.log(2))


def test_what_is_not_weighted_is_not_computed() -> None:
    given = world(2, 3)
    method = Layerwise(settings(acoustic_weight=0.0, layer_weight=0.0))
    assert not method.needs_of_teachers()
    assert not method.calls_teacher()
    batch, _ = annotated(method, given)
    assert set(batch.scores) == {TEXT}
    assert set(method.loss(batch, given.student).metrics) == {"top_divergence", "cross_entropy"}
    assert Layerwise(settings()).needs_of_teachers() == {"hidden_states"}
    batch, _ = annotated(Layerwise(settings(layer_step=2)), world(3, 3))
    assert batch.scores[ACOUSTIC].shape[1] == 2  # layers 1 and 3


def test_clips_of_another_length_are_refused() -> None:
    given = world(2, 3)
    method = Layerwise(settings())
    batch, _ = annotated(method, given)
    batch.scores[ACOUSTIC_MASK] = batch.scores[ACOUSTIC_MASK].clone()
    batch.scores[ACOUSTIC_MASK][0, 0] = True
    with pytest.raises(UserError, match=r"references\.view: the teacher's clip is not as long"):
        method.loss(batch, given.student)


def rows_of(
    corpus: Corpus, llm: AudioLLM, snr_db: float | None = 0.0, view: ViewName = "clean"
) -> TrainingRows:
    kind = "gauss" if snr_db is not None else "clean"
    mixes = [
        draw(1, clip.clip_id, "train", kind, snr_db, 0, ()) for clip in corpus.clips_of("train")
    ]
    noise = NoiseLibrary(corpus.waveform)
    pad = llm.tokenizer.pad_token_id
    return TrainingRows(corpus, VIEWS[view](corpus, 1), mixes, noise, {}, pad)


@pytest.fixture(scope="module")
def folder(tiny_llm: AudioLLM, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("layerwise") / "base"
    tiny_llm.save(path)
    return path


def text_settings(steps: int) -> TextNanoParams:
    return TextNanoParams(width=96, layers=2, steps=steps, batch=16, learning_rate=3e-3)


@pytest.fixture(scope="module")
def teacher(folder: Path, tiny_corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> TextLLM:
    """A text teacher of other depth and width than the student, which reads transcripts well."""
    llm = load(str(folder), device="cpu")
    made = build_text_teacher(llm, 96, 2, seed=1)
    run = tmp_path_factory.mktemp("text")
    before, asked = text_accuracy(made, tiny_corpus, LIMIT)
    pretrain_text(made, tiny_corpus, text_settings(80), 1, run, lambda: [])
    after, _ = text_accuracy(made, tiny_corpus, LIMIT)
    assert before < after == asked == 6
    made.model.requires_grad_(False)
    return made


def trained(
    folder: Path,
    corpus: Corpus,
    teacher: TextLLM | None,
    out: Path,
    snr_db: float | None = 0.0,
    view: ViewName = "clean",
    **changes: Any,
) -> tuple[AudioLLM, list[dict[str, float]]]:
    out.mkdir(exist_ok=True)
    llm = load(str(folder), device="cpu")
    raw = {"learning_rate": 2e-3, **changes.pop("layerwise", {})}
    train = settings_of(method="layerwise", layerwise=raw, **changes)
    rows = rows_of(corpus, llm, snr_db, view)
    train_student(llm, rows, train, LIMIT, 1, out, lambda *_: None, text_teacher=teacher)
    return llm, read_metrics(out / "metrics.jsonl")


TERMS = {"top_divergence", "layer_divergence", "acoustic_divergence", "cross_entropy"}


@pytest.mark.parametrize("weights", ["full", "lora"])
def test_it_trains(
    weights: str, folder: Path, tiny_corpus: Corpus, teacher: TextLLM, tmp_path: Path
) -> None:
    before = copy.deepcopy(teacher.model.state_dict())
    _, rows = trained(
        folder, tiny_corpus, teacher, tmp_path, weights=weights, steps=12, prompts_per_step=6
    )
    assert [row["step"] for row in rows] == list(range(1, 13))
    for row in rows:
        assert row.keys() >= TERMS
        assert all(math.isfinite(row[name]) for name in TERMS | {"loss"})
        assert row["target_tokens"] > 0
        assert row["sampled_tokens"] == 0
    assert rows[0]["acoustic_divergence"] > 1e-4  # noisy against clean
    assert rows[-1]["top_divergence"] < rows[0]["top_divergence"]
    assert all(
        torch.equal(before[name], value) for name, value in teacher.model.state_dict().items()
    )


@pytest.mark.parametrize("weights", ["full", "lora"])
def test_the_acoustic_teacher_is_the_student_before_training(
    weights: str, folder: Path, tiny_corpus: Corpus, teacher: TextLLM, tmp_path: Path
) -> None:
    """On clean mixes it hears the same clip: nothing differs until a step was made."""
    _, rows = trained(folder, tiny_corpus, teacher, tmp_path, snr_db=None, weights=weights, steps=4)
    assert rows[0]["acoustic_divergence"] == pytest.approx(0.0, abs=1e-6)
    assert rows[-1]["acoustic_divergence"] > 1e-5


def test_the_acoustic_term_keeps_what_the_student_hears(
    folder: Path, tiny_corpus: Corpus, teacher: TextLLM, tmp_path: Path
) -> None:
    ends = []
    for weight in (1e-6, 10.0):
        _, rows = trained(
            folder, tiny_corpus, teacher, tmp_path / str(weight), snr_db=None, steps=12,
            layerwise={"acoustic_weight": weight},
        )  # fmt: skip
        ends.append(rows[-1]["acoustic_divergence"])
    assert ends[1] < 0.5 * ends[0]


def test_a_killed_training_goes_on_as_it_would_have(
    folder: Path, tiny_corpus: Corpus, teacher: TextLLM, tmp_path: Path
) -> None:
    """The acoustic teacher of a resumed training is the base and not the student so far."""
    whole, rows = trained(folder, tiny_corpus, teacher, tmp_path / "a", steps=4)
    cut = tmp_path / "b"
    with pytest.raises(InterruptedError):
        cut.mkdir()
        llm = load(str(folder), device="cpu")
        train = settings_of(method="layerwise", layerwise={"learning_rate": 2e-3}, steps=4)

        def stop(step: int, _metrics: object) -> None:
            if step == 3:
                raise InterruptedError

        train_student(
            llm, rows_of(tiny_corpus, llm), train, LIMIT, 1, cut, stop, text_teacher=teacher
        )
    again, logged = trained(folder, tiny_corpus, teacher, cut, steps=4)
    assert [row["loss"] for row in logged] == [row["loss"] for row in rows]
    of_whole = whole.model.state_dict()
    assert all(
        torch.equal(of_whole[name], value) for name, value in again.model.state_dict().items()
    )


def test_what_it_needs_is_refused_before_any_work(
    folder: Path, tiny_corpus: Corpus, teacher: TextLLM, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"layer-wise.* needs a textual teacher: set base\.text_t"):
        trained(folder, tiny_corpus, None, tmp_path)
    lacking = copy.copy(tiny_corpus)
    lacking.clips = {
        name: replace(clip, transcript=None) for name, clip in tiny_corpus.clips.items()
    }
    with pytest.raises(UserError, match=r"needs `transcript` .* question train-0-q for one"):
        trained(folder, lacking, teacher, tmp_path)
    with pytest.raises(UserError, match=r"references\.view: the teacher's clip is not as long"):
        trained(folder, tiny_corpus, teacher, tmp_path, view="transcript")


def test_the_text_teachers_training_resumes_exactly(
    folder: Path, tiny_corpus: Corpus, tmp_path: Path
) -> None:
    llm, made = load(str(folder), device="cpu"), []
    for name in ("a", "b"):
        teacher = build_text_teacher(llm, 48, 1, seed=1)
        pretrain_text(teacher, tiny_corpus, text_settings(4), 1, tmp_path / name, lambda: [])
        made.append(teacher.model.state_dict())
    again = build_text_teacher(llm, 48, 1, seed=2)
    pretrain_text(again, tiny_corpus, text_settings(4), 1, tmp_path / "b", lambda: [])
    for other in (made[1], again.model.state_dict()):
        assert all(torch.equal(made[0][name], value) for name, value in other.items())


def params_with(**base: Any) -> dict[str, Any]:
    raw = copy.deepcopy(PARAMS)
    raw["train"]["method"] = "layerwise"
    raw["base"] |= base
    return raw


def test_the_parameters_name_a_text_teacher() -> None:
    validate_params(params_with(text_teacher="nano"), "params.yaml")
    validate_params(params_with(text_teacher="models/text", model="models/own"), "params.yaml")
    with pytest.raises(
        UserError, match=r"base\.text_teacher: the method layerwise needs a textual"
    ):
        validate_params(params_with(), "params.yaml")
    with pytest.raises(
        UserError, match=r"base\.text_teacher: nano is a teacher of the base nano: .*"
    ):
        validate_params(params_with(text_teacher="nano", model="models/own"), "params.yaml")
    raw = copy.deepcopy(PARAMS)
    raw["compare"]["train"].append("layerwise")
    with pytest.raises(
        UserError, match=r"base\.text_teacher: the method layerwise needs a textual"
    ):
        validate_params(raw, "params.yaml")

"""CORD against independent computations: plain loops in float64, finite differences, cases worked
by hand; and trained end to end.
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
from echodistill.core.records import Question
from echodistill.data.store import Corpus
from echodistill.methods.advantages import centred_advantages
from echodistill.methods.base import Batch, Context, Forward
from echodistill.methods.cord import TEACHER, Cord
from echodistill.methods.targets import Targets
from echodistill.methods.token_weights import critical_weights, position_weights, weighted_sum
from echodistill.models.audio_llm import AudioLLM
from echodistill.models.base import PromptBatch
from echodistill.models.loading import load
from echodistill.params.methods import CordSettings
from echodistill.params.whole import validate_params
from echodistill.systems import training_of
from echodistill.teachers.references import generate_targets
from echodistill.teachers.views import VIEWS
from echodistill.training.metrics_file import read_metrics
from echodistill.training.train import train_student
from echodistill.training.training_rows import TrainingRows
from tests.test_comparison import PARAMS
from tests.test_objectives import logits, plain_kl, tensor
from tests.test_trainer import LIMIT, settings_of

K, ALPHA, BETA = 2, 3.0, 5.0
MASK = torch.tensor(
    [
        [1, 1, 1, 1, 1],
        [1, 1, 1, 0, 0],  # padded on the right
        [0, 0, 1, 1, 1],  # padded on the left
        [1, 0, 0, 0, 0],
        [0, 0, 0, 0, 0],
    ]
)


def plain_weights(divergences: Sequence[float]) -> list[float]:
    """The weight of each token of a response, as the paper writes it."""
    length = len(divergences)
    largest = sorted(range(length), key=lambda t: -divergences[t])[:K]
    return [
        (ALPHA if t in largest else 1.0)
        * (BETA if length == 1 else BETA - (BETA - 1.0) * t / (length - 1))
        for t in range(length)
    ]


def test_the_weighted_sum_is_the_plain_one() -> None:
    divergences = logits(5, 5).abs()
    found = weighted_sum(divergences, MASK, K, ALPHA, BETA)
    for row in range(5):
        tokens = divergences[row][MASK[row] == 1].tolist()
        wanted = math.fsum(w * d for w, d in zip(plain_weights(tokens), tokens, strict=True))
        assert found[row].item() == pytest.approx(wanted, rel=1e-12)
    assert found[4].item() == 0.0  # an empty response


def test_weights_worked_by_hand() -> None:
    mask = torch.tensor([[1, 1, 1, 1, 1]])
    critical = critical_weights(tensor([[0.1, 0.5, 0.2, 0.9, 0.3]]), mask, 2, 2.0)
    assert critical.tolist() == [[1.0, 2.0, 1.0, 2.0, 1.0]]
    assert position_weights(mask, 2.0, torch.float64).tolist() == [[2.0, 1.75, 1.5, 1.25, 1.0]]
    one = torch.tensor([[1]])
    assert position_weights(one, 2.0, torch.float64).tolist() == [[2.0]]  # T = 1: beta
    assert critical_weights(tensor([[0.0]]), one, 20, 2.0).tolist() == [[2.0]]


@pytest.mark.parametrize(("count", "critical"), [(0, 0), (1, 1), (4, 4), (5, 5), (20, 5)])
def test_no_more_tokens_are_critical_than_there_are(count: int, critical: int) -> None:
    """Also where divergences are equal: of these the earlier ones come first."""
    equal = torch.ones(1, 5, dtype=torch.float64)
    found = critical_weights(equal, torch.ones(1, 5, dtype=torch.int64), count, 2.0)
    assert found.tolist() == [[2.0] * critical + [1.0] * (5 - critical)]
    # In a short row any sorting is stable by chance.
    long = critical_weights(torch.ones(1, 1000), torch.ones(1, 1000), 20, 2.0)
    assert long.tolist() == [[2.0] * 20 + [1.0] * 980]


def test_padding_is_never_critical() -> None:
    divergences = tensor([[0.3, 0.1, 0.2, 9.0, math.nan]])
    found = critical_weights(divergences, torch.tensor([[1, 1, 1, 0, 0]]), 2, 2.0)
    assert found.tolist() == [[2.0, 1.0, 2.0, 0.0, 0.0]]


def test_weights_have_no_gradient_and_the_sums_gradient_is_theirs() -> None:
    divergences = logits(5, 5).abs().requires_grad_()
    (gradient,) = grad(weighted_sum(divergences, MASK, K, ALPHA, BETA).sum(), divergences)
    weights = critical_weights(divergences, MASK, K, ALPHA) * position_weights(
        MASK, BETA, torch.float64
    )
    assert torch.equal(gradient, weights)
    assert not weights.requires_grad


def test_advantages_are_centred_alone() -> None:
    rewards = tensor([[1, 0, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0]])
    assert centred_advantages(rewards).tolist() == [
        [0.75, -0.25, -0.25, -0.25],
        [0.0] * 4,
        [0.0] * 4,
    ]


@dataclass
class Fixed(Forward):
    """A student whose logits are given."""

    given: torch.Tensor
    temperature: float = 1.0
    progress: float = 0.0

    def logits(
        self,
        prompts: PromptBatch,
        ids: torch.Tensor,
        mask: torch.Tensor,
        chosen: torch.Tensor | None = None,
    ) -> torch.Tensor | None:
        if chosen is None:
            return self.given
        return self.given[chosen] if chosen.any() else None


def settings(**changes: Any) -> CordSettings:
    raw: dict[str, Any] = PARAMS["train"]["methods"]["cord"]
    small = {"critical_tokens": K, "critical_weight": ALPHA, "first_weight": BETA}
    return CordSettings.model_validate(raw | small | changes)


TEACHERS = logits(4, 5, 7, seed=3).index_fill(2, torch.tensor([6]), -math.inf).log_softmax(-1)
IDS = torch.tensor([[0, 1, 2, 3, 4], [5, 5, 0, 0, 0], [0, 0, 1, 2, 3], [4, 0, 0, 0, 0]])
ADVANTAGES = tensor([0.5, -0.5, 0.0, 0.0])


def batch_of(order: Sequence[int] = range(4)) -> Batch:
    """Four responses, two to each prompt."""
    rows = torch.tensor(list(order))
    return Batch(
        prompts=PromptBatch(IDS[rows], MASK[rows], {}),
        group_size=2,
        first_of_group=torch.tensor([True, False, True, False])[rows],
        completion_ids=IDS[rows],
        completion_mask=MASK[rows],
        advantages=ADVANTAGES[rows],
        scores={TEACHER: TEACHERS[rows]},
    )


def students() -> torch.Tensor:
    return logits(4, 5, 7, seed=4).index_fill(2, torch.tensor([6]), -math.inf)


def plain_loss(student: torch.Tensor, levels: str, temperature: float) -> float:
    """The paper's loss by loops over tokens."""
    total = 0.0
    for row in range(4):
        divergences, log_prob = [], 0.0
        for place in range(5):
            if not MASK[row, place]:
                continue
            own = student[row, place].softmax(-1).tolist()[:6]
            divergences.append(plain_kl(own, TEACHERS[row, place].exp().tolist()[:6]))
            tempered = [math.exp(z / temperature) for z in student[row, place].tolist()[:6]]
            log_prob += math.log(tempered[int(IDS[row, place])] / math.fsum(tempered))
        weights = plain_weights(divergences)
        if levels != "sequence":
            total += math.fsum(w * d for w, d in zip(weights, divergences, strict=True))
        if levels != "token":
            total -= float(ADVANTAGES[row]) * log_prob
    return total / 4


@pytest.mark.parametrize("temperature", [1.0, 1.5])
@pytest.mark.parametrize("levels", ["both", "token", "sequence"])
def test_the_loss_is_the_papers(levels: str, temperature: float) -> None:
    student = students().requires_grad_()
    terms = Cord(settings(levels=levels)).loss(batch_of(), Fixed(student, temperature))
    wanted = plain_loss(student.detach(), levels, temperature)
    assert terms.total.item() == pytest.approx(wanted, rel=1e-12)
    (gradient,) = grad(terms.total, student)
    assert gradient.isfinite().all()
    assert (gradient[MASK[:4] == 0] == 0).all()
    assert (gradient[..., 6] == 0).all()  # a token that is never sampled


@pytest.mark.parametrize("levels", ["both", "token", "sequence"])
def test_the_gradient_matches_finite_differences(levels: str) -> None:
    """The weights are constants of the gradient: they stay in place here, for no divergence comes
    near another.
    """
    method, free = Cord(settings(levels=levels)), students()[..., :6].requires_grad_()

    def loss(given: torch.Tensor) -> torch.Tensor:
        never = torch.full((4, 5, 1), -math.inf, dtype=torch.float64)
        return method.loss(batch_of(), Fixed(torch.cat([given, never], dim=-1), 1.5)).total

    assert gradcheck(loss, free)


@pytest.mark.parametrize("levels", ["both", "token", "sequence"])
def test_the_order_of_rows_changes_nothing(levels: str) -> None:
    method, order = Cord(settings(levels=levels)), [2, 0, 3, 1]
    before = method.loss(batch_of(), Fixed(students())).total
    after = method.loss(batch_of(order), Fixed(students()[order])).total
    assert before.item() == pytest.approx(after.item(), rel=1e-12)


def test_equal_rewards_leave_the_token_level_alone() -> None:
    batch = replace(batch_of(), advantages=torch.zeros(4, dtype=torch.float64))
    both = Cord(settings(levels="both")).loss(batch, Fixed(students())).total
    token = Cord(settings(levels="token")).loss(batch, Fixed(students())).total
    assert both.item() == pytest.approx(token.item())
    terms = Cord(settings(levels="sequence")).loss(batch, Fixed(students()))
    assert terms.total.item() == 0.0
    assert not terms.metrics


QUESTIONS = [
    Question("q0", "c0", "train", "Which?", ("low", "high"), "low", 0),
    Question("q1", "c1", "train", "What?", (), "a red dog", -1),
]


def context_of(answers: list[str], references: list[str]) -> tuple[Context, dict[str, float]]:
    """A context whose texts are given: of four responses, and of the references to two prompts."""
    recorded: dict[str, float] = {}

    def texts(ids: torch.Tensor, _mask: torch.Tensor) -> list[str]:
        return {4: answers, 2: references}[len(ids)]

    def record(name: str, value: torch.Tensor | float) -> None:
        recorded[name] = float(value)

    def never(*_given: object) -> Any:
        raise AssertionError("not needed")

    questions: Callable[[Sequence[int]], list[Question]] = lambda rows: [QUESTIONS[r] for r in rows]  # noqa: E731
    fixed = Fixed(TEACHERS)
    context = Context(
        (0, 1), None, fixed, fixed, batch_of().prompts, never, never, texts, questions, record
    )
    return context, recorded


def test_rewards_are_agreements_with_the_teacher_and_not_right_answers() -> None:
    context, recorded = context_of(["It is B.", "low", "a red dog", "red"], ["high", "A red dog."])
    method, batch = Cord(settings()), batch_of()
    batch = replace(batch, targets=Targets(IDS, MASK[:4]), scores={}, advantages=None)
    method.annotate(batch, context)
    assert batch.advantages is not None
    assert batch.advantages.tolist() == [0.5, -0.5, 0.5, -0.5]
    assert recorded == {"agreement": 0.5, "zero_variance_groups": 0.0}
    torch.testing.assert_close(batch.scores[TEACHER], TEACHERS)


@pytest.mark.parametrize(
    ("levels", "needs"),
    [
        ("both", {"log_probs", "targets"}),
        ("token", {"log_probs"}),
        ("sequence", {"targets"}),
    ],
)
def test_each_level_asks_for_what_it_uses(levels: str, needs: set[str]) -> None:
    method = Cord(settings(levels=levels))
    assert method.needs_of_teachers() == needs
    assert method.settings.needs == {"transcript"}
    assert not method.rewards


def rows_of(corpus: Corpus, llm: AudioLLM) -> TrainingRows:
    view, questions = VIEWS["transcript"](corpus, 1), corpus.questions_of("train")
    made = generate_targets(llm, [view.prompt(each) for each in questions], LIMIT, 8, 4096)
    targets = {each.question_id: one for each, one in zip(questions, made, strict=True)}
    clips = corpus.clips_of("train")
    mixes = [draw(1, clip.clip_id, "train", "gauss", 0.0, 0, ()) for clip in clips]
    noise = NoiseLibrary(corpus.waveform)
    return TrainingRows(corpus, view, mixes, noise, targets, llm.tokenizer.pad_token_id)


@pytest.mark.parametrize(
    ("levels", "weights"),
    [("both", "full"), ("both", "lora"), ("token", "full"), ("sequence", "lora")],
)
def test_it_trains(
    levels: str, weights: str, tiny_llm: AudioLLM, tiny_corpus: Corpus, tmp_path: Path
) -> None:
    tiny_llm.save(tmp_path / "base")
    llm = load(str(tmp_path / "base"), device="cpu")
    train = settings_of(method="cord", weights=weights)
    cord = train.methods.cord.model_copy(update={"levels": levels, "learning_rate": 1e-3})
    train = train.model_copy(update={"methods": train.methods.model_copy(update={"cord": cord})})
    rows = rows_of(tiny_corpus, llm)
    before = {name: value.detach().clone() for name, value in llm.model.named_parameters()}
    train_student(llm, rows, train, LIMIT, 1, tmp_path, lambda *_: None)
    logged = read_metrics(tmp_path / "metrics.jsonl")
    assert [row["step"] for row in logged] == [1, 2, 3]
    for row in logged:
        assert math.isfinite(row["loss"])
        assert ("kl" in row) == (levels != "sequence")
        assert ("agreement" in row) == (levels != "token")
        assert (row["target_tokens"] > 0) == (levels != "token")
    if levels != "sequence":
        assert all(row["kl"] > 0 for row in logged)  # the teacher reads, the student hears
        changed = [
            n for n, v in llm.model.named_parameters() if not torch.equal(v, before.get(n, v))
        ]
        assert bool(changed) == (weights == "full")


def test_clips_without_a_transcript_are_refused_before_any_work(
    tiny_llm: AudioLLM, tiny_corpus: Corpus, tmp_path: Path
) -> None:
    rows = rows_of(tiny_corpus, tiny_llm)
    lacking = copy.copy(tiny_corpus)
    lacking.clips = {
        name: replace(clip, transcript=None) for name, clip in tiny_corpus.clips.items()
    }
    rows._corpus = lacking
    with pytest.raises(UserError, match=r"needs `transcript` .* 18 have none, question train-0-q"):
        train_student(
            tiny_llm, rows, settings_of(method="cord"), LIMIT, 1, tmp_path, lambda *_: None
        )


def params_with(**changes: Any) -> dict[str, Any]:
    raw = copy.deepcopy(PARAMS)
    raw["base"]["nano"]["transcript_share"] = 0.25
    raw["train"]["method"] = "cord"
    raw["references"]["view"] = "transcript"
    for section, values in changes.items():
        raw[section] |= values
    return raw


def test_it_wants_a_teacher_that_reads() -> None:
    validate_params(params_with(), "params.yaml")
    for view in ("clean", "silence"):
        with pytest.raises(
            UserError, match=r"references\.view: .*CORD.* needs the view transcript"
        ):
            validate_params(params_with(references={"view": view}), "params.yaml")


def test_a_comparison_makes_references_of_its_own_for_it() -> None:
    common: dict[str, Any] = {"references": {"view": "clean"}, "train": {"method": "echodistill"}}
    raw = params_with(**common)
    raw["compare"]["controls"] = ["cord", "silence"]
    params = validate_params(raw, "params.yaml")
    assert training_of("cord", params).view == "transcript"
    assert training_of("silence", params).view == "silence"
    raw["base"]["nano"]["transcript_share"] = 0.0
    with pytest.raises(UserError, match=r"base\.nano\.transcript_share"):
        validate_params(raw, "params.yaml")
    raw = params_with(**common)
    raw["compare"]["train"].append("cord")
    with pytest.raises(UserError, match=r"cord changes references\.view: name it in compare\.cont"):
        validate_params(raw, "params.yaml")
    raw = params_with(**common)
    changes = {"train.method": "cord", "references.view": "clean"}
    raw["compare"]["systems"].append({"name": "heard", "label": "x", "set": changes})
    with pytest.raises(UserError, match=r"compare\.systems: heard: references\.view: .*transcript"):
        validate_params(raw, "params.yaml")


@pytest.mark.parametrize("judge", ["embedding", "endpoint"])
def test_a_judge_that_needs_a_model_is_refused_without(judge: str) -> None:
    raw = params_with()
    raw["train"]["methods"]["cord"]["judge"] = judge
    with pytest.raises(UserError, match=r"train\.methods\.cord\.judge_model: the judge .* needs"):
        validate_params(raw, "params.yaml")

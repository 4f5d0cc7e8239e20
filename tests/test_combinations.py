"""Methods that combine reward and distillation: gate, routing, sign and magnitude, schedule."""

import math
from collections.abc import Sequence

import pytest
import torch
from torch.autograd import grad

from echodistill.methods.advantages import group_advantages
from echodistill.methods.base import Batch, LossTerms, Method
from echodistill.methods.on_samples import TEACHER
from echodistill.methods.rlsd import Rlsd, evidence_weights
from echodistill.methods.rt_opd import GATE, RtOpd
from echodistill.methods.schedule import term_weights
from echodistill.methods.srpo import ROUTED, Srpo, confidence_weights
from echodistill.methods.targets import Targets
from echodistill.params.methods import RlsdSettings, RtOpdSettings, SrpoSettings
from tests.method_cases import Table, batch_of, context_of, permuted, random

IDS, LENGTHS = [[3, 1, 0], [2, 0, 0], [0, 0, 0], [1, 4, 2]], [3, 1, 0, 2]
"""Four samples in two groups: whole, of one token, empty, and padded with a token that is not 0."""
GOLD = Targets(torch.tensor([[1, 2], [4, 0]]), torch.tensor([[1, 1], [1, 0]]))
MIXED, EQUAL, WRONG = (1.0, -1.0), (1.0, 1.0), (-1.0, 0.0)


def rt_opd(form: str = "full") -> RtOpd:
    return RtOpd(
        RtOpdSettings.model_validate({"learning_rate": 1e-4, "distill_weight": 0.25, "form": form})
    )


def rlsd(mixing: str = "constant", clip: float = 0.2) -> Rlsd:
    return Rlsd(
        RlsdSettings.model_validate({"learning_rate": 1e-4, "clip": clip, "mixing": mixing})
    )


def srpo(kl: str = "forward", entropy_beta: float = 1.0, distill_weight: float = 0.5) -> Srpo:
    return Srpo(
        SrpoSettings.model_validate(
            {
                "learning_rate": 1e-4,
                "distill_weight": distill_weight,
                "kl": kl,
                "entropy_beta": entropy_beta,
            }
        )
    )


def annotated(
    method: Method,
    rewards: Sequence[Sequence[float]],
    reference_rewards: Sequence[float] = (1.0, -1.0),
    temperature: float = 1.0,
) -> tuple[Batch, dict[str, float]]:
    batch = batch_of(IDS, LENGTHS, 2)
    if isinstance(method, RtOpd):
        batch.targets = GOLD.repeat(2)  # what the teacher says does not matter here
    context, recorded = context_of(
        batch, random(4, 3, 5, seed=2), rewards, reference_rewards, GOLD, temperature
    )
    method.annotate(batch, context)
    return batch, recorded


def loss_and_gradient(
    method: Method, batch: Batch, temperature: float = 1.0, progress: float = 0.0
) -> tuple[LossTerms, torch.Tensor]:
    student = random(4, 3, 5, seed=1).requires_grad_()
    terms = method.loss(batch, Table(student, temperature, progress))
    assert terms is not None
    if not terms.total.requires_grad:
        return terms, torch.zeros_like(student)
    return terms, grad(terms.total, student)[0]


def probabilities(seed: int, temperature: float = 1.0) -> list[list[list[float]]]:
    """The distributions of the student (seed 1) or the teacher (seed 2), by plain loops."""
    return [
        [
            [
                math.exp(z / temperature) / math.fsum(math.exp(one / temperature) for one in token)
                for z in token
            ]
            for token in row
        ]
        for row in random(4, 3, 5, seed=seed).tolist()
    ]


def mean(values: Sequence[float]) -> float:
    return math.fsum(values) / max(1, len(values))


EVERY: dict[str, tuple[Method, Sequence[Sequence[float]]]] = {
    "rt_opd": (rt_opd(), (MIXED, MIXED)),
    "rt_opd, sampled": (rt_opd("sampled"), (MIXED, MIXED)),
    "rlsd": (rlsd(), (MIXED, MIXED)),
    "srpo": (srpo(), (MIXED, MIXED)),
    "srpo, jsd": (srpo("jsd"), (MIXED, WRONG)),
}


@pytest.mark.parametrize("case", EVERY)
def test_order_of_rows_changes_nothing_and_padding_has_no_gradient(case: str) -> None:
    method, rewards = EVERY[case]
    batch, _ = annotated(method, rewards)
    terms, gradient = loss_and_gradient(method, batch)
    for order in ((2, 0, 3, 1), (3, 2, 1, 0)):
        other, moved = loss_and_gradient(method, permuted(batch, order))
        assert other.total.item() == pytest.approx(terms.total.item(), rel=1e-12)
        torch.testing.assert_close(moved, gradient)
    behind = [(1, 2)] if case.startswith("rt_opd") else [(1, 1), (1, 2), (2, 0), (3, 2)]
    assert not any(gradient[row, token].any() for row, token in behind)
    assert gradient.any()


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("gate", [(1.0, -1.0), (1.0, 1.0), (0.0, -1.0)])
def test_rt_opd_is_cross_entropy_and_the_divergence_where_the_teacher_is_right(
    gate: tuple[float, float], temperature: float
) -> None:
    method = rt_opd()
    batch, recorded = annotated(method, (MIXED, EQUAL), gate, temperature)
    terms, _ = loss_and_gradient(method, batch, temperature)
    cold, p, q = probabilities(1), probabilities(1, temperature), probabilities(2, temperature)
    answer = mean(
        [-mean([math.log(cold[0][0][1]), math.log(cold[0][1][2])]), -math.log(cold[2][0][4])]
    )
    apart = [
        mean(
            [
                math.fsum(a * math.log(a / b) for a, b in zip(p[row][t], q[row][t], strict=True))
                for t in range(length)
            ]
        )
        for row, length in enumerate(LENGTHS)
    ]
    gated = [value if gate[row // 2] > 0 else 0.0 for row, value in enumerate(apart)]
    assert terms.total.item() == pytest.approx(answer + 0.25 * math.fsum(gated) / 4, rel=1e-10)
    assert recorded["gated_groups"] == mean([float(one > 0) for one in gate])
    assert recorded["zero_variance_groups"] == 0.5
    assert batch.scores[GATE].tolist() == [one > 0 for one in gate for _ in range(2)]
    assert ("kl" in terms.metrics) == any(one > 0 for one in gate)


def test_rlsd_weights_by_hand() -> None:
    """The teacher finds the tokens twice, half and a tenth more likely than the student."""
    student = torch.zeros(2, 3, dtype=torch.float64)
    teacher = torch.tensor([2.0, 0.5, 1.1], dtype=torch.float64).log().expand(2, 3)
    weights = evidence_weights(teacher, student, torch.tensor([3.0, -0.1]), 0.2)
    assert weights[0].tolist() == pytest.approx([1.2, 0.8, 1.1])  # a right sample
    assert weights[1].tolist() == pytest.approx([0.8, 1.2, 1 / 1.1])  # a wrong one
    far = evidence_weights(teacher * 1e30, student, torch.tensor([1.0, -1.0]), 0.2)
    assert far.isfinite().all()


@pytest.mark.parametrize(
    ("mixing", "progress"), [("constant", 0.3), ("decay", 0.3), ("decay", 1.0)]
)
def test_rlsd_is_the_policy_gradient_with_weighted_advantages(mixing: str, progress: float) -> None:
    method = rlsd(mixing)
    rewards = ((1.0, -1.0), (-1.0, 1.0))
    batch, recorded = annotated(method, rewards, temperature=0.7)
    terms, gradient = loss_and_gradient(method, batch, 0.7, progress)
    p, q = probabilities(1, 0.7), probabilities(2, 0.7)
    share = 1.0 if mixing == "constant" else 1.0 - progress
    rows, wanted = [], torch.zeros(4, 3, 5, dtype=torch.float64)
    for row, (length, sign) in enumerate(zip(LENGTHS, (1, -1, -1, 1), strict=True)):
        values = []
        for t in range(length):
            token = IDS[row][t]
            weight = min(1.2, max(0.8, (q[row][t][token] / p[row][t][token]) ** sign))
            advantage = sign * (1.0 + share * (weight - 1.0))
            assert advantage * sign > 0  # the teacher never turns the sign
            values.append(-advantage * math.log(p[row][t][token]))
            for other in range(5):
                slope = float(other == token) - p[row][t][other]
                wanted[row, t, other] = -advantage * slope / 0.7 / length / 4
        rows.append(mean(values))
    assert terms.total.item() == pytest.approx(mean(rows), rel=1e-10)
    torch.testing.assert_close(gradient, wanted)
    assert terms.metrics["weight_share"].item() == pytest.approx(share)
    assert 0 < terms.metrics["weight_clip_share"].item() <= 1
    assert recorded["zero_variance_groups"] == 0.0


def test_rlsd_without_a_difference_in_reward_or_in_opinion() -> None:
    batch, recorded = annotated(rlsd(), (EQUAL, (-1.0, -1.0)))
    assert recorded["zero_variance_groups"] == 1.0
    terms, gradient = loss_and_gradient(rlsd(), batch)
    assert terms.total.item() == 0.0
    assert not gradient.any()
    # a teacher that is the student: plain policy gradient, whatever the clip
    batch, _ = annotated(rlsd(), (MIXED, MIXED))
    batch.scores[TEACHER] = (
        random(4, 3, 5, seed=1)
        .log_softmax(-1)
        .gather(-1, batch.samples[0][..., None])[..., 0]
        .masked_fill(batch.samples[1] == 0, 0.0)
    )
    same = [loss_and_gradient(rlsd(clip=clip), batch)[1] for clip in (0.2, 0.9)]
    torch.testing.assert_close(same[0], same[1])


@pytest.mark.parametrize("kl", ["forward", "reverse", "jsd"])
def test_srpo_routes_wrong_samples_to_the_teacher_and_right_ones_to_the_policy(kl: str) -> None:
    method = srpo(kl)
    batch, recorded = annotated(method, (MIXED, WRONG))
    terms, gradient = loss_and_gradient(method, batch)
    assert batch.scores[ROUTED].tolist() == [False, True, True, True]
    assert batch.advantages is not None
    assert batch.advantages.tolist() == [1.0, 0.0, 0.0, 0.0]
    p, q = probabilities(1), probabilities(2)
    policy = mean([-math.log(p[0][t][IDS[0][t]]) for t in range(3)])
    tokens = [(row, t) for row in (1, 2, 3) for t in range(LENGTHS[row])]
    sure = {
        (row, t): math.exp(math.fsum(one * math.log(one) for one in q[row][t])) for row, t in tokens
    }
    average = mean(list(sure.values()))

    def apart(a: list[float], b: list[float]) -> float:
        return math.fsum(x * math.log(x / y) for x, y in zip(a, b, strict=True))

    def chosen(row: int, t: int) -> float:
        student, teacher = p[row][t], q[row][t]
        middle = [(x + y) / 2 for x, y in zip(student, teacher, strict=True)]
        return {
            "forward": apart(teacher, student),
            "reverse": apart(student, teacher),
            "jsd": (apart(teacher, middle) + apart(student, middle)) / 2,
        }[kl]

    distill = [
        mean([sure[row, t] / average * chosen(row, t) for t in range(LENGTHS[row])])
        for row in (1, 2, 3)
    ]
    assert terms.total.item() == pytest.approx((policy + 0.5 * math.fsum(distill)) / 4, rel=1e-10)
    assert recorded == {
        "routed_samples": 0.75,
        "routed_groups": 1.0,
        "zero_variance_groups": 0.0,
    }
    assert gradient[0].any()
    assert gradient[3, 0].any()


def test_srpo_without_wrong_samples_is_grpo_and_without_right_ones_distils_all() -> None:
    batch, recorded = annotated(srpo(), (EQUAL, EQUAL))
    terms, gradient = loss_and_gradient(srpo(), batch)
    assert terms.total.item() == 0.0
    assert not gradient.any()
    assert recorded["routed_groups"] == 0.0
    batch, recorded = annotated(srpo(), (WRONG, WRONG))
    terms, _ = loss_and_gradient(srpo(), batch)
    assert terms.metrics["policy_loss"].item() == 0.0
    assert terms.metrics["kl"].item() > 0
    assert recorded["routed_samples"] == 1.0


def test_weights_by_the_teachers_entropy() -> None:
    """A sure token and one of four equal choices: exp(-β·H) is 1 and 4^-β."""
    sure = torch.tensor([1.0, 0.0, 0.0, 0.0], dtype=torch.float64).log()
    unsure = torch.full((4,), 0.25, dtype=torch.float64).log()
    teacher = torch.stack([sure, unsure, unsure])[None]
    mask = torch.tensor([[1, 1, 0]])
    weights = confidence_weights(teacher, mask, 1.0)[0]
    assert weights.tolist() == pytest.approx([1.6, 0.4, 0.0])
    assert confidence_weights(teacher, mask, 0.0)[0].tolist() == pytest.approx([1.0, 1.0, 0.0])
    assert confidence_weights(teacher, 0 * mask, 1.0)[0].tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("case", EVERY)
def test_padding_that_is_never_sampled_gives_no_nan(case: str) -> None:
    method, rewards = EVERY[case]
    batch = batch_of([[0, 4], [1, 4]], [1, 1], 2)
    teacher, student = random(2, 2, 5, seed=2), random(2, 2, 5, seed=1)
    teacher[..., 4] = student[..., 4] = -math.inf
    gold = Targets(torch.tensor([[1, 4]]), torch.tensor([[1, 0]]))
    batch.targets = gold.repeat(2)
    method.annotate(batch, context_of(batch, teacher, rewards[:1], (1.0,), gold)[0])
    terms = method.loss(batch, Table(student.requires_grad_()))
    assert terms is not None
    assert terms.total.isfinite()
    assert grad(terms.total, student)[0].isfinite().all()


def test_advantages_are_those_of_grpo() -> None:
    rewards = torch.tensor([[1.0, 0.0], [-1.0, 1.0]], dtype=torch.float64)
    batch, _ = annotated(rlsd(), rewards.tolist())
    assert batch.advantages is not None
    assert torch.equal(batch.advantages, group_advantages(rewards).flatten())


@pytest.mark.parametrize(
    ("schedule", "progress", "wanted"),
    [
        ("constant", 0.0, (1.0, 1.0)),
        ("constant", 1.0, (1.0, 1.0)),
        ("distill_first", 0.0, (0.0, 1.0)),
        ("distill_first", 0.59, (0.0, 1.0)),
        ("distill_first", 0.6, (1.0, 0.0)),
        ("crossfade", 0.0, (0.0, 1.0)),
        ("crossfade", 0.25, (0.25, 0.75)),
    ],
)
def test_the_schedule_moves_from_distillation_to_the_policy_term(
    schedule: str, progress: float, wanted: tuple[float, float]
) -> None:
    assert term_weights(schedule, 0.6, progress) == wanted


def test_an_unknown_schedule_is_refused() -> None:
    with pytest.raises(ValueError, match="sideways"):
        term_weights("sideways", 0.5, 0.5)

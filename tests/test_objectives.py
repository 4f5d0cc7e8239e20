"""Objectives against independent computations: plain loops in float64, finite differences, cases
worked by hand.
"""

import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import grad, gradcheck

from echodistill.methods.advantages import (
    group_advantages,
    shape_rewards,
    shaping_has_no_effect,
    zero_variance,
)
from echodistill.methods.divergences import (
    KINDS,
    distill_loss,
    divergence,
    jsd,
    kl,
    sequence_mean,
    with_tail,
)
from echodistill.methods.ratio import PolicyTerm, policy_term
from echodistill.methods.shaping import consistency, shaped_advantages
from echodistill.methods.supervised import cross_entropy, token_entropy, token_log_probs

LEVELS = (-1.0, 0.0, 1.0)  # rewards of a task: wrong, nothing parsed, right


def tensor(values: object) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def logits(*shape: int, seed: int = 0) -> torch.Tensor:
    return (
        torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) * 2
    )


def plain_kl(p: Sequence[float], q: Sequence[float]) -> float:
    return math.fsum(a * math.log(a / b) for a, b in zip(p, q, strict=True) if a > 0)


def plain_divergence(kind: str, teacher: Sequence[float], student: Sequence[float]) -> float:
    if kind == "forward":
        return plain_kl(teacher, student)
    if kind == "reverse":
        return plain_kl(student, teacher)
    middle = [(a + b) / 2 for a, b in zip(teacher, student, strict=True)]
    return (plain_kl(teacher, middle) + plain_kl(student, middle)) / 2


@pytest.mark.parametrize("kind", KINDS)
def test_divergence_is_the_one_it_names(kind: str) -> None:
    teacher, student = logits(3, 4, 7).log_softmax(-1), logits(3, 4, 7, seed=1).log_softmax(-1)
    found = divergence(kind, teacher, student)
    for row in range(3):
        for token in range(4):
            wanted = plain_divergence(
                kind, teacher[row, token].exp().tolist(), student[row, token].exp().tolist()
            )
            assert found[row, token].item() == pytest.approx(wanted, rel=1e-12)


def test_directions_worked_by_hand() -> None:
    teacher, student = tensor([0.5, 0.5]).log(), tensor([0.25, 0.75]).log()
    assert divergence("forward", teacher, student).item() == pytest.approx(0.5 * math.log(4 / 3))
    assert divergence("reverse", teacher, student).item() == pytest.approx(
        0.75 * math.log(3) - math.log(2)
    )
    with pytest.raises(ValueError, match="sideways"):
        divergence("sideways", teacher, student)


def test_a_bucket_without_mass_adds_nothing_also_to_the_gradient() -> None:
    p = tensor([0.0, 0.5, 0.5]).log().requires_grad_()
    q = tensor([0.0, 0.25, 0.75]).log().requires_grad_()
    assert kl(p, q).item() == pytest.approx(plain_kl([0.5, 0.5], [0.25, 0.75]))
    assert jsd(p, q).item() == pytest.approx(plain_divergence("jsd", [0.5, 0.5], [0.25, 0.75]))
    for value in (kl(p, q), jsd(p, q)):
        assert all(part.isfinite().all() for part in grad(value, (p, q)))


def test_jsd_is_symmetric_and_at_most_ln_2() -> None:
    p, q = tensor([1.0, 0.0]).log(), tensor([0.0, 1.0]).log()
    assert jsd(p, q).item() == pytest.approx(math.log(2))
    a, b = logits(7).log_softmax(-1), logits(7, seed=1).log_softmax(-1)
    assert jsd(a, b).item() == pytest.approx(jsd(b, a).item())
    assert kl(p, q).item() == math.inf


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_match_finite_differences(kind: str) -> None:
    teacher, mask, ids = (
        logits(2, 3, 6).log_softmax(-1),
        tensor([[1, 1, 1], [1, 0, 0]]),
        torch.tensor([4, 1]).expand(2, 3, 2),
    )

    def loss(z: torch.Tensor) -> torch.Tensor:
        return distill_loss(kind, with_tail(teacher, ids), with_tail(z.log_softmax(-1), ids), mask)

    assert gradcheck(loss, logits(2, 3, 6, seed=1).requires_grad_())


def test_tail_is_the_mass_of_all_others_never_renormalised() -> None:
    log_probs = tensor([[[0.5, 0.2, 0.2, 0.06, 0.04]]]).log()
    assert with_tail(log_probs, torch.tensor([[[0, 2]]])).exp()[0, 0].tolist() == pytest.approx(
        [0.5, 0.2, 0.3]
    )
    # a student with its mass outside the teacher's top 2 pays for it: ln(.5/.05) .5 + ln(.2/.02) .2
    # + ln(.3/.93) .3
    student = with_tail(tensor([[[0.05, 0.3, 0.02, 0.3, 0.33]]]).log(), torch.tensor([[[0, 2]]]))
    paid = kl(with_tail(log_probs, torch.tensor([[[0, 2]]])), student).item()
    assert paid == pytest.approx(0.7 * math.log(10) + 0.3 * math.log(0.3 / 0.93))


def test_tail_of_the_whole_vocabulary_is_finite() -> None:
    coarse = with_tail(
        logits(1, 1, 4).log_softmax(-1).requires_grad_(), torch.arange(4).view(1, 1, 4)
    )
    assert coarse[..., -1].exp().item() < 1e-300
    assert (
        coarse > -1e3
    ).all()  # not the lowest number: a teacher with a little tail would pay without bound
    assert kl(coarse, coarse).item() == 0.0


def test_tail_keeps_its_digits_in_float32() -> None:
    """A sure student leaves the tail less than float32 resolves beside 1, and must still learn to
    fill it.
    """
    teacher, sure = logits(1, 1, 500), logits(1, 1, 500, seed=1)
    sure[0, 0, :3] += 30.0
    ids = torch.tensor([[[0, 1, 2]]])

    def loss_and_gradient(dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        z = sure.to(dtype).requires_grad_()
        loss = kl(
            with_tail(teacher.to(dtype).log_softmax(-1), ids), with_tail(z.log_softmax(-1), ids)
        ).sum()
        return loss.detach().double(), grad(loss, z)[0].double()

    exact, rounded = loss_and_gradient(torch.float64), loss_and_gradient(torch.float32)
    torch.testing.assert_close(rounded[0], exact[0], rtol=1e-5, atol=0)
    torch.testing.assert_close(rounded[1], exact[1], rtol=1e-3, atol=1e-6)


def test_sequence_mean_counts_response_tokens_only() -> None:
    values = tensor([[1.0, 3.0, 1e30], [5.0, math.inf, -math.inf], [math.nan, 2.0, 2.0]])
    mask = torch.tensor([[1, 1, 0], [1, 0, 0], [0, 0, 0]])
    assert sequence_mean(values, mask).tolist() == [2.0, 5.0, 0.0]
    assert sequence_mean(values, mask.double()).tolist() == [2.0, 5.0, 0.0]


@given(
    seed=st.integers(0, 10**6),
    kind=st.sampled_from(KINDS),
    garbage=st.floats(-1e30, 0.0) | st.just(-math.inf),
)
@settings(max_examples=60, deadline=None)
def test_masked_positions_change_nothing(seed: int, kind: str, garbage: float) -> None:
    teacher, student = (
        logits(3, 5, 4, seed=seed).log_softmax(-1),
        logits(3, 5, 4, seed=seed + 1).log_softmax(-1),
    )
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0, 0, 0, 0, 0]])
    dirty_teacher, dirty_student = teacher.clone(), student.clone()
    dirty_teacher[mask == 0], dirty_student[mask == 0] = garbage, garbage / 2
    dirty_student.requires_grad_()
    loss = distill_loss(kind, dirty_teacher, dirty_student, mask)
    assert torch.equal(loss, distill_loss(kind, teacher, student, mask))
    assert loss[1].item() == pytest.approx(divergence(kind, teacher, student)[1, :2].mean().item())
    (gradient,) = grad(loss.sum(), dirty_student)
    assert (gradient[mask == 0] == 0).all()
    assert gradient.isfinite().all()


def test_group_advantages() -> None:
    assert group_advantages(tensor([[1, 1, -1, -1]])).tolist() == [
        [1, 1, -1, -1]
    ]  # population std is 1, sample std 1.155
    assert group_advantages(tensor([[1, 0, 0, 0]]))[0].tolist() == pytest.approx(
        [math.sqrt(3)] + [-1 / math.sqrt(3)] * 3
    )
    assert group_advantages(tensor([[-1.0], [0.5]])).tolist() == [
        [-1.0],
        [0.5],
    ]  # K = 1: the reward itself
    equal = tensor([[0.7] * 4, [1, 0, 1, 0]])
    assert group_advantages(equal)[0].tolist() == [0.0] * 4
    assert zero_variance(equal).tolist() == [True, False]
    assert group_advantages(torch.full((1, 4), 0.1) + torch.tensor([[0, 1e-8, 0, 0]])).tolist() == [
        [0.0] * 4
    ]  # rounding is no signal


def test_shape_rewards_only_raises_positive_rewards_and_clips() -> None:
    rewards, s = tensor([[1.0, 0.0, -1.0, 1.8, -3.0]]), tensor([[0.5]])
    assert shape_rewards(rewards, s, 0.5).tolist() == [[1.25, 0.0, -1.0, 2.0, -1.0]]
    per_candidate = tensor([[0.1, 0.9, 0.9, 0.1, 0.9]])
    assert shape_rewards(rewards, per_candidate, 1.0)[0].tolist() == pytest.approx(
        [1.1, 0.0, -1.0, 1.9, -1.0]
    )


def test_consistency_is_without_gradient() -> None:
    s = consistency(tensor([0.0, math.log(2)]).requires_grad_())
    assert s.tolist() == pytest.approx([1.0, 0.5])
    assert not s.requires_grad


def groups(levels: Sequence[float]) -> st.SearchStrategy[list[list[float]]]:
    size = st.integers(2, 8)
    return size.flatmap(
        lambda k: st.lists(
            st.lists(st.sampled_from(levels), min_size=k, max_size=k), min_size=1, max_size=5
        )
    )


@given(
    data=st.data(),
    pair=st.sampled_from([(-1.0, 0.0), (-1.0, 1.0), (0.0, 1.0)]),
    bonus=st.floats(0.0, 1.0),
)
@settings(max_examples=100, deadline=None)
def test_instance_bonus_on_two_reward_levels_is_always_inert(
    data: st.DataObject, pair: tuple[float, float], bonus: float
) -> None:
    rewards = tensor(data.draw(groups(pair)))
    s = tensor(
        data.draw(st.lists(st.floats(0.01, 1.0), min_size=len(rewards), max_size=len(rewards)))
    )[:, None]
    for dtype in (torch.float64, torch.float32):
        assert shaping_has_no_effect(
            rewards.to(dtype), shape_rewards(rewards.to(dtype), s.to(dtype), bonus)
        ).all()


def test_bonus_on_three_levels_or_by_candidate_is_not_inert() -> None:
    three = tensor([[1, 0, -1, -1]])
    assert not shaping_has_no_effect(three, shape_rewards(three, tensor([[0.8]]), 0.5)).any()
    two = tensor([[1, 1, -1, -1]])
    assert not shaping_has_no_effect(
        two, shape_rewards(two, tensor([[0.9, 0.2, 0.5, 0.5]]), 0.5)
    ).any()


def test_shaped_advantages_shares() -> None:
    # inert (two levels), not inert (three), equal and rewarded (inert), equal and wrong (no
    # gradient, not asked)
    rewards = tensor([[1, 1, -1, -1], [1, 0, -1, -1], [1, 1, 1, 1], [-1, -1, -1, -1]])
    shaped = shaped_advantages(rewards, tensor([[0.5]] * 4), 0.5)
    assert shaped.share_without_effect == pytest.approx(2 / 3)
    assert shaped.zero_variance_share == 0.5
    assert shaped.rewards[0].tolist() == [1.25, 1.25, -1.0, -1.0]
    assert torch.equal(shaped.advantages, group_advantages(shaped.rewards))
    plain = shaped_advantages(rewards, None, 0.5)
    assert torch.equal(plain.rewards, rewards)
    assert plain.share_without_effect == 1.0
    # nothing rewarded: no nan
    assert shaped_advantages(-rewards.abs(), tensor([[0.5]] * 4), 0.5).share_without_effect == 1.0


def term(
    ratios: Sequence[float], advantages: Sequence[float], dual_clip: float
) -> tuple[PolicyTerm, list[float]]:
    """The policy term for given ratios and its gradient by log-probability."""
    log_prob = tensor(ratios).log().requires_grad_()
    found = policy_term(log_prob, torch.zeros_like(log_prob), tensor(advantages), 0.2, dual_clip)
    return found, grad(found.loss, log_prob)[0].tolist()


@pytest.mark.parametrize(
    ("ratio", "advantage", "dual_clip", "loss", "gradient", "clipped", "dual_clipped"),
    [
        (1.0, 2.0, 2.0, -2.0, -2.0, 0, 0),
        (1.1, 2.0, 2.0, -2.2, -2.2, 0, 0),
        (1.5, 2.0, 2.0, -2.4, 0.0, 1, 0),  # already likelier: nothing more to gain
        (0.5, 2.0, 2.0, -1.0, -1.0, 0, 0),  # min keeps the gradient where the policy is wrong
        (0.9, -1.0, 2.0, 0.9, 0.9, 0, 0),
        (0.5, -1.0, 2.0, 0.8, 0.0, 1, 0),
        (1.5, -1.0, 2.0, 1.5, 1.5, 0, 0),
        (5.0, -1.0, 2.0, 2.0, 0.0, 0, 1),
        (5.0, -1.0, 0.0, 5.0, 5.0, 0, 0),  # dual clip off
        (5.0, 1.0, 2.0, -1.2, 0.0, 1, 0),  # dual clip is for negative advantages only
        (1.5, 0.0, 2.0, 0.0, 0.0, 0, 0),
    ],
)
def test_policy_term_by_hand(
    ratio: float,
    advantage: float,
    dual_clip: float,
    loss: float,
    gradient: float,
    clipped: int,
    dual_clipped: int,
) -> None:
    found, by_log_prob = term([ratio], [advantage], dual_clip)
    assert found.loss.item() == pytest.approx(loss)
    assert by_log_prob == pytest.approx([gradient])
    assert (found.clip_share.item(), found.dual_clip_share.item()) == (clipped, dual_clipped)
    assert found.ratio_mean.item() == pytest.approx(ratio)


def test_policy_term_averages_over_candidates() -> None:
    found, gradient = term([1.5, 0.5, 5.0, 1.0], [2.0, -1.0, -1.0, 3.0], 2.0)
    assert found.loss.item() == pytest.approx((-2.4 + 0.8 + 2.0 - 3.0) / 4)
    assert gradient == pytest.approx([0.0, 0.0, 0.0, -0.75])
    assert found.clip_share.item() == 0.5
    assert found.dual_clip_share.item() == 0.25


def test_reference_has_no_gradient() -> None:
    log_prob, reference = logits(4).requires_grad_(), logits(4, seed=1).requires_grad_()
    loss = policy_term(log_prob, reference, tensor([1, -1, 1, -1]), 0.2, 0.0).loss
    assert grad(loss, reference, allow_unused=True) == (None,)
    # so a reference that is the student itself gives a ratio of 1 and the plain policy gradient
    assert grad(policy_term(log_prob, log_prob, tensor([1, -1, 2, 0]), 0.2, 2.0).loss, log_prob)[
        0
    ].tolist() == [-0.25, 0.25, -0.5, 0]


@pytest.mark.parametrize("dual_clip", [0.0, 2.0])
@pytest.mark.parametrize("gap", [88.0, 200.0, 1e30, math.inf, -200.0, -1e30])
def test_no_nan_where_the_ratio_overflows(gap: float, dual_clip: float) -> None:
    log_prob = torch.full((3,), -1.0, requires_grad=True)
    found = policy_term(
        log_prob, torch.full((3,), -1.0 - gap), torch.tensor([1.0, 0.0, -1.0]), 0.2, dual_clip
    )
    assert found.loss.isfinite()
    assert found.ratio_mean.isfinite()
    assert grad(found.loss, log_prob)[0].isfinite().all()


def test_supervised_objectives_match_plain_loops() -> None:
    z, ids, mask = (
        logits(2, 3, 5),
        torch.tensor([[0, 4, 2], [3, 3, 1]]),
        torch.tensor([[1, 1, 0], [1, 1, 1]]),
    )
    probs = [
        [[math.exp(v) / math.fsum(map(math.exp, token)) for v in token] for token in row]
        for row in z.tolist()
    ]
    picked = [[math.log(probs[b][t][ids[b, t]]) for t in range(3)] for b in range(2)]
    torch.testing.assert_close(token_log_probs(z, ids), tensor(picked))
    entropy = [[-math.fsum(p * math.log(p) for p in token) for token in row] for row in probs]
    torch.testing.assert_close(token_entropy(z), tensor(entropy))
    rows = [-(picked[0][0] + picked[0][1]) / 2, -sum(picked[1]) / 3]
    torch.testing.assert_close(cross_entropy(z, ids, mask), tensor(rows))
    assert gradcheck(lambda values: cross_entropy(values, ids, mask), z.requires_grad_())


def test_entropy_where_a_token_is_impossible() -> None:
    assert token_entropy(tensor([[[0.0, 0.0, -math.inf]]])).item() == pytest.approx(math.log(2))

"""On-policy distillation against plain loops in float64, enumeration and cases worked by hand."""

import math
from pathlib import Path

import pytest
import torch
from torch.autograd import grad, gradcheck

from echodistill.data.store import Corpus
from echodistill.methods.on_samples import TEACHER, policy_gradient, reverse_kl, sample_log_probs
from echodistill.methods.opd import Opd
from echodistill.params.methods import OpdSettings
from tests.method_cases import Table, batch_of, context_of, permuted, random
from tests.test_trainer import model_folder as model_folder
from tests.test_trainer import run

IDS, LENGTHS = [[3, 1, 0], [2, 0, 0], [0, 0, 0], [1, 4, 2]], [3, 1, 0, 2]
"""Four samples in two groups: whole, of one token, empty, and padded with a token that is not 0."""
FORMS = ("full", "sampled")


def opd(form: str) -> Opd:
    return Opd(OpdSettings.model_validate({"learning_rate": 1e-4, "form": form}))


def plain_row(form: str, student: torch.Tensor, teacher: torch.Tensor, ids: list[int]) -> float:
    """The divergence of one sample by loops; ``student`` and ``teacher`` are (tokens, V) logits."""
    total = []
    for z, y, token in zip(student.tolist(), teacher.tolist(), ids, strict=True):
        p = [math.exp(one) / math.fsum(map(math.exp, z)) for one in z]
        q = [math.exp(one) / math.fsum(map(math.exp, y)) for one in y]
        every = [math.log(a / b) for a, b in zip(p, q, strict=True)]
        total.append(
            math.fsum(a * b for a, b in zip(p, every, strict=True))
            if form == "full"
            else every[token]
        )
    return math.fsum(total) / max(1, len(total))


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("form", FORMS)
def test_the_divergence_is_that_of_plain_loops(form: str, temperature: float) -> None:
    student, teacher = random(4, 3, 5, seed=1), random(4, 3, 5, seed=2)
    batch, method = batch_of(IDS, LENGTHS, 2), opd(form)
    context, _ = context_of(batch, teacher, temperature=temperature)
    method.annotate(batch, context)
    terms = method.loss(batch, Table(student, temperature))
    rows = [
        plain_row(
            form,
            student[row, :length] / temperature,
            teacher[row, :length] / temperature,
            IDS[row][:length],
        )
        for row, length in enumerate(LENGTHS)
    ]
    assert terms.metrics["kl"].item() == pytest.approx(math.fsum(rows) / 4, rel=1e-12)
    assert rows[2] == 0.0  # an empty response has no divergence, and counts as a row
    if form == "full":
        assert terms.total.item() == pytest.approx(terms.metrics["kl"].item())
    assert batch.advantages is not None
    assert not batch.advantages.any()


@pytest.mark.parametrize("form", FORMS)
def test_order_of_rows_and_padding_change_nothing(form: str) -> None:
    teacher, method = random(4, 3, 5, seed=2), opd(form)
    found = []
    for order, pad, width in [((0, 1, 2, 3), 0, 3), ((2, 0, 3, 1), 0, 3), ((0, 1, 2, 3), 4, 5)]:
        student = random(4, 3, 5, seed=1).requires_grad_()
        wide = torch.nn.functional.pad(student, (0, 0, 0, width - 3), value=7.0)
        ids = [
            row[:length] + [pad] * (width - length)
            for row, length in zip(IDS, LENGTHS, strict=True)
        ]
        batch = batch_of(ids, LENGTHS, 2)
        far = torch.nn.functional.pad(teacher, (0, 0, 0, width - 3), value=-9.0)
        method.annotate(batch, context_of(batch, far)[0])
        loss = method.loss(permuted(batch, order), Table(wide)).total
        found.append((loss.item(), grad(loss, student)[0]))
    for value, gradient in found[1:]:
        assert value == pytest.approx(found[0][0], rel=1e-12)
        torch.testing.assert_close(gradient, found[0][1])
    assert not found[0][1][1, 1:].any()  # behind the end of a sample


def test_the_sampled_form_estimates_the_gradient_and_the_value_of_the_full_one() -> None:
    """One token, all V values that it may have, each weighted by its probability."""
    z, teacher = random(5, seed=1).requires_grad_(), random(5, seed=2)
    ids, mask = torch.arange(5)[:, None], torch.ones(5, 1, dtype=torch.int64)
    every = z.expand(5, 1, 5)
    weight = z.detach().softmax(0)
    loss, kl = reverse_kl("sampled", every, teacher.log_softmax(0)[:, None], ids, mask, 1.0)
    whole, exact = reverse_kl(
        "full", z.view(1, 1, 5), teacher.log_softmax(0).view(1, 1, 5), ids[:1], mask[:1], 1.0
    )
    torch.testing.assert_close(grad((weight * loss).sum(), z)[0], grad(whole.sum(), z)[0])
    assert (weight * kl).sum().item() == pytest.approx(exact.item())
    assert not kl.requires_grad


def test_the_full_form_matches_finite_differences() -> None:
    teacher, mask = random(2, 3, 4, seed=2).log_softmax(-1), torch.tensor([[1, 1, 1], [1, 0, 0]])
    ids = torch.tensor([[0, 1, 2], [3, 0, 0]])

    def loss(z: torch.Tensor) -> torch.Tensor:
        return reverse_kl("full", z, teacher, ids, mask, 0.7)[0]

    assert gradcheck(loss, random(2, 3, 4, seed=1).requires_grad_())


def test_the_sampled_form_by_hand() -> None:
    """p = (1/4, 3/4), q = (1/2, 1/2) and the first token sampled: advantage ln 2, and the gradient
    of -ln 2 · ln p_0 is -ln 2 · (1 - p_0, -p_1).
    """
    z = torch.tensor([[[0.25, 0.75]]], dtype=torch.float64).log().requires_grad_()
    teacher = torch.tensor([[0.5]], dtype=torch.float64).log()
    one = torch.ones(1, 1, dtype=torch.int64)
    loss, kl = reverse_kl("sampled", z, teacher, 0 * one, one, 1.0)
    assert kl.item() == pytest.approx(-math.log(2))
    assert grad(loss.sum(), z)[0][0, 0].tolist() == pytest.approx(
        [-0.75 * math.log(2), 0.75 * math.log(2)]
    )


def test_policy_gradient_and_its_advantages() -> None:
    log_probs, advantages = random(2, 3, seed=1).requires_grad_(), random(2, 3, seed=2)
    mask = torch.tensor([[1, 1, 0], [0, 0, 0]])
    loss = policy_gradient(log_probs, advantages.requires_grad_(), mask)
    assert loss.tolist() == pytest.approx([-(log_probs * advantages)[0, :2].mean().item(), 0.0])
    gradient, none = grad(loss.sum(), (log_probs, advantages), allow_unused=True)
    assert none is None
    torch.testing.assert_close(gradient[0, :2], -advantages.detach()[0, :2] / 2)
    assert not gradient[0, 2:].any()


@pytest.mark.parametrize("form", FORMS)
def test_padding_that_is_never_sampled_gives_no_nan(form: str) -> None:
    """Its logit is ``-inf`` in both models, wherever it stands."""
    student, teacher = random(1, 2, 4, seed=1), random(1, 2, 4, seed=2)
    student[..., 3] = teacher[..., 3] = -math.inf
    student.requires_grad_()
    batch, method = batch_of([[0, 3]], [1], 1), opd(form)
    method.annotate(batch, context_of(batch, teacher)[0])
    terms = method.loss(batch, Table(student))
    assert terms.total.isfinite()
    assert grad(terms.total, student)[0].isfinite().all()
    assert sample_log_probs(student, *batch.samples, 1.0)[0, 1].item() == 0.0
    assert batch.scores[TEACHER].shape == ((1, 2, 4) if form == "full" else (1, 2))


def test_it_pulls_the_student_to_the_teacher(
    tmp_path: Path, model_folder: Path, tiny_corpus: Corpus
) -> None:
    _, rows = run(
        tmp_path,
        model_folder,
        tiny_corpus,
        method="opd",
        steps=10,
        prompts_per_step=6,
        opd={"learning_rate": 5e-3},
    )
    assert rows[-1]["kl"] < 0.8 * max(row["kl"] for row in rows[:3])

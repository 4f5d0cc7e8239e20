"""The teacher's cache: a warm run asks nothing, a damaged entry is asked again, a killed run keeps
what it has.
"""

import dataclasses
import hashlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from echodistill.core.batches import batches
from echodistill.core.cache_location import cache_folder
from echodistill.core.errors import UserError
from echodistill.core.seeds import rng
from echodistill.data.store import Corpus
from echodistill.methods.divergences import with_tail
from echodistill.models.audio_llm import AudioLLM
from echodistill.models.base import Prompt, PromptBatch
from echodistill.teachers import references
from echodistill.teachers.cache import ReferenceCache, TeacherTargets
from echodistill.teachers.references import (
    ReferenceRequest,
    generate_targets,
    get_or_compute,
    load_targets,
    save_targets,
)


def target(number: int, top: bool = False) -> TeacherTargets:
    tokens = 1 + number % 3
    log_probs = torch.randn(tokens, 5, generator=torch.Generator().manual_seed(number)).log_softmax(
        -1
    )
    return TeacherTargets(
        torch.arange(number, number + tokens),
        log_probs,
        torch.arange(4).repeat(tokens, 1) if top else None,
    )


def same(one: TeacherTargets | None, other: TeacherTargets) -> bool:
    if one is None or (one.top_ids is None) != (other.top_ids is None):
        return False
    pairs = [
        (getattr(one, field.name), getattr(other, field.name))
        for field in dataclasses.fields(TeacherTargets)
    ]
    return all(a is b is None or (a.dtype == b.dtype and torch.equal(a, b)) for a, b in pairs)


class Teacher:
    """Counts what it is asked; dies at a given call."""

    def __init__(self, dies_at: int = 0) -> None:
        self.asked: list[list[str]] = []
        self._dies_at = dies_at

    def __call__(self, prompts: Sequence[Prompt]) -> list[TeacherTargets]:
        self.asked.append([prompt.question for prompt in prompts])
        if len(self.asked) == self._dies_at:
            raise RuntimeError("killed")
        return [target(int(prompt.question)) for prompt in prompts]


def key_of(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def request(number: int) -> ReferenceRequest:
    return ReferenceRequest(
        key_of(number), Prompt(np.zeros(4, np.float32), str(number), ("a", "b"))
    )


REQUESTS = [request(number) for number in range(7)]


def run(
    folder: Path, teacher: Teacher, requests: Sequence[ReferenceRequest] = REQUESTS
) -> tuple[dict[str, TeacherTargets], list[int]]:
    lengths: list[int] = []
    return get_or_compute(ReferenceCache(folder), requests, teacher, 3, lengths.append), lengths


@pytest.mark.parametrize("top", [False, True])
def test_an_entry_comes_back_as_it_was(tmp_path: Path, top: bool) -> None:
    cache = ReferenceCache(tmp_path)
    assert cache.get("ab" * 32) is None
    cache.put("ab" * 32, target(1, top))
    assert same(cache.get("ab" * 32), target(1, top))
    cache.put("ab" * 32, target(2, top))
    assert same(cache.get("ab" * 32), target(2, top))


def test_a_warm_run_makes_no_model_call(tmp_path: Path) -> None:
    cold, warm = Teacher(), Teacher()
    first, lengths = run(tmp_path, cold)
    assert [len(batch) for batch in cold.asked] == [3, 3, 1]
    assert lengths == [0, 3, 3, 1]
    second, lengths = run(tmp_path, warm)
    assert warm.asked == []
    assert lengths == [7]
    assert first.keys() == second.keys() == {item.key for item in REQUESTS}
    assert all(same(first[key], second[key]) for key in first)


def test_only_what_is_missing_is_asked(tmp_path: Path) -> None:
    run(tmp_path, Teacher(), REQUESTS[2:5])
    teacher = Teacher()
    targets, lengths = run(tmp_path, teacher)
    assert teacher.asked == [["0", "1", "5"], ["6"]]
    assert lengths == [3, 3, 1]
    assert all(same(targets[item.key], target(number)) for number, item in enumerate(REQUESTS))


def test_equal_requests_are_asked_once(tmp_path: Path) -> None:
    teacher = Teacher()
    targets, lengths = run(tmp_path, teacher, [REQUESTS[0], REQUESTS[1], REQUESTS[0]])
    assert teacher.asked == [["0", "1"]]
    assert sum(lengths) == 3
    assert len(targets) == 2


def test_a_killed_run_keeps_its_first_batch(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="killed"):
        run(tmp_path, Teacher(dies_at=2))
    teacher = Teacher()
    run(tmp_path, teacher)
    assert teacher.asked == [["3", "4", "5"], ["6"]]


def test_too_few_answers_are_noticed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="shorter"):
        get_or_compute(
            ReferenceCache(tmp_path),
            REQUESTS[:2],
            lambda prompts: [target(0)],
            3,
            lambda done: None,
        )


@pytest.mark.parametrize(
    "damage",
    [
        "flipped digest",
        "flipped header",
        "flipped value",
        "truncated",
        "digest only",
        "empty",
        "foreign",
    ],
)
def test_a_damaged_entry_is_asked_again(tmp_path: Path, damage: str) -> None:
    first, _ = run(tmp_path, Teacher())
    path = ReferenceCache(tmp_path).path_of(REQUESTS[4].key)
    content = bytearray(path.read_bytes())
    if damage.startswith("flipped"):
        content[{"digest": 5, "header": 45, "value": -3}[damage.split()[1]]] ^= 1
    else:
        content = {
            "truncated": content[:-1],
            "digest only": content[:32],
            "empty": bytearray(),
            "foreign": bytearray(b"x" * 99),
        }[damage]
    path.write_bytes(content)
    teacher = Teacher()
    second, _ = run(tmp_path, teacher)
    assert teacher.asked == [["4"]]
    assert same(second[REQUESTS[4].key], first[REQUESTS[4].key])
    healed = Teacher()
    run(tmp_path, healed)
    assert healed.asked == []


def test_an_entry_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = ReferenceCache(tmp_path).path_of(REQUESTS[0].key)
    path.mkdir(parents=True)
    with pytest.raises(UserError, match=r"safetensors cannot be read: .*ECHODISTILL_CACHE"):
        run(tmp_path, Teacher())


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECHODISTILL_CACHE", "/elsewhere")
    assert cache_folder() == Path("/elsewhere")
    monkeypatch.delenv("ECHODISTILL_CACHE")
    assert cache_folder() == Path(".echodistill/cache")


def test_views_in_one_file(tmp_path: Path) -> None:
    targets = {key_of(number): target(number, top=number == 1) for number in range(4)}
    save_targets(tmp_path / "targets.safetensors", targets)
    save_targets(tmp_path / "again.safetensors", dict(reversed(targets.items())))
    assert (tmp_path / "targets.safetensors").read_bytes() == (
        tmp_path / "again.safetensors"
    ).read_bytes()
    loaded = load_targets(tmp_path / "targets.safetensors")
    assert loaded.keys() == targets.keys()
    assert all(same(loaded[key], targets[key]) for key in targets)
    (tmp_path / "targets.safetensors").write_bytes(
        (tmp_path / "again.safetensors").read_bytes()[:-9]
    )
    for name in ("targets.safetensors", "gone.safetensors"):
        with pytest.raises(UserError, match=rf"{name} is missing or damaged"):
            load_targets(tmp_path / name)


def test_teacher_and_student_coarsen_alike(tiny_llm: AudioLLM, tiny_corpus: Corpus) -> None:
    """The whole distribution, cut by the student's ``with_tail``, is what the teacher keeps of
    it.
    """
    question = tiny_corpus.questions_of("train")[0]
    prompts = [
        Prompt(tiny_corpus.waveform(question.clip_id), question.question, question.choices)
    ] * 2
    (whole, _), (top, _) = (
        generate_targets(tiny_llm, prompts, 4, 3, 4096),
        generate_targets(tiny_llm, prompts, 4, 3, 0),
    )
    assert whole.top_ids is None
    assert top.top_ids is not None
    assert torch.equal(whole.token_ids, top.token_ids)
    coarse = with_tail(whole.log_probs[None], top.top_ids[None])[0]
    torch.testing.assert_close(coarse.exp(), top.log_probs.exp(), atol=1e-6, rtol=0)
    torch.testing.assert_close(top.log_probs.exp().sum(-1), torch.ones(len(top.token_ids)))


def asked(corpus: Corpus) -> list[ReferenceRequest]:
    """Training questions, every third of them with other choices, so that prompts have several
    lengths.
    """
    rows = [
        (row, row.choices if number % 3 else (*row.choices, "a fourth choice"))
        for number, row in enumerate(corpus.questions_of("train"))
    ]
    return [
        ReferenceRequest(key_of(n), Prompt(corpus.waveform(row.clip_id), row.question, choices))
        for n, (row, choices) in enumerate(rows)
    ]


@pytest.mark.parametrize("top_k", [0, 5])
def test_a_view_has_the_same_bytes_whatever_is_asked_with_it(
    tiny_llm: AudioLLM, tiny_corpus: Corpus, top_k: int
) -> None:
    prompts = [request.prompt for request in asked(tiny_corpus)]
    ask = partial(
        generate_targets, tiny_llm, max_new_tokens=4, top_k=top_k, full_up_to=0 if top_k else 4096
    )
    alone = [ask([prompt])[0] for prompt in prompts]
    stream = rng("batch compositions", top_k)
    for _ in range(20):
        order = stream.permutation(len(prompts))
        size = int(stream.integers(2, len(prompts) + 1))
        for part in batches(order.tolist(), size):
            for number, found in zip(part, ask([prompts[number] for number in part]), strict=True):
                assert same(found, alone[number])


def test_a_token_that_leads_by_rounding_alone_is_chosen_by_itself(
    tiny_llm: AudioLLM, tiny_corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a batch proposes there."""
    request = asked(tiny_corpus)[0]
    (alone,) = generate_targets(tiny_llm, [request.prompt], 4, 0, 4096)
    generate = references.generate

    def otherwise(llm: AudioLLM, batch: PromptBatch, limit: int) -> list[list[int]]:
        rows = generate(llm, batch, limit)
        return rows if len(rows) == 1 else [[(row[0] + 1) % 200, *row[1:]] for row in rows]

    monkeypatch.setattr(references, "generate", otherwise)
    assert all(
        same(found, alone) for found in generate_targets(tiny_llm, [request.prompt] * 2, 4, 0, 4096)
    )
    clear = torch.tensor([[0.0, -5.0, -9.0], [-0.7, -0.70001, -9.0]])
    assert references._is_clear([0], clear[:1], torch.float32)
    assert not references._is_clear([1], clear[:1], torch.float32)
    assert not references._is_clear([0, 0], clear, torch.float32)
    assert not references._is_clear([0], torch.tensor([[-0.5, -1.2]]), torch.bfloat16)


def test_damaged_entries_come_back_with_their_bytes(
    tiny_llm: AudioLLM, tiny_corpus: Corpus, tmp_path: Path
) -> None:
    requests = asked(tiny_corpus)
    ask = partial(generate_targets, tiny_llm, max_new_tokens=4, top_k=4, full_up_to=4096)
    cache = ReferenceCache(tmp_path)
    get_or_compute(cache, requests, ask, 96, lambda done: None)
    whole = {request.key: cache.path_of(request.key).read_bytes() for request in requests}
    for damaged in ([3], [0, 7, 11], list(range(17)), [17]):
        for number in damaged:
            cache.path_of(requests[number].key).write_bytes(b"damaged")
        get_or_compute(cache, requests, ask, 5, lambda done: None)
        assert {key: cache.path_of(key).read_bytes() for key in whole} == whole

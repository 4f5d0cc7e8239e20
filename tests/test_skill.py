"""How a base is judged: on groups that it was not trained on, however few questions there are, with
what helps where it is poor.
"""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from echodistill.core.counted import counted
from echodistill.core.errors import UserError
from echodistill.evaluation.skill import Skill, advice, fewest_questions, p_by_guessing, skill_text
from echodistill.gates.runner import validate
from echodistill.inference.clean import clean_score, evaluation_splits
from echodistill.models.audio_llm import AudioLLM
from echodistill.stages.gate import _checks, gate
from tests import gate_world as w
from tests.conftest import write_corpus

COUNTS = {"train": 8, "validation": 4, "decision": 3, "test": 5}


@pytest.mark.parametrize(
    ("splits", "trained_here", "foreign"),
    [
        (("train", "validation", "decision", "test"), ("validation",), ("train", "validation")),
        (("train", "decision", "test"), ("decision",), ("train",)),
        (("train", "test"), ("test",), ("train",)),
        (("train", "validation", "test"), ("validation",), ("train", "validation")),
        (("test",), ("test",), ()),
    ],
)
def test_a_base_is_judged_on_clips_that_it_was_not_trained_on(
    splits: tuple[str, ...], trained_here: tuple[str, ...], foreign: tuple[str, ...], tmp_path: Path
) -> None:
    corpus = write_corpus(tmp_path / "corpus", {split: COUNTS[split] for split in splits})
    assert evaluation_splits(corpus, trained_here=True) == trained_here
    assert evaluation_splits(corpus, trained_here=False) == foreign


@pytest.mark.parametrize(
    ("counts", "splits"),
    [
        ({"validation": 2, "decision": 3, "test": 5}, ("validation", "decision")),
        ({"validation": 1, "decision": 1, "test": 5}, ("validation", "decision", "test")),
        ({"validation": 3, "decision": 3, "test": 5}, ("validation",)),
        ({"validation": 1, "test": 1}, ("validation", "test")),
    ],
)
def test_too_few_questions_to_tell_skill_from_chance_are_joined_by_others(
    counts: dict[str, int], splits: tuple[str, ...], tmp_path: Path
) -> None:
    """A perfect base could not pass on two questions of three choices each: guessing answers both
    in one case of nine.
    """
    corpus = write_corpus(tmp_path / "corpus", {"train": 8} | counts)
    assert evaluation_splits(corpus, trained_here=True) == splits


def test_a_score_counts_every_question_once(tmp_path: Path, tiny_llm: AudioLLM) -> None:
    corpus = write_corpus(tmp_path / "corpus", COUNTS)
    found = clean_score(tiny_llm, corpus, ("train", "validation"), 8)
    assert found.questions == 12
    assert found.chance == pytest.approx(1 / 3)
    assert 0 <= found.right <= 12 - found.unparsed
    assert clean_score(tiny_llm, corpus, ("train",), 1).truncated == 8
    with pytest.raises(ValueError, match="have no questions"):
        clean_score(tiny_llm, corpus, (), 8)


def verdict_of(skill: Skill, tmp_path: Path, model: str = "nano") -> str:
    w.write_json(
        tmp_path / w.BASE,
        {"model": model, "parameters": 9, "losses": [3.0, 1.0], "sampled": None, **asdict(skill)},
    )
    return validate("base", _checks(w.PARAMS, "base", [tmp_path / "base"]), docs=None).text


POOR = [
    *((0.0, questions) for questions in (1, 2, 3, 5, 12, 17, 19, 20, 400)),  # 17 passed, unjudged
    *((0.25, questions) for questions in (4, 8, 16, 40, 400)),
    *((0.44, questions) for questions in (9, 18, 50, 400)),
    *((1.0, questions) for questions in (1, 2)),
    (2 / 3, 3),
]
GOOD = [
    *((1.0, questions) for questions in (3, 5, 17, 400)),
    (0.8, 5),
    (0.6, 10),
    (0.68, 50),
    (0.86, 400),
    (0.46, 100),
]


@pytest.mark.parametrize(("accuracy", "questions"), POOR)
def test_a_poor_base_is_stopped_however_few_questions_there_are(
    accuracy: float, questions: int, tmp_path: Path
) -> None:
    message = verdict_of(
        Skill(accuracy, questions, "validation", 0.25, 0.0, 0.0, 1.0, 240), tmp_path
    )
    assert "failed: " in message
    assert (
        f"100.0 % of 240 training questions, {100 * accuracy:.1f} % of"
        f" {counted(questions, 'question')} about clips of unseen groups" in message
    )


@pytest.mark.parametrize(("accuracy", "questions"), GOOD)
def test_a_good_base_passes(accuracy: float, questions: int, tmp_path: Path) -> None:
    assert not verdict_of(
        Skill(accuracy, questions, "validation", 0.25, 0.0, 0.0, 1.0, 240), tmp_path
    )


def test_a_base_from_elsewhere_is_not_judged_on_a_benchmark_alone_and_nano_always_is(
    tmp_path: Path,
) -> None:
    assert not verdict_of(Skill(), tmp_path, "some/model")
    assert "clean accuracy on unseen groups" in verdict_of(Skill(), tmp_path)


def test_damaged_facts_pass_nothing(tmp_path: Path) -> None:
    for name in ("clean_acc", "chance"):
        facts = asdict(Skill(0.9, 40, "validation", 0.25, 0.0, 0.0, 0.9, 40)) | {name: None}
        message = verdict_of(Skill(**facts), tmp_path)
        assert message.count("failed: ") == 2


def test_luck_is_a_binomial_tail() -> None:
    assert p_by_guessing(Skill(1.0, 3, "validation", 0.25)) == pytest.approx(1 / 64)
    assert p_by_guessing(Skill(0.0, 17, "validation", 0.25)) == 1.0
    assert p_by_guessing(Skill(0.5, 2, "validation", 0.5)) == pytest.approx(0.75)
    assert [fewest_questions(chance) for chance in (0.0, 0.2, 0.25, 1 / 3, 0.5)] == [1, 2, 3, 3, 5]


ADVICE = [
    (
        Skill(0.4, 60, "validation", 0.25, 0.0, 0.0, 1.0, 240),
        (
            "memorised its training clips (60.0 points better there)",
            "fewer steps",
            "pre-trained base",
        ),
    ),
    (
        Skill(0.3, 60, "validation", 0.25, 0.0, 0.0, 0.31, 240),
        ("not learned its training clips either", "more steps"),
    ),
    (Skill(0.44, 60, "validation", 0.25, 0.0, 0.0, 0.5, 240), ("more training clips",)),
    (
        Skill(1.0, 2, "test", 0.25, 0.0, 0.0, 1.0, 240),
        ("2 questions are too few", "3 questions at least"),
    ),
    (
        Skill(0.2, 60, "train", 0.25, 0.3, 0.2),
        ("not trained here", "20.0 % of the answers were cut", "30.0 % of the answers name no"),
    ),
]


@pytest.mark.parametrize(("skill", "there"), ADVICE)
def test_what_helps_depends_on_what_is_wrong(skill: Skill, there: tuple[str, ...]) -> None:
    message = advice(skill, 0.2)
    assert all(part in message for part in there), message


def test_the_gate_prints_both_accuracies_and_ends_with_the_next_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = Skill(0.86, 400, "validation", 0.25, 0.0, 0.0, 0.99, 500)
    w.write_json(
        tmp_path / w.BASE,
        {"model": "nano", "parameters": 9, "losses": [3.0, 1.0], "sampled": None, **asdict(good)},
    )
    gate(w.PARAMS, "base", tmp_path / "gates/base.json", tmp_path / "base")
    assert f"base: {skill_text(good)}" in capsys.readouterr().out
    assert json.loads((tmp_path / "gates/base.json").read_text())["notes"] == [skill_text(good)]
    w.json_file(w.BASE, lambda facts: facts.update(clean_acc=0.3))(tmp_path)
    with pytest.raises(
        UserError,
        match=(
            r"(?s)what helps: .*99\.0 % of 500 training.*fewer steps.*\nnext: .*`echodistill run"
            r" base gate@base`"
        ),
    ):
        gate(w.PARAMS, "base", tmp_path / "gates/base.json", tmp_path / "base")

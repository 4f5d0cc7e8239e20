"""Scores against hand-worked cases: free answers, forced choice, and what both systems' figures
come to.
"""

from dataclasses import replace
from typing import Any

import pytest

from echodistill.core.errors import UserError
from echodistill.core.records import Answer, Question
from echodistill.evaluation.base_and_student import compare_systems
from echodistill.evaluation.scores import Scored, score_answers, summarise
from echodistill.params.evaluate import EvaluateParams
from tests.answers import answer, units_of

QUESTIONS = {
    name: Question(name, f"clip-{name}", "test", "Which?", ("red", "blue", "green"), "red", 0)
    for name in ("q1", "q2", "q3")
}
UNITS = units_of(QUESTIONS.values())
SETTINGS = EvaluateParams(
    headline_max_snr_db=0.0, bootstrap_draws=100, confidence=0.95, student=None
)


def score(rows: list[Answer], base: list[Answer]) -> Scored:
    return score_answers(rows, base, QUESTIONS, UNITS)


def answers(table: dict[str, list[str]]) -> list[Answer]:
    """Per question: the clean answer, then the answers at wind -10, wind 20, gauss -10."""
    conditions = [("clean", None), ("wind", -10.0), ("wind", 20.0), ("gauss", -10.0)]
    return [
        answer(
            f"{question}/{kind}@{snr}", question, kind, snr, response, QUESTIONS[question].choices
        )
        for question, responses in table.items()
        for (kind, snr), response in zip(conditions, responses, strict=True)
    ]


BASE = answers(
    {
        "q1": ["red", "blue", "red", "hm"],
        "q2": ["blue", "blue", "blue", "red"],
        "q3": ["red", "red", "red", "red"],
    }
)
STUDENT = answers(
    {
        "q1": ["red", "red", "red", "A."],
        "q2": ["blue", "red", "blue", "blue"],
        "q3": ["", "", "red", "green"],
    }
)


def test_hand_worked_figures() -> None:
    base = summarise(score(BASE, BASE), ["wind"], 0.0)
    assert base["clean_acc"] == pytest.approx(2 / 3)
    # -10 dB: q1 blue, hm; q2 blue, red; q3 red, red
    assert base["acc"] == pytest.approx(3 / 6)
    assert base["gsr"] == base["noisy"] == pytest.approx(3 / 6)
    assert (base["unparsed"], base["clean_unparsed"]) == (pytest.approx(1 / 6), 0.0)
    assert base["by_noise"]["gauss"]["unparsed"] == pytest.approx(1 / 3)  # type: ignore[index]
    student = summarise(score(STUDENT, BASE), ["wind"], 0.0)
    # q1 red, A.; q2 red, blue; q3 "", green
    assert student["acc"] == pytest.approx(3 / 6)
    assert student["noisy"] == pytest.approx(3 / 6)
    assert student["gsr"] == pytest.approx(3 / 6)
    # red, blue, red; forced as named
    assert student["by_snr"]["20"] == {  # type: ignore[index]
        "acc": 2 / 3,
        "acc_forced": 2 / 3,
        "acc_forced_norm": 2 / 3,
        "unparsed": 0.0,
        "truncated": 0.0,
        "noisy": 1.0,
        "gsr": 2 / 3,
        "n": 3,
        "n_forced": 3,
    }
    assert student["unseen"]["n"] == 3  # type: ignore[index]


def test_two_unparsed_answers_do_not_agree() -> None:
    both = answers({"q1": ["hm", "hm", "hm", "hm"]})
    assert summarise(score(both, both), [], 0.0)["gsr"] == 0.0


def test_a_missing_clean_answer_is_an_error() -> None:
    with pytest.raises(UserError, match="q1"):
        score([row for row in BASE if row.mix_id != "q1/clean@None"], BASE)


def test_systems_must_have_answered_the_same() -> None:
    with pytest.raises(UserError, match="did not answer the same"):
        compare_systems("x", score(BASE, BASE), score(STUDENT[:-1], BASE), SETTINGS, [], 1)


def with_scores(
    row: Answer, log_probs: tuple[float, ...], tokens: tuple[int, ...], truncated: bool = False
) -> Answer:
    return replace(row, choice_log_probs=log_probs, choice_tokens=tokens, truncated=truncated)


def test_forced_choice_by_the_sum_and_by_the_mean_of_a_token() -> None:
    """Red is right; each row's sums are by hand, beside the means they give."""
    clean, *noisy = answers({"q1": ["hm", "hm", "hm", "blue"]})
    rows = [
        with_scores(clean, (-2.0, -2.0, -2.0), (2, 2, 2)),  # all equal: the first, red
        with_scores(
            noisy[0], (-6.0, -5.0, -9.0), (6, 2, 3)
        ),  # wind -10: blue by the sum; -1, -2.5, -3: red by the mean
        with_scores(
            noisy[1], (-1.0, -2.0, -3.0), (1, 4, 1)
        ),  # wind 20: red by the sum; -1, -0.5, -3: blue by the mean
        with_scores(
            noisy[2], (-1.0, -1.0, float("-inf")), (2, 2, 1), truncated=True
        ),  # gauss -10: of red and blue the first
    ]
    found: dict[str, Any] = summarise(score(rows, rows), [], 0.0)
    assert (found["acc"], found["clean_acc"], found["unparsed"], found["clean_unparsed"]) == (
        0.0,
        0.0,
        0.5,
        1.0,
    )
    assert (found["clean_acc_forced"], found["clean_acc_forced_norm"]) == (1.0, 1.0)
    assert (found["acc_forced"], found["acc_forced_norm"]) == (0.5, 1.0)
    assert (found["by_snr"]["20"]["acc_forced"], found["by_snr"]["20"]["acc_forced_norm"]) == (
        1.0,
        0.0,
    )
    assert found["by_noise"]["wind"]["acc_forced"] == found["seen"]["acc_forced"] - 0.5 == 0.0
    assert (
        found["truncated"],
        found["by_noise"]["gauss"]["truncated"],
        found["clean_truncated"],
    ) == (0.5, 1.0, 0.0)


def test_of_equal_choices_the_first_counts_even_where_it_is_wrong() -> None:
    questions = {"q1": replace(QUESTIONS["q1"], answer="blue", answer_index=1)}
    rows = [
        with_scores(row, (-2.0, -2.0, -3.0), (2, 2, 2)) for row in answers({"q1": ["blue"] * 4})
    ]
    found = summarise(score_answers(rows, rows, questions, UNITS), [], 0.0)
    assert (found["acc"], found["acc_forced"], found["acc_forced_norm"]) == (1.0, 0.0, 0.0)


def test_questions_without_choices_are_left_out_of_forced_choice_and_counted() -> None:
    open_question = replace(QUESTIONS["q2"], choices=(), answer_index=None)
    questions = QUESTIONS | {"q2": open_question}
    rows = answers({"q1": ["red", "red", "red", "blue"], "q2": ["red", "Answer: Red.", "", "blue"]})
    rows = [with_scores(row, (), ()) if row.question_id == "q2" else row for row in rows]
    found: dict[str, Any] = summarise(score_answers(rows, rows, questions, UNITS), [], 0.0)
    # wind -10 red and gauss -10 blue of q1; wind -10 "Answer: Red." and gauss -10 blue of q2
    assert (found["acc"], found["n"], found["n_forced"]) == (0.5, 4, 2)
    assert (found["gsr"], found["unparsed"], found["by_snr"]["20"]["unparsed"]) == (0.5, 0.0, 0.5)
    assert (found["acc_forced"], found["clean_acc_forced"]) == (0.5, 1.0)
    alone = [row for row in rows if row.question_id == "q2"]
    scored = score_answers(alone, alone, questions, UNITS)
    none: dict[str, Any] = summarise(scored, [], 0.0)
    assert not [
        name for name in {**none, **none["by_snr"]["20"]} if "forced" in name and name != "n_forced"
    ]
    assert none["n_forced"] == 0
    assert "acc_forced" not in compare_systems("x", scored, scored, SETTINGS, [], 1)["difference"]  # type: ignore[operator]


@pytest.mark.parametrize(
    ("log_probs", "tokens"),
    [
        ((), ()),
        ((-1.0, -2.0), (1, 1)),
        ((-1.0, -2.0, -3.0), (1, 1)),
        ((-1.0, float("nan"), -3.0), (1, 1, 1)),
    ],
)
def test_an_answer_without_the_scores_of_its_choices_is_named(
    log_probs: tuple[float, ...], tokens: tuple[int, ...]
) -> None:
    rows = answers({"q1": ["red"] * 4})
    rows[1] = with_scores(rows[1], log_probs, tokens)
    with pytest.raises(
        UserError,
        match=r"question q1 in mix q1/wind@-10\.0 has .* for 3 choices.*run predict` again",
    ):
        score(rows, rows)


def test_differences_are_of_the_same_rows_and_say_what_they_rest_on() -> None:
    found: dict[str, Any] = compare_systems(
        "x", score(BASE, BASE), score(STUDENT, BASE), SETTINGS, ["wind"], 1
    )
    base, student = found["base"], found["student"]
    for name, gain in found["difference"].items():
        if not name.startswith("acc_") or name.startswith("acc_forced"):
            assert gain["value"] == pytest.approx(student[name] - base[name])
            assert gain["low"] <= gain["value"] <= gain["high"]
    assert {
        "acc",
        "acc_forced",
        "acc_forced_norm",
        "clean_acc_forced",
        "unparsed",
        "truncated",
    } <= found["difference"].keys()
    assert found["difference"]["acc_seen"] == found["difference_by_noise"]["gauss"]
    assert found["difference"]["acc_unseen"] == found["difference_by_noise"]["wind"]
    # at -10 dB, gauss: base hm, red, red; student A., blue, green
    assert found["difference_by_noise"]["gauss"]["value"] == pytest.approx(1 / 3 - 2 / 3)
    assert found["unseen_kinds"] == ["wind"]
    assert (found["clips"], found["units"], found["unit"]) == (3, 3, "clip")
    speakers = {"clip-q1": 7, "clip-q2": 7, "clip-q3": 2}
    before, after = (score_answers(rows, BASE, QUESTIONS, speakers) for rows in (BASE, STUDENT))
    by_group = compare_systems("x", before, after, SETTINGS, ["wind"], 1)
    assert (by_group["clips"], by_group["units"], by_group["unit"]) == (3, 2, "group")
    assert by_group["base"] == base


def test_one_speaker_in_the_test_gives_figures_about_which_nothing_is_known() -> None:
    one = dict.fromkeys(UNITS, 0)
    before, after = (score_answers(rows, BASE, QUESTIONS, one) for rows in (BASE, STUDENT))
    found: dict[str, Any] = compare_systems("x", before, after, SETTINGS, ["wind"], 1)
    assert (found["units"], found["unit"]) == (1, "group")
    assert all((gain["low"], gain["high"]) == (-1.0, 1.0) for gain in found["difference"].values())
    clean = found["intervals"]["student"]["clean"]
    assert clean == {"value": pytest.approx(1 / 3), "low": 0.0, "high": 1.0}  # red, blue, ""

"""Every gate: a healthy artifact passes, and for each expectation a broken one makes exactly that
expectation fail.
"""

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from echodistill.champion_answers import ChampionStatus, write_status
from echodistill.core.environment import RUN_OPTIONS
from echodistill.core.errors import UserError
from echodistill.core.records import Answer, Question, write_rows
from echodistill.evaluation.skill import Skill
from echodistill.gates.expect import HOLDS, Between, Expect, InSet, NotNull, Rule, Table, Unique
from echodistill.gates.next_step import next_step
from echodistill.gates.runner import validate, write_verdict
from echodistill.stages import gate as stage
from echodistill.stages.mixes import mixes as make_mixes
from tests import gate_world as w
from tests.conftest import write_corpus
from tests.gate_cases import CASES, Case
from tests.gate_world import PARAMS, Break

ARTIFACTS = {
    "corpus": ("corpus",),
    "mixes": ("mixes", "corpus"),
    "base": ("base",),
    "references": ("references", "corpus"),
    "student": ("student",),
    "answers_base": (w.ANSWERS, "mixes"),
    "metrics": (w.METRICS,),
    "answers_student_decision": (w.STUDENT_DECISION, "mixes"),
    "champion": (w.CHAMPION,),
    "answers_champion_decision": (w.CHAMPION_DECISION, "mixes"),
    "promotion": (w.PROMOTION, w.DECISION),
}


@pytest.fixture(scope="session")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    world = tmp_path_factory.mktemp("healthy") / "world"
    w.make_world(world)
    return world


@pytest.fixture
def world(healthy: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(healthy, tmp_path / "world"))


def checks_of(artifact: str, world: Path) -> list[Expect]:
    return stage._checks(PARAMS, artifact, [world / path for path in ARTIFACTS[artifact]])


@pytest.mark.parametrize("artifact", ARTIFACTS)
def test_a_healthy_artifact_passes_and_every_expectation_has_a_breaking_case(
    artifact: str, healthy: Path
) -> None:
    checks = checks_of(artifact, healthy)
    verdict = validate(artifact, checks, docs=None)
    assert verdict.passed, verdict.text
    assert {result.description for result in verdict.results} == {
        case.description for case in CASES if case.artifact == artifact
    }


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.artifact}: {case.description}")
def test_a_broken_artifact_fails_its_one_expectation(case: Case, world: Path) -> None:
    case.break_it(world)
    verdict = validate(case.artifact, checks_of(case.artifact, world), docs=None)
    assert not verdict.passed
    failed = [result for result in verdict.results if not result.passed]
    assert [(result.description, "; ".join(result.ids)) for result in failed] == [
        (case.description, case.ids)
    ]
    assert case.description in verdict.text
    assert case.ids.split("; ")[0] in verdict.text


@pytest.mark.parametrize("artifact", ARTIFACTS)
def test_tables_without_rows_pass_nothing(artifact: str, healthy: Path) -> None:
    tables = {check.table: check.frame.iloc[:0] for check in checks_of(artifact, healthy)}
    emptied = [replace(check, frame=tables[check.table]) for check in checks_of(artifact, healthy)]
    assert not any(result.passed for result in validate(artifact, emptied, docs=None).results)


def test_a_true_decision_not_to_promote_passes_its_gate(world: Path) -> None:
    shutil.copy(world / w.BASE_DECISION, world / w.STUDENT_DECISION)
    w.decide(world)
    assert not json.loads((world / w.PROMOTION).read_text(encoding="utf-8"))["promote"]
    assert validate("promotion", checks_of("promotion", world), docs=None).passed


def test_a_champion_that_did_not_answer_passes_its_gate_where_it_is_explained(world: Path) -> None:
    w.unanswered_champion(world)
    w.decide(world)
    for artifact in ("answers_champion_decision", "promotion"):
        assert validate(artifact, checks_of(artifact, world), docs=None).passed
    write_status(world / w.CHAMPION_DECISION, ChampionStatus("3"))
    assert not validate("answers", checks_of("answers_champion_decision", world), docs=None).passed
    write_status(world / w.CHAMPION_DECISION, ChampionStatus(None))
    assert not validate("answers", checks_of("answers_champion_decision", world), docs=None).passed


def test_a_source_without_a_decision_split_passes_and_promotes_nobody(
    world: Path, tmp_path: Path
) -> None:
    shutil.rmtree(world / "corpus")
    write_corpus(world / "corpus", {"train": 24, "validation": 2, "test": 3})
    make_mixes(PARAMS, world / "mixes", world / "corpus")
    for name in (w.BASE_DECISION, w.STUDENT_DECISION, f"{w.CHAMPION_DECISION}/answers.parquet"):
        write_rows(world / name, Answer, [])
    w.decide(world)
    for artifact in ("mixes", "answers_student_decision", "answers_champion_decision", "promotion"):
        assert validate(artifact, checks_of(artifact, world), docs=None).passed, artifact
    decision = json.loads((world / w.PROMOTION).read_text(encoding="utf-8"))
    assert not decision["promote"]
    assert (
        "there is no decision split: give the source four groups or more"
        in decision["obstacles"][0]
    )


RULES: list[tuple[Rule, list[object], str]] = [
    (Between(0.0, 1.0), [0.0, 1.0, 1.1, None, -0.1], "c; d; e"),
    (Between(0.0, strict_minimum=True), [0.1, 9.0, 0.0, None, float("-inf")], "c; d; e"),
    (InSet(("x", "y")), ["x", "y", "z", None, "X"], "c; d; e"),
    (HOLDS, [True, True, False, None, False], "c; d; e"),
    (Unique(), ["x", "y", "z", None, "z"], "c; d; e"),
    (NotNull(), ["x", "y", None, None, None], "c; d; e"),
]


@pytest.mark.parametrize(("rule", "values", "ids"), RULES)
def test_rules_name_offending_rows_and_let_no_missing_value_pass(
    rule: Rule, values: list[object], ids: str
) -> None:
    table = Table.of("t", "id", {"id": list("abcde"), "value": values})
    (result,) = validate("x", [table.expect("value", rule, "so")], docs=None).results
    assert ("; ".join(result.ids), result.unexpected_count, result.passed) == (ids, 3, False)
    (result,) = validate(
        "x", [replace(table.expect("value", rule, "so"), frame=table.frame.iloc[:2])], docs=None
    ).results
    assert result.passed


UNASKED = [
    (
        "student",
        w.log(lambda rows: [row.pop("reward_std") for row in rows]),
        {"the rewards are not all equal over the whole run"},
    ),
    (
        "base",
        w.json_file(w.BASE, lambda facts: facts.update(asdict(Skill()), model="other", losses=[])),
        {case.description for case in CASES if case.artifact == "base"}
        - {"the base has parameters"},
    ),
]


@pytest.mark.parametrize(("artifact", "edit", "unasked"), UNASKED)
def test_nothing_is_asked_where_nothing_can_be_known(
    artifact: str, edit: Break, unasked: set[str], world: Path
) -> None:
    before = {check.description for check in checks_of(artifact, world)}
    edit(world)
    after = checks_of(artifact, world)
    assert before - {check.description for check in after} == unasked
    assert validate(artifact, after, docs=None).passed


@pytest.mark.parametrize(
    ("choices", "places", "suspicious"),
    [
        (4, [0] * 4, False),  # by chance once in 256
        (4, [0] * 5, True),  # once in 1024
        (2, [0] * 9, False),
        (2, [0] * 10, True),
        (2, [0] * 13 + [1] * 7, False),  # 65 % of 20 yes/no questions
        (2, [0] * 650 + [1] * 350, True),
        (
            3,
            [1] * 50 + [0] * 25 + [2] * 25,
            False,
        ),  # beyond chance, but not above the allowed share
    ],
)
def test_a_few_answers_in_one_place_are_chance_and_many_are_not(
    choices: int, places: list[int], suspicious: bool, world: Path
) -> None:
    options = tuple("abcd"[:choices])

    def placed(found: list[Any]) -> list[Any]:
        train = next(one for one in found if one.split == "train")
        return [
            replace(
                train,
                question_id=f"q{number}",
                choices=options,
                answer=options[place],
                answer_index=place,
            )
            for number, place in enumerate(places)
        ]

    w.rows(w.QUESTIONS, Question, placed)(world)
    failed = {
        result.description
        for result in validate("corpus", checks_of("corpus", world), docs=None).results
        if not result.passed
    }
    assert (
        "no position of the choices holds more than 60 % of the right answers" in failed
    ) == suspicious


def test_a_verdict_names_the_first_ten_ids_in_order() -> None:
    lines = [1009 * number for number in (*range(12, 0, -1), 3)]
    table = Table.of("t", "line", {"line": lines, "value": [2.5] * 13})
    verdict = validate("x", [table.expect("value", Between(0.0, 1.0), "small")], docs=None)
    assert verdict.results[0].ids == tuple(str(1009 * number) for number in range(1, 11))
    assert verdict.text.startswith("failed: small (13 in t.value, found 2.5 to 2.5): 1009, 2018, ")
    assert verdict.text.endswith(", 10090, …")


def test_a_gate_without_expectations_or_with_duplicates_is_refused() -> None:
    check = Table.of("t", "id", {"id": ["a"], "value": [1]}).expect("value", Between(0), "so")
    for checks in ([], [check, check]):
        with pytest.raises(ValueError, match=r"nothing is expected|are the same"):
            validate("x", checks, docs=None)


def test_the_same_rows_in_any_order_give_the_same_bytes(world: Path) -> None:
    w.clip("train-3", group="test-speaker-0")(world)
    written = []
    for turn in (1, -1):
        frames: dict[str, pd.DataFrame] = {
            check.table: check.frame.iloc[::turn] for check in checks_of("corpus", world)
        }
        checks = [replace(check, frame=frames[check.table]) for check in checks_of("corpus", world)]
        write_verdict(world / "verdict.json", validate("corpus", checks, docs=world / "docs"))
        written.append((world / "verdict.json").read_bytes())
    assert written[0] == written[1]


def test_the_stage_leaves_only_a_positive_verdict_where_others_look(world: Path) -> None:
    verdict, failed = (
        world / "reports/gates/corpus.json",
        world / "reports/gates/corpus.failed.json",
    )
    docs = world / "reports/data_docs/corpus"
    stage.gate(PARAMS, "corpus", verdict, world / "corpus")
    assert verdict.is_file()
    assert (docs / "index.html").is_file()
    good = (world / w.CLIPS).read_bytes()
    w.stored("train-3", w.flac(gain=0.0))(world)
    with pytest.raises(
        UserError,
        match=(
            r"(?s)corpus\.failed\.json.*failed: no clip is silent .*-inf.*: train-3\nnext: .*corpus"
        ),
    ):
        stage.gate(PARAMS, "corpus", verdict, world / "corpus")
    assert not verdict.exists()
    assert '"passed": false' in failed.read_text(encoding="utf-8")
    assert any(
        "no clip is silent" in page.read_text(encoding="utf-8")
        for page in docs.glob("validations/**/*.html")
    )
    (world / w.CLIPS).write_bytes(good)
    stage.gate(PARAMS, "corpus", verdict, world / "corpus")
    assert verdict.is_file()
    assert not failed.exists()


def test_a_failed_gate_repeats_the_settings_that_the_user_gave(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(RUN_OPTIONS, "-S seed=3 -S 'corpus.test_groups=[a, b]'")
    w.stored("train-3", w.flac(gain=0.0))(world)
    with pytest.raises(UserError) as caught:
        stage.gate(PARAMS, "corpus", world / "gates/corpus.json", world / "corpus")
    assert "`echodistill run corpus gate@corpus -S seed=3 -S 'corpus.test_groups=[a, b]'`" in str(
        caught.value
    )


@pytest.mark.parametrize(
    ("artifact", "command"),
    [
        ("student", "`echodistill run -S seed=3`; with these settings written into params.yaml"),
        ("compared_sft", "`echodistill compare -S seed=3`"),
    ],
)
def test_a_next_step_never_drops_the_settings(artifact: str, command: str) -> None:
    assert command in next_step(artifact, "-S seed=3")
    assert "-S" not in next_step(artifact)


def test_an_unreadable_artifact_is_a_clear_error_and_leaves_no_verdict(world: Path) -> None:
    verdict = world / "gates/base.json"
    stage.gate(PARAMS, "base", verdict, world / "base")
    (world / w.BASE).write_text("{", encoding="utf-8")
    with pytest.raises(UserError, match=r"base\.json is damaged"):
        stage.gate(PARAMS, "base", verdict, world / "base")
    assert not verdict.exists()
    (world / w.BASE).write_text('{"model": "nano"}', encoding="utf-8")
    with pytest.raises(UserError, match="has no parameters, clean_acc"):
        stage.gate(PARAMS, "base", verdict, world / "base")
    with pytest.raises(UserError, match="no gate 'mixes' with 1 paths"):
        stage.gate(PARAMS, "mixes", verdict, world / "mixes")

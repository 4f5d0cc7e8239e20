"""The authors' own scoring rule beside our accuracy: whose rule, which rows, and where the figures
are shown.
"""

import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from echodistill.core.records import Answer, Clip, Question, write_rows
from echodistill.evaluation.many_systems import System, table_of
from echodistill.evaluation.official_scoring import scoring_of, with_authors
from echodistill.evaluation.scores import Scored, score_answers
from echodistill.params.evaluate import EvaluateParams
from echodistill.params.whole import Params, validate_params
from echodistill.reports.compare_table import (
    NOTES,
    difference_rows,
    headings,
    legend,
    print_comparison,
    system_rows,
)
from echodistill.stages.compare import compare
from echodistill.stages.entry import params_view
from tests.answers import answer, units_of

PARAMS = Path(__file__).parents[1] / "params.yaml"
SETTINGS = EvaluateParams(
    headline_max_snr_db=0.0, bootstrap_draws=200, confidence=0.95, student=None
)
CHOICES = ("a man", "a woman", "a child")
QUESTIONS = {
    f"q{number}": Question(f"q{number}", f"c{number}", "test", "Who?", CHOICES, "a woman", 1)
    for number in range(4)
}
CONDITIONS = (("clean", None), ("wind", -10.0), ("wind", 0.0), ("wind", 20.0))
# a response, whether ours counts it as right, whether MMAU's authors do
BOTH, OURS, THEIRS, NONE = "a woman", "B", "woman a", "a man"


def answers(*responses: Sequence[str]) -> list[Answer]:
    """A question's responses: clean, then wind at -10, 0 and 20 dB."""
    return [
        answer(f"c{number}/{kind}@{snr}", f"q{number}", kind, snr, response, CHOICES)
        for number, answered in enumerate(responses)
        for (kind, snr), response in zip(CONDITIONS, answered, strict=True)
    ]


BASE = answers(
    (BOTH, NONE, OURS, OURS),
    (OURS, OURS, OURS, BOTH),
    (NONE, NONE, THEIRS, BOTH),
    (OURS, NONE, NONE, NONE),
)
STUDENT = answers(
    (BOTH, BOTH, BOTH, NONE),
    (BOTH, OURS, BOTH, NONE),
    (THEIRS, OURS, THEIRS, NONE),
    (BOTH, BOTH, NONE, NONE),
)


def scored(rows: list[Answer], source: str = "mmau") -> Scored:
    own = score_answers(rows, BASE, QUESTIONS, units_of(QUESTIONS.values()))
    return with_authors(own, rows, QUESTIONS, scoring_of(source, "rows.json"))  # type: ignore[arg-type]


def table(source: str = "mmau") -> dict[str, Any]:
    systems = [
        System("base", (scored(BASE, source),)),
        System("echodistill", (scored(STUDENT, source),) * 2),
    ]
    return table_of(systems, [("echodistill", "base")], SETTINGS, 1) | {"budget": {}}


def test_the_figures_are_of_the_same_rows_by_each_rule() -> None:
    made = table()
    base, student = made["systems"]["base"], made["systems"]["echodistill"]
    # of eight noisy rows up to 0 dB: base B, B, B and "woman a"; student four "a woman", B, B and
    # "woman a"
    assert (base["acc"]["value"], base["acc_authors"]["value"]) == (3 / 8, 1 / 8)
    assert (student["acc"]["value"], student["acc_authors"]["value"]) == (6 / 8, 5 / 8)
    assert (base["clean_acc"]["value"], base["clean_acc_authors"]["value"]) == (3 / 4, 1 / 4)
    assert (student["clean_acc"]["value"], student["clean_acc_authors"]["value"]) == (3 / 4, 1.0)
    for ours, theirs in (("acc", "acc_authors"), ("clean_acc", "clean_acc_authors")):
        assert {key: student[ours][key] for key in ("n", "seeds")} == {
            key: student[theirs][key] for key in ("n", "seeds")
        }
    gain = made["differences"]["echodistill - base"]
    assert (gain["acc_authors"]["value"], gain["clean_acc_authors"]["value"]) == (4 / 8, 3 / 4)
    assert all(
        one["low"] < one["value"] < one["high"]
        for one in (base["acc_authors"], gain["acc_authors"])
    )


def test_a_rule_changes_no_other_figure() -> None:
    plain, beside = table("builtin"), table()
    for part in ("systems", "differences"):
        for name, figures in plain[part].items():
            assert figures == {
                key: value
                for key, value in beside[part][name].items()
                if not key.endswith("_authors")
            }


@pytest.mark.parametrize(
    ("source", "manifest", "rule"),
    [
        ("mmau", "mmau-test-mini.json", "MMAU words"),
        ("mmau", "data/*.parquet", "MMAU words and letter"),
        ("mmsu", "data/*.parquet", "first or last letter"),
        ("seen", "metadata.csv", "SEEN first letter"),
    ],
)
def test_a_benchmark_is_judged_by_the_rule_for_its_rows(
    source: Any, manifest: str, rule: str
) -> None:
    found = scoring_of(source, manifest)
    assert found
    assert found.as_dict() == {"source": source, "rule": rule}


@pytest.mark.parametrize("source", ["builtin", "folder", "fsdd"])
def test_a_source_without_authors_has_no_rule(source: Any) -> None:
    assert scoring_of(source, "data/*.parquet") is None


def params_of(**changes: Any) -> Params:
    raw = yaml.safe_load(PARAMS.read_text(encoding="utf-8"))
    raw["corpus"] |= changes
    raw["compare"] |= {
        "seeds": [1],
        "train": ["echodistill"],
        "controls": [],
        "denoisers": ["wavelet"],
        "folds": [],
    }
    raw["evaluate"]["bootstrap_draws"] = 100
    return validate_params(raw, "test")


def run(folder: Path, params: Params) -> dict[str, Any]:
    """The stage on hand-made answers."""
    names = [row.clip_id for row in QUESTIONS.values()]
    clips = [
        Clip(name, name, "test", None, "s", name, name, 16_000, 1.0, -20.0, "a.tar", 0, 1)
        for name in names
    ]
    write_rows(folder / "corpus/clips.parquet", Clip, clips)
    write_rows(folder / "corpus/questions.parquet", Question, QUESTIONS.values())
    answered = {
        "echodistill-1": STUDENT,
        "text": BASE,
        "wavelet-base": BASE,
        "wavelet-student": STUDENT,
        "base": BASE,
    }
    answered |= {
        f"distorted-{model}": [replace(row, noise_kind="reverb@0.7") for row in BASE[::4]]
        for model in ("base", "student")
    }
    answered |= {"train_mixes-base": BASE, "train_mixes-student": STUDENT}
    for name, rows in answered.items():
        write_rows(folder / f"answers/{name}.parquet", Answer, rows)
    (folder / "models/echodistill-1").mkdir(parents=True)
    (folder / "models/echodistill-1/metrics.jsonl").write_text(
        '{"step": 1, "sampled_tokens": 9.0, "target_tokens": 4.0}\n'
    )
    outs = (folder / "compare.json", folder / "top.json", folder / "curves.csv")
    sections = ("seed", "corpus", "evaluate", "compare", "mixes", "train")
    answers_folder = folder / "answers"
    compare(
        params_view(params, sections),
        *outs,
        folder / "corpus",
        answers_folder / "base.parquet",
        answers_folder,
        folder / "models",
    )
    made: dict[str, Any] = json.loads((folder / "compare.json").read_text(encoding="utf-8"))
    return made


TEST_MMAU = {"source": "mmau", "path": "x", "manifest": "rows.json"}


@pytest.mark.parametrize(
    ("changes", "scoring"),
    [
        ({"source": "avqa", "test": TEST_MMAU}, {"source": "mmau", "rule": "MMAU words"}),
        (
            {"source": "mmau", "manifest": "x.parquet"},
            {"source": "mmau", "rule": "MMAU words and letter"},
        ),
        ({"source": "avqa", "manifest": "x.parquet", "test": TEST_MMAU | {"source": "fsdd"}}, None),
        ({"source": "builtin"}, None),
    ],
)
def test_the_comparison_goes_by_the_source_of_the_tests_rows(
    changes: dict[str, Any], scoring: dict[str, str] | None, tmp_path: Path
) -> None:
    for folder in ("corpus", "answers"):
        (tmp_path / folder).mkdir()
    made = run(tmp_path, params_of(**changes))
    assert made.get("scoring") == scoring
    for part in (made, made["denoised"]):
        assert {"acc_authors" in figures for figures in part["systems"].values()} == {
            scoring is not None
        }
    if scoring == {"source": "mmau", "rule": "MMAU words"}:
        assert (
            made["systems"]["base"]["acc_authors"]["value"]
            == made["denoised"]["systems"]["base"]["acc_authors"]["value"]
            == 1 / 8
        )
        assert made["systems"]["constant"]["acc_authors"]["value"] == 0.0


def test_the_columns_are_shown_only_where_there_is_a_rule() -> None:
    plain, beside = (
        table("builtin"),
        table() | {"scoring": {"source": "mmau", "rule": "MMAU words"}},
    )
    theirs = {"clean, authors'", "Acc, authors' ≤ 0 dB"}
    for made, shown in ((plain, set()), (beside, theirs)):
        of_systems, of_differences = headings(made)
        assert theirs & set(of_systems) == theirs & set(of_differences) == shown
        assert {len(row) for row in system_rows(made)} == {len(of_systems)}
        assert {len(row) for row in difference_rows(made)} <= {len(of_differences)}
        output = io.StringIO()
        print_comparison(made, Console(file=output, width=250, no_color=True))
        assert (
            ("Acc, authors'" in output.getvalue())
            == ("mmau's authors (MMAU words)" in output.getvalue())
            == bool(shown)
        )
    assert legend(plain) == NOTES
    assert dict(zip(headings(beside)[0], next(iter(system_rows(beside))), strict=True))[
        "clean, authors'"
    ].startswith("25.0 [")
